//! Everything that opens the gateway over the network, as the configuration says it.
//!
//! Whatever is presented is compared with every record, and what fits none gets one answer: time and text tell nothing about which records there are.

use std::sync::Arc;

use super::credential::CredentialId;
use super::jwt::{self, Unfit};
use super::token::TokenDigest;
use crate::protocol::scope::ScopeSet;

/// The shared secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// One that is known in clear.
    Digest(TokenDigest),
    /// A password of which only a hash is known, as a PHC text.
    Hashed(Arc<str>),
}

/// A token with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: Arc<str>,
    /// The digest of it.
    pub digest: TokenDigest,
    /// What it grants.
    pub granted: ScopeSet,
    /// When it ends, wall-clock ms since the epoch.
    pub expires_at: Option<u64>,
    /// Whether its holder has a session of its own and no other.
    pub confined: bool,
}

/// How users of a portal come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// What their assertions must be.
    pub rules: jwt::Rules,
    /// What they grant.
    pub granted: ScopeSet,
}

/// What opens the gateway.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// The shared secret.
    pub shared: Option<Shared>,
    /// The named tokens.
    pub named: Vec<Named>,
    /// The portal.
    pub portal: Option<Portal>,
}

/// The record that something presented belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which credential it is.
    pub credential: CredentialId,
    /// What it grants.
    pub granted: ScopeSet,
    /// When it ends, wall-clock ms since the epoch.
    pub expires_at: Option<u64>,
    /// Whether its holder has a session of its own and no other.
    pub confined: bool,
}

impl Record {
    /// The record of one that grants everything and has no end.
    #[must_use]
    pub const fn of_all(credential: CredentialId) -> Self {
        Self { credential, granted: ScopeSet::ALL, expires_at: None, confined: false }
    }
}

/// What became of a credential when the configuration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    New,
    /// It is not there any more.
    Gone,
    /// The secret is another one.
    Rotated,
    /// The secret is the same; what it permits, or for how long, is not.
    Altered,
}

/// What became of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is right.
    Right(Record),
    /// No record fits, but it may be the password of this hash, which takes time to say.
    Costly(Arc<str>),
    /// It was right once, or is right for something else; nobody guesses that.
    Stale,
    /// It is wrong.
    Wrong,
}

impl Keyring {
    /// Looks for the record of what was presented, `now` in wall-clock ms since the epoch.
    #[must_use]
    pub fn find(&self, presented: &[&str], now: u64) -> Found {
        let digests: Vec<TokenDigest> = presented.iter().map(|text| TokenDigest::of(text)).collect();
        // Every field is compared with every record, so that time says nothing about which one was right.
        let fits = |digest: &TokenDigest| digests.iter().fold(false, |fits, presented| digest.is(presented) | fits);
        let mut found = Found::Wrong;
        if let Some(Shared::Digest(digest)) = &self.shared
            && fits(digest)
        {
            found = Found::Right(Record::of_all(CredentialId::Shared));
        }
        for named in &self.named {
            if fits(&named.digest) {
                let credential = CredentialId::Named(Arc::clone(&named.name));
                let ended = named.expires_at.is_some_and(|at| at <= now);
                found = if ended {
                    Found::Stale
                } else {
                    Found::Right(Record { credential, granted: named.granted, expires_at: named.expires_at, confined: named.confined })
                };
            }
        }
        if found == Found::Wrong {
            found = self.asserted(presented, now);
        }
        match (&self.shared, found) {
            (Some(Shared::Hashed(hash)), Found::Wrong) => Found::Costly(Arc::clone(hash)),
            (_, found) => found,
        }
    }

    fn asserted(&self, presented: &[&str], now: u64) -> Found {
        let Some(portal) = &self.portal else { return Found::Wrong };
        let Some(assertion) = presented.iter().find(|text| jwt::looks_like_one(text)) else { return Found::Wrong };
        match jwt::verify(assertion, &portal.rules, now / 1000) {
            Ok(claims) => Found::Right(Record {
                credential: CredentialId::User(claims.subject.into()),
                granted: portal.granted,
                expires_at: Some(claims.expires.saturating_mul(1000)),
                confined: true,
            }),
            Err(Unfit::Signed) => Found::Stale,
            Err(Unfit::Unsigned) => Found::Wrong,
        }
    }

