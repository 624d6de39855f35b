//! What may be allowed for always: a command whose programs, once they are listed, run unasked with these arguments.
//!
//! Nothing is judged here a second way: the decision is made again, with the entries that would be written.

use super::Verdict;
use super::decide::{Basis, Request, decide};
use super::entries::Entry;
use super::plan::Plan;
use super::rule::Rule;
use crate::config::tools::{ExecAsk, ExecSecurity};

/// The entries that an approval of this plan for always would write; none if they would not let the command run, or would let more run than its programs.
#[must_use]
pub fn entries(basis: &Basis<'_>, request: &Request<'_>, plan: &Plan) -> Option<Vec<Entry>> {
    if basis.rule.security != ExecSecurity::Allowlist {
        return None;
    }
    let written = of_plan(plan)?;
    let mut listed = basis.entries.clone();
    listed.list.extend(written.iter().cloned());
    let rule = Rule { ask: ExecAsk::OnMiss, ..basis.rule };
    let unasked = decide(&Basis { rule, entries: &listed, ..*basis }, request);
    matches!(unasked, Verdict::Allow(Some(_))).then_some(written)
}

/// An entry for each program of a plan; none if a path would mean more than one file.
#[must_use]
pub fn of_plan(plan: &Plan) -> Option<Vec<Entry>> {
    let entry = |path: &str| (!path.contains(['*', '?'])).then(|| Entry { pattern: path.to_owned(), sha256: None });
    plan.stages.iter().map(|stage| entry(stage.exe.path.to_str()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::policy::plan::tests::sample_plan;

    #[test]
    fn a_path_that_would_mean_several_files_is_no_entry() {
        let mut plan = sample_plan(&[&["ls"], &["wc"]]);
        assert_eq!(of_plan(&plan).unwrap().iter().map(|entry| entry.pattern.as_str()).collect::<Vec<_>>(), ["/usr/bin/ls", "/usr/bin/wc"]);
        for path in ["/opt/*", "/opt/**", "/opt/a?"] {
            plan.stages[1].exe.path = path.into();
            assert_eq!(of_plan(&plan), None, "{path}");
        }
    }
}
