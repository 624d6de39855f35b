//! Who may come in: the gateway's secret, and the budget of wrong guesses per address. Both change with the configuration; who came in with a secret that no longer holds is sent away.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::limiter::{Limiter, LimiterRule, Locked};
use crate::auth::peer::limit_key;
use crate::auth::token::TokenDigest;
use crate::config::Config;
use crate::config::gateway::AuthMode;

/// Most addresses that the limiter remembers.
const ADDRESSES: usize = 10_000;

/// The door.
pub struct Access {
    door: Mutex<Door>,
    generation: AtomicU64,
    connections: Arc<AtomicUsize>,
}

struct Door {
    mode: AuthMode,
    secret: Option<TokenDigest>,
    limiter: Limiter,
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
        let door = Door { mode: config.auth_mode(), secret: secret_of(config), limiter: Limiter::new(rule_of(config)) };
        Self { door: Mutex::new(door), generation: AtomicU64::new(0), connections: Arc::default() }
    }

    /// Takes the rules of another configuration. Addresses that are locked out stay so. Returns whether the secret is another one: connections of an older [`Self::generation`] then hold nothing that opens this door.
    pub fn replace(&self, config: &Config) -> bool {
        let mut door = self.door();
        let secret = secret_of(config);
        let other = door.secret != secret;
        door.mode = config.auth_mode();
        door.secret = secret;
        door.limiter.set_rule(rule_of(config));
        if other {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        other
    }

    /// Counts the secrets that there have been. Who reads it before [`Self::check`] knows which one was accepted.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
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

    /// Checks what a client at `address` presented; either of its two fields may hold the secret. `now_ms` is of a clock that never jumps.
    ///
    /// # Errors
    /// Why it is refused. A missing secret does not count as a guess.
    pub fn check(&self, address: IpAddr, presented: &[Option<&str>], now_ms: u64) -> Result<(), Refused> {
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
            return Ok(());
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
