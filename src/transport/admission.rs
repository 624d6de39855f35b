//! How many connections there may be, counted at two moments: when a socket is accepted and when it asks to be upgraded.
//!
//! A socket counts as a newcomer until its credential was accepted. Newcomers have a small pool of their own, so that a flood of silent sockets cannot crowd out the clients that are at work; and each address but loopback may hold only a part of the pool. Loopback is not limited by address because all clients behind nginx share it; they are told apart when the upgrade request names the client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::auth::peer::limit_key;
use crate::auth::rate::{Bucket, Pace};

/// The bounds.
#[derive(Clone, Debug)]
pub struct Caps {
    /// All connections, newcomers included.
    pub connections: usize,
    /// Newcomers.
    pub newcomers: usize,
    /// Newcomers from one address (IPv6: one /64), loopback excepted.
    pub newcomers_per_address: usize,
    /// Upgrades from one address in a minute that come to no hello, loopback excepted.
    pub connects_per_minute: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self { connections: 20_000, newcomers: 512, newcomers_per_address: 32, connects_per_minute: 60 }
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All places are taken.
    #[error("too many connections")]
    Connections,
    /// All places of newcomers are taken.
    #[error("too many unauthenticated connections")]
    Newcomers,
    /// This address has its share.
    #[error("too many unauthenticated connections from this address")]
    Address,
    /// This address has tried too often.
    #[error("too many connects from this address")]
    Often {
        /// Milliseconds until the next one is let through, at least 1.
        retry_after_ms: u64,
    },
}

impl Full {
    /// The one line that a person reads.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Often { .. } => "too many connects from this address, try again later",
            Self::Connections | Self::Newcomers | Self::Address => "too many connections, try again later",
        }
    }
}

/// Addresses whose connects are remembered at most.
const ADDRESSES: usize = 10_000;

/// The counts of one gateway, shared by its listeners.
#[derive(Debug)]
pub struct Admission {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    caps: Caps,
    live: usize,
    newcomers: usize,
    by_address: HashMap<IpAddr, usize>,
    /// How often each address has connected lately. One that is full again is forgotten.
    connects: HashMap<IpAddr, Bucket>,
    /// Size at which the forgotten ones are cleared out.
    clear_at: usize,
}

impl Admission {
    /// Starts with no connection.
    #[must_use]
    pub fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::new(Counts { caps, ..Counts::default() }) })
    }

    /// Other bounds from now on. Who is in stays in.
    pub fn set_caps(&self, caps: Caps) {
        let mut counts = self.lock();
        let pace = Pace::per_minute(caps.connects_per_minute);
        counts.connects.values_mut().for_each(|bucket| bucket.set(pace));
        counts.caps = caps;
    }

    /// Takes a newcomer's place for a socket from `address`.
    ///
    /// # Errors
    /// [`Full`] when there is no place.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionGuard, Full> {
        let key = counted_key(address);
        let mut counts = self.lock();
        if counts.live + counts.newcomers >= counts.caps.connections {
            return Err(Full::Connections);
        }
        if counts.newcomers >= counts.caps.newcomers {
            return Err(Full::Newcomers);
        }
        let share = counts.caps.newcomers_per_address;
        counts.enter_address(key, share)?;
        counts.newcomers += 1;
        Ok(ConnectionGuard { admission: Arc::clone(self), key, tried: false, live: false })
    }

    /// Takes a place for a process of our own user. It is counted, but never refused: no flood from outside may lock the owner out.
    #[must_use]
    pub fn enter_local(self: &Arc<Self>) -> ConnectionGuard {
        self.lock().live += 1;
        ConnectionGuard { admission: Arc::clone(self), key: None, tried: false, live: true }
    }

    /// Connections with an accepted credential, and newcomers.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let counts = self.lock();
        (counts.live, counts.newcomers)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // The counts are plain numbers: a panic elsewhere cannot have left them half changed.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn enter_address(&mut self, key: Option<IpAddr>, cap: usize) -> Result<(), Full> {
        let Some(key) = key else { return Ok(()) };
        let count = self.by_address.get(&key).copied().unwrap_or(0);
        if count >= cap {
            return Err(Full::Address);
        }
        self.by_address.insert(key, count + 1);
        Ok(())
    }

    /// Counts an upgrade from this address.
    fn connect(&mut self, key: IpAddr, now: Instant) -> Result<(), Full> {
        if self.connects.len() >= self.clear_at {
            self.connects.retain(|_, bucket| !bucket.is_full(now));
            // However many addresses come within a minute, the oldest is not worth the memory of all: the places of newcomers are bounded anyway.
            if self.connects.len() >= ADDRESSES {
                self.connects.clear();
            }
            self.clear_at = (self.connects.len() * 2 + 64).min(ADDRESSES);
        }
        let pace = Pace::per_minute(self.caps.connects_per_minute);
        let bucket = self.connects.entry(key).or_insert_with(|| Bucket::of(pace));
        bucket.take(now).map_err(|retry_after_ms| Full::Often { retry_after_ms })
    }

    fn leave_address(&mut self, key: Option<IpAddr>) {
        let Some(key) = key else { return };
        match self.by_address.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.by_address.remove(&key)),
        }
    }
}

/// The address that a newcomer is counted under; loopback is not counted.
fn counted_key(address: IpAddr) -> Option<IpAddr> {
    let key = limit_key(address);
    (!address.is_loopback() && !key.is_loopback()).then_some(key)
}

/// One connection's place. Dropping it frees the place.
#[derive(Debug)]
pub struct ConnectionGuard {
    admission: Arc<Admission>,
    key: Option<IpAddr>,
    /// Whether this connection was counted as a connect of its address.
    tried: bool,
    live: bool,
}

