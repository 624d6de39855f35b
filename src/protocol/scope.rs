//! Roles and scopes: what a connection may ask for.
//!
//! Effective scopes are the requested ones that the credential's record grants; no client field ever adds a right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One right of an operator connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// See state, history and events.
    #[serde(rename = "operator.read")]
    Read,
    /// Start and abort runs; includes `operator.read`.
    #[serde(rename = "operator.write")]
    Write,
    /// Ask for and decide exec approvals.
    #[serde(rename = "operator.approvals")]
    Approvals,
    /// Pair and revoke devices.
    #[serde(rename = "operator.pairing")]
    Pairing,
    /// Everything else, including every other scope.
    #[serde(rename = "operator.admin")]
    Admin,
}

impl Scope {
    /// All scopes, weakest first.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Approvals, Self::Pairing, Self::Admin];

    /// The wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Approvals => "operator.approvals",
            Self::Pairing => "operator.pairing",
            Self::Admin => "operator.admin",
        }
    }

    /// The scope of this wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(u8);

impl ScopeSet {
    /// No scope at all.
    pub const NONE: Self = Self(0);
    /// Every operator scope.
    pub const ALL: Self = Self(0b1_1111);

    /// The set of `scopes`.
    #[must_use]
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | 1 << *scope as u8))
    }

    /// What both sets hold; a grant of admin covers every request, write covers read.
    #[must_use]
    pub fn granted_by(self, granted: Self) -> Self {
        Self::of(&Scope::ALL.into_iter().filter(|scope| self.lists(*scope) && granted.allows(*scope)).collect::<Vec<_>>())
    }

    /// Whether a connection with this set may do what needs `scope`.
    #[must_use]
    pub fn allows(self, scope: Scope) -> bool {
        self.lists(Scope::Admin) || self.lists(scope) || (scope == Scope::Read && self.lists(Scope::Write))
    }

    /// Whether everything in this set is allowed by `ceiling`.
    #[must_use]
    pub fn within(self, ceiling: Self) -> bool {
        self.granted_by(ceiling) == self
    }

    /// What both sets allow.
    #[must_use]
    pub fn shared_with(self, other: Self) -> Self {
        Self::of(&Scope::ALL.into_iter().filter(|scope| self.allows(*scope) && other.allows(*scope)).collect::<Vec<_>>())
    }

    /// What either set holds.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set of these wire names; names that mean nothing are left out.
    #[must_use]
    pub fn of_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self::of(&names.into_iter().filter_map(Scope::parse).collect::<Vec<_>>())
    }

    /// The wire names, weakest first.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        Scope::ALL.into_iter().filter(|scope| self.lists(*scope)).map(Scope::name).collect()
    }

    fn lists(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_covers_all_and_write_covers_read() {
        assert!(ScopeSet::of(&[Scope::Admin]).allows(Scope::Pairing));
        assert!(ScopeSet::of(&[Scope::Write]).allows(Scope::Read));
        assert!(!ScopeSet::of(&[Scope::Read]).allows(Scope::Write));
        assert!(!ScopeSet::NONE.allows(Scope::Read));
    }

    #[test]
    fn a_request_never_gains_what_the_record_lacks() {
        let asked = ScopeSet::of(&[Scope::Admin, Scope::Read]);
        assert_eq!(asked.granted_by(ScopeSet::of(&[Scope::Read])), ScopeSet::of(&[Scope::Read]));
        assert_eq!(asked.granted_by(ScopeSet::ALL), asked);
        assert_eq!(ScopeSet::of(&[Scope::Read]).granted_by(ScopeSet::of(&[Scope::Write])), ScopeSet::of(&[Scope::Read]));
    }

    #[test]
    fn a_scope_that_is_named_twice_is_held_once() {
        assert_eq!(ScopeSet::of(&[Scope::Read, Scope::Write, Scope::Read]), ScopeSet::of(&[Scope::Write, Scope::Read]));
    }

    #[test]
    fn names_round_trip() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.name()), Some(scope));
        }
        assert_eq!(Scope::parse("operator.*"), None);
        assert_eq!(ScopeSet::of_names(ScopeSet::ALL.names()), ScopeSet::ALL);
    }

    #[test]
    fn a_set_lies_within_another_that_covers_it() {
        let (read, write, admin) = (ScopeSet::of(&[Scope::Read]), ScopeSet::of(&[Scope::Write]), ScopeSet::of(&[Scope::Admin]));
        assert!(read.within(write) && write.within(admin) && ScopeSet::ALL.within(admin) && ScopeSet::NONE.within(ScopeSet::NONE));
        assert!(!write.within(read) && !admin.within(ScopeSet::of(&[Scope::Read, Scope::Write, Scope::Approvals, Scope::Pairing])));
        assert_eq!((admin.shared_with(read), ScopeSet::ALL.shared_with(admin)), (read, ScopeSet::ALL));
        assert_eq!(read.union(write), ScopeSet::of(&[Scope::Read, Scope::Write]));
    }
}
