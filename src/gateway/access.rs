//! Who may come in: the gateway's secrets, and the budget of wrong guesses per address. Both change with the configuration; who came in with a secret that no longer holds is sent away.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::credential::{CredentialId, Standing, Standings, Verified};
use crate::auth::limiter::{Limiter, LimiterRule, Locked};
use crate::auth::peer::limit_key;
use crate::auth::token::TokenDigest;
use crate::config::Config;
use crate::config::gateway::AuthMode;
use crate::protocol::scope::ScopeSet;

/// Most addresses that the limiter remembers.
const ADDRESSES: usize = 10_000;
/// Why a connection ends that came with a shared secret which is no longer it.
const SECRET_CHANGED: &str = "the gateway's secret has changed";

/// The door.
pub struct Access {
    door: Mutex<Door>,
    connections: Arc<AtomicUsize>,
}

struct Door {
    mode: AuthMode,
    secret: Option<TokenDigest>,
    limiter: Limiter,
    standings: Standings,
}

/// Why a secret was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many wrong ones came from this address.
    Locked(Locked),
    /// None was sent.
    Missing,
    /// It is not the gateway's.
    Wrong,
}

/// Counts a connection past its handshake until it is dropped.
pub struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Access {
    /// The door of this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limiter = Limiter::new(rule_of(config));
        let door = Door { mode: config.auth_mode(), secret: secret_of(config), limiter, standings: Standings::default() };
        Self { door: Mutex::new(door), connections: Arc::default() }
    }

    /// Takes the rules of another configuration. Addresses that are locked out stay so. Credentials that are no longer any have ended when this returns; whether there were any in use is the result: then [`Hub::signal_revoked`](crate::events::hub::Hub::signal_revoked) is due.
    pub fn replace(&self, config: &Config) -> bool {
        let mut door = self.door();
        let secret = secret_of(config);
        let revoked = door.secret != secret && door.standings.end(|credential| *credential == CredentialId::Shared, SECRET_CHANGED);
        door.mode = config.auth_mode();
        door.secret = secret;
        door.limiter.set_rule(rule_of(config));
        revoked
    }

    /// Takes back the credentials that `which` names. Returns whether somebody holds one: then [`Hub::signal_revoked`](crate::events::hub::Hub::signal_revoked) is due.
    pub fn revoke(&self, which: impl Fn(&CredentialId) -> bool, reason: &'static str) -> bool {
        self.door().standings.end(which, reason)
    }

    /// The standing of a credential whose record is kept elsewhere. Take it before the record is read, so that a revocation in between is not missed.
    #[must_use]
    pub fn standing(&self, credential: &CredentialId) -> Arc<Standing> {
        self.door().standings.of(credential)
    }

    /// Who comes over the local socket.
    #[must_use]
    pub fn local(&self) -> Verified {
        self.door().verified(CredentialId::Local, ScopeSet::ALL, None)
    }

    fn door(&self) -> std::sync::MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `token` or `password`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self.door().mode {
            AuthMode::Token => "token",
            AuthMode::Password => "password",
        }
    }

    /// Whether anything from this address is looked at.
    ///
    /// # Errors
    /// It is locked out.
    pub fn admits(&self, address: IpAddr, now_ms: u64) -> Result<(), Locked> {
        self.door().limiter.check(limit_key(address), now_ms)
    }

    /// Counts a wrong credential of another kind than [`Self::check`] knows.
    pub fn guessed(&self, address: IpAddr, now_ms: u64) {
        self.door().limiter.failed(limit_key(address), now_ms);
    }

    /// Checks what a client at `address` presented; either of its two fields may hold the secret. `now_ms` is of a clock that never jumps.
    ///
    /// # Errors
    /// Why it is refused. A missing secret does not count as a guess.
    pub fn check(&self, address: IpAddr, presented: &[Option<&str>], now_ms: u64) -> Result<Verified, Refused> {
        let key = limit_key(address);
        let mut door = self.door();
        door.limiter.check(key, now_ms).map_err(Refused::Locked)?;
        let presented: Vec<&str> = presented.iter().copied().flatten().filter(|secret| !secret.is_empty()).collect();
        if presented.is_empty() {
            return Err(Refused::Missing);
        }
        // Every field is compared, so that time says nothing about which one was right.
        let right = door.secret.as_ref().is_some_and(|secret| presented.iter().fold(false, |right, text| secret.matches(text) | right));
        if right {
            return Ok(door.verified(CredentialId::Shared, ScopeSet::ALL, None));
        }
        door.limiter.failed(key, now_ms);
        Err(Refused::Wrong)
    }

    /// Counts one more connection.
    #[must_use]
    pub fn count(&self) -> Counted {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.connections))
    }

    /// Connections past their handshake.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Door {
    fn verified(&mut self, credential: CredentialId, granted: ScopeSet, expires_at: Option<u64>) -> Verified {
        let standing = self.standings.of(&credential);
        Verified { principal: credential.principal(), credential, granted, expires_at, standing }
    }
}

fn secret_of(config: &Config) -> Option<TokenDigest> {
    let auth = &config.gateway.auth;
    let secret = match config.auth_mode() {
        AuthMode::Token => auth.token.as_ref(),
        AuthMode::Password => auth.password.as_ref(),
    };
    secret.map(|secret| TokenDigest::of(secret.expose()))
}

fn rule_of(config: &Config) -> LimiterRule {
    let limit = &config.gateway.auth.rate_limit;
    LimiterRule { max_attempts: limit.max_attempts, window_ms: limit.window_ms, lockout_ms: limit.lockout_ms, max_entries: ADDRESSES }
}
