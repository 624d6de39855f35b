//! Who may come in: the gateway's secret, and the budget of wrong guesses per address.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    mode: AuthMode,
    secret: Option<TokenDigest>,
    limiter: Mutex<Limiter>,
    connections: Arc<AtomicUsize>,
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
        let auth = &config.gateway.auth;
        let mode = config.auth_mode();
        let secret = match mode {
            AuthMode::Token => auth.token.as_ref(),
            AuthMode::Password => auth.password.as_ref(),
        };
        let rule = LimiterRule {
            max_attempts: auth.rate_limit.max_attempts,
            window_ms: auth.rate_limit.window_ms,
            lockout_ms: auth.rate_limit.lockout_ms,
            max_entries: ADDRESSES,
        };
        Self {
            mode,
            secret: secret.map(|secret| TokenDigest::of(secret.expose())),
            limiter: Mutex::new(Limiter::new(rule)),
            connections: Arc::default(),
        }
    }

    /// `token` or `password`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self.mode {
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
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.check(key, now_ms).map_err(Refused::Locked)?;
        let presented: Vec<&str> = presented.iter().copied().flatten().filter(|secret| !secret.is_empty()).collect();
        if presented.is_empty() {
            return Err(Refused::Missing);
        }
        // Every field is compared, so that time says nothing about which one was right.
        let right = self.secret.as_ref().is_some_and(|secret| presented.iter().fold(false, |right, text| secret.matches(text) | right));
        if right {
            return Ok(());
        }
        limiter.failed(key, now_ms);
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
