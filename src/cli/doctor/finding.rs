//! One thing that was looked at, and what came of it.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing to mend, or it could not be looked at.
    Note,
    /// A weakness that needs something else to be one.
    Warning,
    /// Somebody can get in, or take over the machine, who should not; or the gateway does not work.
    Critical,
}

/// What came of one look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Name of the check, stable.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do about it; empty when there is nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, severity: Severity::Ok, what: what.into(), mend: String::new() }
    }

    /// Worth knowing.
    pub fn note(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, severity: Severity::Note, what: what.into(), mend: mend.into() }
    }

    /// A weakness.
    pub fn warning(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, severity: Severity::Warning, what: what.into(), mend: mend.into() }
    }

    /// A hole, or a failure.
    pub fn critical(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, severity: Severity::Critical, what: what.into(), mend: mend.into() }
    }
}
