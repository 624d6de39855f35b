//! What a checked credential gives: who its holder is, what it may do, and for how long.
//!
//! Rights come from [`Verified`] alone, which only a check of a credential makes; nothing that a client says of itself ends up in it. A [`Lease`] is what a live connection keeps of it: it ends when the credential is revoked or expires, and with it the connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::scope::ScopeSet;

/// Why a connection ends whose credential was taken back.
pub const REVOKED: &str = "credential revoked";
/// Why a connection ends whose credential has run out.
pub const EXPIRED: &str = "credential expired";

/// Which credential it is: what a revocation names and what the log of decisions says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialId {
    /// The local socket: the kernel vouches for the user at the other end.
    Local,
    /// The gateway's own secret, token or password.
    Shared,
    /// The token of this name in `gateway.auth.tokens`.
    Named(Arc<str>),
    /// A portal's assertion for this user.
    User(Arc<str>),
    /// The token of this device for this role.
    Device(Arc<str>, &'static str),
}

impl CredentialId {
    /// Whose runs and idempotency keys they are that come with it. The names of the first two are written in stores of earlier versions.
    #[must_use]
    pub fn principal(&self) -> Arc<str> {
        match self {
            Self::Local => "local".into(),
            Self::Shared => "token".into(),
            Self::Named(name) => format!("token:{name}").into(),
            Self::User(user) => format!("user:{user}").into(),
            Self::Device(id, _) => format!("device:{id}").into(),
        }
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id, role) => write!(f, "device:{id}:{role}"),
            other => f.write_str(&other.principal()),
        }
    }
}

/// A credential that was shown and is right.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Whose runs and idempotency keys they are.
    pub principal: Arc<str>,
    /// Which credential it was.
    pub credential: CredentialId,
    /// What its record grants.
    pub granted: ScopeSet,
    /// When it ends, wall-clock ms since the epoch.
    pub expires_at: Option<u64>,
    /// Whether its holder has a session of its own and no other.
    pub confined: bool,
    /// Whether it still stands.
    pub standing: Arc<Standing>,
}

impl Verified {
    /// What holds from now on for a connection; `now_ms` and `now` are the same moment. A clock that is set later moves no end.
    #[must_use]
    pub fn lease(&self, now_ms: u64, now: Instant) -> Lease {
        let left = |at: u64| Duration::from_millis(at.saturating_sub(now_ms));
        let until = self.expires_at.and_then(|at| now.checked_add(left(at)));
        Lease { standing: Arc::clone(&self.standing), until }
    }
}

/// Whether a credential still stands; shared by everybody who came in with it.
#[derive(Debug, Default)]
pub struct Standing(OnceLock<&'static str>);

impl Standing {
    /// Takes the credential back. The first reason stays.
    pub fn end(&self, reason: &'static str) {
        let _ = self.0.set(reason);
    }

    /// Why it was taken back; none while it stands.
    #[must_use]
    pub fn ended(&self) -> Option<&'static str> {
        self.0.get().copied()
    }
}

/// A connection's hold on its credential.
#[derive(Clone, Debug)]
pub struct Lease {
    standing: Arc<Standing>,
    until: Option<Instant>,
}

impl Lease {
    /// Why nothing more may be done with it; none while it holds.
    #[must_use]
    pub fn ended(&self, now: Instant) -> Option<&'static str> {
        self.standing.ended().or_else(|| self.until.filter(|until| *until <= now).map(|_| EXPIRED))
    }

    /// When it runs out by itself.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// The standings of the credentials in use. One that nobody holds any more is forgotten.
#[derive(Debug, Default)]
pub struct Standings {
    held: HashMap<CredentialId, Weak<Standing>>,
    /// Size at which the forgotten ones are cleared out.
    clear_at: usize,
}

