//! Who may come in: what opens the gateway, and the budget of wrong guesses per address. Both change with the configuration; who came in with a credential that no longer holds is sent away.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::auth::budget::{Budgets, Paces};
use crate::auth::credential::{CredentialId, REVOKED, Standing, Standings, Verified};
use crate::auth::jwt;
use crate::auth::keyring::{Change, Found, Keyring, Named, Portal, Record, Shared};
use crate::auth::limiter::{Limiter, LimiterRule, Lock, Locked};
use crate::auth::password;
use crate::auth::peer::limit_key;
use crate::auth::rate::{Bucket, Pace};
use crate::auth::token::TokenDigest;
use crate::clock::from_iso;
use crate::config::Config;
use crate::config::login::{AuthMode, Jwt, JwtAlg, NamedToken};
use crate::config::login_rules::{PASSWORD_HASH_PREFIX, digest_of, public_key};
use crate::config::secret::Secret;
use crate::protocol::scope::ScopeSet;

/// Most addresses that the limiter remembers.
const ADDRESSES: usize = 10_000;
/// Why a connection ends that came with a shared secret which is no longer it.
const SECRET_CHANGED: &str = "the gateway's secret has changed";
/// Wrong guesses from everywhere that are answered at once, and per second after that.
const GUESSES: (u32, u32) = (100, 1);
/// How long the answer to each one beyond them is held back.
const HELD_BACK: Duration = Duration::from_secs(1);
/// Most checks of passwords that wait for their turn; only one runs at a time, so that guesses cost us one processor and the memory of one.
const WAITING: usize = 32;

/// The door.
pub struct Access {
    /// How often who is in may ask.
    pub budgets: Budgets,
    door: Mutex<Door>,
    connections: Arc<AtomicUsize>,
    checking: Semaphore,
    waiting: Semaphore,
}

struct Door {
    mode: AuthMode,
    keys: Keyring,
    limiter: Limiter,
    guesses: Bucket,
    standings: Standings,
}

/// Why a credential was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many wrong ones came from this address.
    Locked(Locked),
    /// None was sent.
    Missing,
    /// It is not right.
    Wrong {
        /// How long the answer is to be held back.
        hold: Duration,
        /// Whether it locked its address, which is to be remembered.
        locked: bool,
    },
    /// Too many passwords wait to be checked.
    Busy,
}

/// What another configuration did to credentials.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// Whether one that is in use has ended: then [`Hub::signal_revoked`](crate::events::hub::Hub::signal_revoked) is due.
    pub revoked: bool,
    /// What became of which, for the record.
    pub changes: Vec<(String, Change)>,
}