impl ConnectionGuard {
    /// Counts an upgrade of this newcomer against its address. Call it once the address is the client's own.
    ///
    /// # Errors
    /// [`Full::Often`] when that address has come too often without a hello.
    pub fn connects(&mut self, now: Instant) -> Result<(), Full> {
        if let (Some(key), false) = (self.key, self.live || self.tried) {
            self.admission.lock().connect(key, now)?;
            self.tried = true;
        }
        Ok(())
    }

    /// Counts this newcomer under its client's address instead of the socket's.
    ///
    /// # Errors
    /// [`Full::Address`] when that address has its share; the old place is kept then.
    pub fn rename(&mut self, address: IpAddr) -> Result<(), Full> {
        let key = counted_key(address);
        if self.live || key == self.key {
            return Ok(());
        }
        let mut counts = self.admission.lock();
        let share = counts.caps.newcomers_per_address;
        counts.enter_address(key, share)?;
        counts.leave_address(self.key);
        drop(counts);
        self.key = key;
        Ok(())
    }

    /// Moves this connection from the newcomers to those at work. Again is harmless.
    pub fn authenticated(&mut self) {
        if self.live {
            return;
        }
        self.live = true;
        let mut counts = self.admission.lock();
        counts.newcomers = counts.newcomers.saturating_sub(1);
        counts.live += 1;
        counts.leave_address(self.key);
        // Who may come in may come as often as it likes: many clients behind one address come back at once after a restart.
        if let (true, Some(bucket)) = (self.tried, self.key.and_then(|key| counts.connects.get_mut(&key))) {
            bucket.give_back();
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        if self.live {
            counts.live = counts.live.saturating_sub(1);
        } else {
            counts.newcomers = counts.newcomers.saturating_sub(1);
            counts.leave_address(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn small() -> Arc<Admission> {
        Admission::new(Caps { connections: 5, newcomers: 3, newcomers_per_address: 2, connects_per_minute: 3 })
    }

    #[test]
    fn newcomers_have_a_pool_of_their_own_and_leave_it_when_authenticated() {
        let admission = small();
        let mut held: Vec<_> = (0..3).map(|_| admission.enter(ip("127.0.0.1")).unwrap()).collect();
        assert_eq!(admission.enter(ip("127.0.0.1")).unwrap_err(), Full::Newcomers);
        held[0].authenticated();
        held[0].authenticated();
        assert_eq!(admission.counts(), (1, 2));
        held.push(admission.enter(ip("127.0.0.1")).unwrap());
        held[1].authenticated();
        held[2].authenticated();
        held.push(admission.enter(ip("127.0.0.1")).unwrap());
        assert_eq!(admission.enter(ip("::1")).unwrap_err(), Full::Connections, "five in all");
        let local = admission.enter_local();
        assert_eq!(admission.counts(), (4, 2));
        drop((held, local));
        assert_eq!(admission.counts(), (0, 0));
        assert!(admission.lock().by_address.is_empty());
    }

    #[test]
    fn one_address_gets_only_its_share_in_whatever_form_it_is_written() {
        let admission = small();
        let first = admission.enter(ip("192.0.2.1")).unwrap();
        let _second = admission.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(admission.enter(ip("192.0.2.1")).unwrap_err(), Full::Address);
        drop(first);
        let _third = admission.enter(ip("192.0.2.1")).unwrap();
        let _fourth = admission.enter(ip("2001:db8::1")).unwrap();
        assert_eq!(admission.counts(), (0, 3));
    }

    #[test]
    fn a_client_behind_the_proxy_is_counted_under_its_own_address() {
        let admission = small();
        let mut one = admission.enter(ip("127.0.0.1")).unwrap();
        let mut two = admission.enter(ip("127.0.0.1")).unwrap();
        let mut three = admission.enter(ip("127.0.0.1")).unwrap();
        let client = "2001:db8::5".parse().unwrap();
        let neighbour = "2001:db8::6".parse().unwrap();
        one.rename(client).unwrap();
        two.rename(neighbour).unwrap();
        assert_eq!(three.rename(client).unwrap_err(), Full::Address, "one /64 is one client");
        one.authenticated();
        three.rename(client).unwrap();
        drop((one, two, three));
        assert!(admission.lock().by_address.is_empty());
    }

    #[test]
    fn m46_connects_of_one_address_are_bounded_and_those_that_get_in_are_not_counted() {
        let (admission, now) = (small(), Instant::now());
        let come = |address: &str| {
            let mut guard = admission.enter(ip(address)).unwrap();
            guard.connects(now).map(|()| guard)
        };
        for _ in 0..20 {
            come("192.0.2.1").unwrap().authenticated();
        }
        for _ in 0..3 {
            drop(come("192.0.2.1").unwrap());
        }
        assert_eq!(come("::ffff:192.0.2.1").unwrap_err(), Full::Often { retry_after_ms: 20_000 });
        drop(come("192.0.2.2").unwrap());
        for _ in 0..100 {
            drop(come("127.0.0.1").unwrap());
        }
        let mut again = admission.enter(ip("192.0.2.1")).unwrap();
        again.connects(now + std::time::Duration::from_secs(20)).unwrap();
        assert!(matches!(again.connects(now), Ok(())), "one connection is counted once");
        assert_eq!(admission.counts(), (0, 1));
    }

    #[test]
    fn the_memory_of_connects_is_bounded() {
        let (admission, now) = (small(), Instant::now());
        for n in 0..30_000_u32 {
            let mut guard = admission.enter(IpAddr::V4((0x0A00_0000 + n).into())).unwrap();
            guard.connects(now).unwrap();
        }
        assert!(admission.lock().connects.len() <= ADDRESSES);
    }
}