    /// What changes from this keyring to `newer`, credential by credential. Users of a portal have no records of their own: what is told is the portal's.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<(String, Change)> {
        let mut changes = Vec::new();
        let mut tell = |name: &str, change| changes.push((name.to_owned(), change));
        match (&self.shared, &newer.shared) {
            (None, Some(_)) => tell("token", Change::New),
            (Some(_), None) => tell("token", Change::Gone),
            (older, newer) if older != newer => tell("token", Change::Rotated),
            _ => {}
        }
        match (&self.portal, &newer.portal) {
            (None, Some(_)) => tell("jwt", Change::New),
            (Some(_), None) => tell("jwt", Change::Gone),
            (Some(older), Some(newer)) if older.rules != newer.rules => tell("jwt", Change::Rotated),
            (older, newer) if older != newer => tell("jwt", Change::Altered),
            _ => {}
        }
        let of = |ring: &'_ Self, name: &str| ring.named.iter().find(|named| *named.name == *name).cloned();
        for older in &self.named {
            let name = CredentialId::Named(Arc::clone(&older.name)).to_string();
            match of(newer, &older.name) {
                None => tell(&name, Change::Gone),
                Some(newer) if newer.digest != older.digest => tell(&name, Change::Rotated),
                Some(newer) if newer != *older => tell(&name, Change::Altered),
                Some(_) => {}
            }
        }
        for named in newer.named.iter().filter(|named| of(self, &named.name).is_none()) {
            tell(&CredentialId::Named(Arc::clone(&named.name)).to_string(), Change::New);
        }
        changes
    }

    /// Whether a credential of this keyring has no equal record in `newer`, so that who came in with it must go.
    #[must_use]
    pub fn loses(&self, newer: &Self, credential: &CredentialId) -> bool {
        let record = |ring: &'_ Self, name: &str| ring.named.iter().find(|named| *named.name == *name).cloned();
        match credential {
            CredentialId::Shared => self.shared != newer.shared,
            CredentialId::Named(name) => record(self, name) != record(newer, name),
            CredentialId::User(_) => self.portal != newer.portal,
            CredentialId::Local | CredentialId::Device(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::scope::Scope;

    fn named(name: &str, token: &str, expires_at: Option<u64>) -> Named {
        Named { name: name.into(), digest: TokenDigest::of(token), granted: ScopeSet::of(&[Scope::Read]), expires_at, confined: false }
    }

    fn ring() -> Keyring {
        Keyring {
            shared: Some(Shared::Digest(TokenDigest::of("the-shared-one"))),
            named: vec![named("ci", "token-of-ci", None), named("old", "token-of-old", Some(1000))],
            portal: None,
        }
    }

    #[test]
    fn m3_each_token_grants_what_its_own_record_says() {
        let Found::Right(record) = ring().find(&["token-of-ci"], 5) else { panic!() };
        assert_eq!((record.credential, record.granted), (CredentialId::Named("ci".into()), ScopeSet::of(&[Scope::Read])));
        let Found::Right(record) = ring().find(&["x", "the-shared-one"], 5) else { panic!() };
        assert_eq!((record.credential, record.granted), (CredentialId::Shared, ScopeSet::ALL));
        assert!(matches!(ring().find(&["token-of-ci", "token-of-ci"], 5), Found::Right(_)), "shown in two fields");
        assert!(matches!(ring().find(&["token-of-old"], 999), Found::Right(_)));
        assert_eq!(ring().find(&["token-of-old"], 1000), Found::Stale);
    }

    #[test]
    fn every_change_of_a_record_is_told_by_name_and_kind() {
        let older = ring();
        assert_eq!(older.changes(&ring()), []);
        let mut newer = ring();
        newer.shared = Some(Shared::Digest(TokenDigest::of("another")));
        newer.named[0].granted = ScopeSet::ALL;
        newer.named[1] = named("new", "token-of-new", None);
        let told = |name: &str, change| (name.to_owned(), change);
        assert_eq!(
            older.changes(&newer),
            [
                told("token", Change::Rotated),
                told("token:ci", Change::Altered),
                told("token:old", Change::Gone),
                told("token:new", Change::New)
            ]
        );
        newer.named[0].digest = TokenDigest::of("rotated");
        newer.shared = None;
        assert_eq!(older.changes(&newer)[..2], [told("token", Change::Gone), told("token:ci", Change::Rotated)]);
        assert_eq!(newer.changes(&older)[0], told("token", Change::New));
        let key = |secret: &[u8]| jwt::Rules { key: jwt::Key::Hs256(secret.to_vec()), issuer: "i".into(), audience: "a".into(), leeway: 0 };
        let portal = |secret: &[u8], granted| Keyring { portal: Some(Portal { rules: key(secret), granted }), ..ring() };
        let first = portal(b"one", ScopeSet::NONE);
        assert_eq!(older.changes(&first), [told("jwt", Change::New)]);
        assert_eq!(first.changes(&older), [told("jwt", Change::Gone)]);
        assert_eq!(first.changes(&portal(b"one", ScopeSet::ALL)), [told("jwt", Change::Altered)]);
        assert_eq!(first.changes(&portal(b"two", ScopeSet::ALL)), [told("jwt", Change::Rotated)]);
    }

    #[test]
    fn m49_prefixes_lengths_and_names_are_all_equally_wrong() {
        for wrong in ["", "t", "token-of-c", "token-of-ci ", "token-of-ciX", "ci", "a.b.c", "the-shared-on", &"x".repeat(9000)] {
            assert_eq!(ring().find(&[wrong], 5), Found::Wrong, "{wrong:.20}");
        }
        assert_eq!(ring().find(&[], 5), Found::Wrong);
        let hashed = Keyring { shared: Some(Shared::Hashed("$argon2id$x".into())), ..ring() };
        assert_eq!(hashed.find(&["wrong"], 5), Found::Costly("$argon2id$x".into()));
        assert!(matches!(hashed.find(&["token-of-ci"], 5), Found::Right(_)));
    }

    #[test]
    fn m59_what_is_changed_or_gone_is_lost_and_nothing_else() {
        let (ci, old) = (CredentialId::Named("ci".into()), CredentialId::Named("old".into()));
        let mut newer = ring();
        newer.named[0].granted = ScopeSet::ALL;
        assert!(ring().loses(&newer, &ci) && !ring().loses(&newer, &old) && !ring().loses(&newer, &CredentialId::Shared));
        newer.named.remove(0);
        newer.shared = None;
        assert!(ring().loses(&newer, &ci) && ring().loses(&newer, &CredentialId::Shared));
        assert!(!ring().loses(&newer, &CredentialId::Local));
    }
}