/// One moment on both clocks: records end by the first, locks by the second.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall-clock ms since the epoch.
    pub wall_ms: u64,
    /// Milliseconds on a clock that nobody can set.
    pub uptime_ms: u64,
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
        let door = Door {
            mode: config.auth_mode(),
            keys: keys_of(config),
            limiter: Limiter::new(rule_of(config)),
            guesses: Bucket::new(GUESSES.1, GUESSES.0),
            standings: Standings::default(),
        };
        let budgets = Budgets::new(paces_of(config));
        Self { budgets, door: Mutex::new(door), connections: Arc::default(), checking: Semaphore::new(1), waiting: Semaphore::new(WAITING) }
    }

    /// Takes the rules of another configuration. Addresses that are locked out stay so. Credentials that are no longer any have ended when this returns.
    pub fn replace(&self, config: &Config) -> Replaced {
        self.budgets.set_paces(paces_of(config));
        let mut door = self.door();
        let newer = keys_of(config);
        let older = std::mem::replace(&mut door.keys, newer);
        let Door { keys, standings, .. } = &mut *door;
        let shared = standings.end(|credential| *credential == CredentialId::Shared && older.loses(keys, credential), SECRET_CHANGED);
        let others = standings.end(|credential| older.loses(keys, credential), REVOKED);
        door.mode = config.auth_mode();
        door.limiter.set_rule(rule_of(config));
        Replaced { revoked: shared || others, changes: older.changes(&door.keys) }
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
        self.door().verified(Record::of_all(CredentialId::Local))
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
    pub fn admits(&self, address: IpAddr, now: Moment) -> Result<(), Refused> {
        self.door().limiter.check(limit_key(address), now.uptime_ms).map_err(Refused::Locked)
    }

    /// Counts a wrong credential of another kind than [`Self::check`] knows.
    #[must_use]
    pub fn guessed(&self, address: IpAddr, now: Moment) -> Refused {
        self.door().wrong(address, now)
    }

    /// Checks what a client at `address` presented; either of its two fields may hold the secret.
    ///
    /// # Errors
    /// Why it is refused. A missing secret does not count as a guess, and neither does one that was right once.
    pub async fn check(&self, address: IpAddr, presented: &[Option<&str>], now: Moment) -> Result<Verified, Refused> {
        let presented: Vec<&str> = presented.iter().copied().flatten().filter(|secret| !secret.is_empty()).collect();
        let hash = match self.look(address, &presented, now)? {
            Look::Done(verified) => return Ok(verified),
            Look::Costly(hash) => hash,
        };
        let _waiting = self.waiting.try_acquire().map_err(|_| Refused::Busy)?;
        let _turn = self.checking.acquire().await.map_err(|_| Refused::Busy)?;
        // Who waited may have been locked by those before it: as many guesses are checked as the limit says and no more.
        self.door().limiter.check(limit_key(address), now.uptime_ms).map_err(Refused::Locked)?;
        let (text, checked) = (presented.last().copied().unwrap_or_default().to_owned(), Arc::clone(&hash));
        let right = tokio::task::spawn_blocking(move || password::verify(&checked, &text)).await.unwrap_or(false);
        let mut door = self.door();
        // The password may have been changed meanwhile.
        if right && door.keys.shared == Some(Shared::Hashed(hash)) {
            return Ok(door.verified(Record::of_all(CredentialId::Shared)));
        }
        Err(door.wrong(address, now))
    }

    fn look(&self, address: IpAddr, presented: &[&str], now: Moment) -> Result<Look, Refused> {
        let mut door = self.door();
        door.limiter.check(limit_key(address), now.uptime_ms).map_err(Refused::Locked)?;
        if presented.is_empty() {
            return Err(Refused::Missing);
        }
        match door.keys.find(presented, now.wall_ms) {
            Found::Right(record) => Ok(Look::Done(door.verified(record))),
            Found::Costly(hash) => Ok(Look::Costly(hash)),
            Found::Stale => Err(Refused::Wrong { hold: Duration::ZERO, locked: false }),
            Found::Wrong => Err(door.wrong(address, now)),
        }
    }

    /// The locks that are on, to be stored.
    #[must_use]
    pub fn locks(&self, uptime_ms: u64) -> Vec<Lock> {
        self.door().limiter.locks(uptime_ms)
    }

    /// Puts stored locks back.
    pub fn restore(&self, locks: &[Lock], uptime_ms: u64) {
        let mut door = self.door();
        locks.iter().for_each(|lock| door.limiter.restore(lock, uptime_ms));
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

enum Look {
    Done(Verified),
    Costly(Arc<str>),
}

impl Door {
    fn verified(&mut self, record: Record) -> Verified {
        let Record { credential, granted, expires_at, confined } = record;
        let standing = self.standings.of(&credential);
        Verified { principal: credential.principal(), credential, granted, expires_at, confined, standing }
    }

    fn wrong(&mut self, address: IpAddr, now: Moment) -> Refused {
        let locked = self.limiter.failed(limit_key(address), now.uptime_ms);
        let hold = if self.guesses.take(Instant::now()).is_err() { HELD_BACK } else { Duration::ZERO };
        Refused::Wrong { hold, locked }
    }
}

fn keys_of(config: &Config) -> Keyring {
    let auth = &config.gateway.auth;
    let shared = match config.auth_mode() {
        AuthMode::Token => auth.token.as_ref().map(|token| Shared::Digest(TokenDigest::of(token.expose()))),
        AuthMode::Password => auth.password.as_ref().map(shared_password),
    };
    Keyring { shared, named: auth.tokens.iter().filter_map(named).collect(), portal: auth.jwt.as_ref().and_then(portal) }
}

/// A password that stands in clear in the config is compared as a digest: its hash would protect nothing that the config does not give away.
fn shared_password(password: &Secret<String>) -> Shared {
    let text = password.expose();
    if text.starts_with(PASSWORD_HASH_PREFIX) { Shared::Hashed(text.as_str().into()) } else { Shared::Digest(TokenDigest::of(text)) }
}

fn named(token: &NamedToken) -> Option<Named> {
    let digest = match (&token.hash, &token.token) {
        (Some(hash), _) => TokenDigest::from_bytes(digest_of(hash.expose())?),
        (None, token) => TokenDigest::of(token.as_ref()?.expose()),
    };
    let expires_at = token.expires_at.as_deref().map(|time| from_iso(time).unwrap_or(0));
    Some(Named { name: token.name.as_str().into(), digest, granted: ScopeSet::of(&token.scopes), expires_at, confined: token.confined })
}

fn portal(jwt: &Jwt) -> Option<Portal> {
    let key = match jwt.alg? {
        JwtAlg::EdDsa => jwt::Key::EdDsa(public_key(jwt.public_key.as_deref()?)?),
        JwtAlg::Hs256 => jwt::Key::Hs256(jwt.secret.as_ref()?.expose().as_bytes().to_vec()),
    };
    let rules = jwt::Rules { key, issuer: jwt.issuer.clone()?, audience: jwt.audience.clone()?, leeway: jwt.leeway_sec };
    Some(Portal { rules, granted: ScopeSet::of(&jwt.scopes) })
}

fn rule_of(config: &Config) -> LimiterRule {
    let limit = &config.gateway.auth.rate_limit;
    LimiterRule { max_attempts: limit.max_attempts, window_ms: limit.window_ms, lockout_ms: limit.lockout_ms, max_entries: ADDRESSES }
}

fn paces_of(config: &Config) -> Paces {
    let limits = &config.gateway.limits;
    let rate = limits.shared_writes_per_second.unwrap_or_else(|| limits.writes_per_second.saturating_mul(2));
    let burst = limits.shared_write_burst.unwrap_or_else(|| limits.write_burst.saturating_mul(2));
    Paces {
        own_writes: Pace::per_second(limits.writes_per_second, limits.write_burst),
        shared_writes: Pace::per_second(rate, burst),
        shared_reads: Pace::per_second(limits.reads_per_second, limits.read_burst),
    }
}