impl Standings {
    /// The standing of this credential, the same for everybody who holds it now. Take it before the credential's record is looked at: then whoever takes the record away afterwards ends this one.
    pub fn of(&mut self, credential: &CredentialId) -> Arc<Standing> {
        if let Some(standing) = self.held.get(credential).and_then(Weak::upgrade) {
            return standing;
        }
        if self.held.len() >= self.clear_at {
            self.held.retain(|_, standing| standing.strong_count() > 0);
            self.clear_at = self.held.len() * 2 + 16;
        }
        let standing = Arc::new(Standing::default());
        self.held.insert(credential.clone(), Arc::downgrade(&standing));
        standing
    }

    /// Ends every standing of the credentials that `which` names; who shows such a credential from now on gets another one. Returns whether somebody held one.
    pub fn end(&mut self, which: impl Fn(&CredentialId) -> bool, reason: &'static str) -> bool {
        let mut any = false;
        self.held.retain(|credential, standing| {
            if !which(credential) {
                return true;
            }
            if let Some(standing) = standing.upgrade() {
                standing.end(reason);
                any = true;
            }
            false
        });
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> CredentialId {
        CredentialId::Named(name.into())
    }

    #[test]
    fn every_credential_is_a_principal_and_the_old_names_stay() {
        assert_eq!(&*CredentialId::Local.principal(), "local");
        assert_eq!(&*CredentialId::Shared.principal(), "token");
        assert_eq!(&*named("ci").principal(), "token:ci");
        assert_eq!(CredentialId::Device("ab".into(), "operator").to_string(), "device:ab:operator");
        assert_eq!(&*CredentialId::Device("ab".into(), "node").principal(), "device:ab");
    }

    #[test]
    fn an_ended_standing_ends_every_lease_of_that_credential_and_no_other() {
        let mut standings = Standings::default();
        let verified = |standing| Verified {
            principal: "token:ci".into(),
            credential: named("ci"),
            granted: ScopeSet::ALL,
            expires_at: None,
            confined: false,
            standing,
        };
        let now = Instant::now();
        let first = verified(standings.of(&named("ci"))).lease(0, now);
        let second = verified(standings.of(&named("ci"))).lease(0, now);
        let other = verified(standings.of(&named("lab"))).lease(0, now);
        assert!(standings.end(|id| *id == named("ci"), REVOKED));
        assert_eq!((first.ended(now), second.ended(now), other.ended(now)), (Some(REVOKED), Some(REVOKED), None));
        assert_eq!(standings.of(&named("ci")).ended(), None, "the name may be given anew");
        assert!(!standings.end(|id| *id == named("gone"), REVOKED));
    }

    #[test]
    fn many_that_are_held_are_not_looked_through_at_each_login() {
        let mut standings = Standings::default();
        let mut held = Vec::new();
        let mut cleared = 0;
        for n in 0..1000 {
            let before = standings.clear_at;
            held.push(standings.of(&named(&n.to_string())));
            cleared += usize::from(standings.clear_at != before);
        }
        assert_eq!(standings.held.len(), 1000);
        assert!((5..=10).contains(&cleared), "{cleared}");
    }

    #[test]
    fn a_lease_ends_with_its_time_whatever_the_wall_clock_does_later() {
        let now = Instant::now();
        let standing = Standings::default().of(&named("ci"));
        let verified = Verified {
            principal: "p".into(),
            credential: named("ci"),
            granted: ScopeSet::ALL,
            expires_at: Some(5_000),
            confined: false,
            standing,
        };
        let lease = verified.lease(3_000, now);
        assert_eq!(lease.ended(now + Duration::from_millis(1_999)), None);
        assert_eq!(lease.ended(now + Duration::from_millis(2_000)), Some(EXPIRED));
        assert_eq!(verified.lease(6_000, now).ended(now), Some(EXPIRED));
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let mut standings = Standings::default();
        for n in 0..10_000 {
            drop(standings.of(&named(&n.to_string())));
        }
        assert!(standings.held.len() <= 32, "{}", standings.held.len());
    }
}
