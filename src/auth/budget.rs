//! How often a caller may ask: by connection, by credential and by address, each for reading and for changing.
//!
//! A bound for each connection alone would be gone around by opening more of them, so what connections share has budgets too: all that came with one credential, and all from one address. Loopback has none of the latter, because everybody behind a proxy would share it, and the owner at the local socket has neither: no flood from outside may lock the owner out. Ending work is never counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::peer::limit_key;
use super::rate::{Bucket, Pace};

/// What a request does, as far as budgets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It tells something.
    Read,
    /// It changes something.
    Write,
}

/// What a budget is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One connection.
    Connection,
    /// All connections with one credential.
    Credential,
    /// All connections from one address.
    Address,
}

impl Share {
    /// The word for it in errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Credential => "credential",
            Self::Address => "address",
        }
    }
}

/// A budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests of this {}", share.name())]
pub struct Spent {
    /// Which one.
    pub share: Share,
    /// Milliseconds until there is something in it again, at least 1.
    pub retry_after_ms: u64,
}

/// The paces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paces {
    /// Changes of one connection.
    pub own_writes: Pace,
    /// Changes of all connections that share something.
    pub shared_writes: Pace,
    /// Reads of all connections that share something, for callers that do not administer the gateway.
    pub shared_reads: Pace,
}

/// Who asks, as far as budgets go.
#[derive(Clone, Copy, Debug)]
pub struct Payer<'a> {
    /// Whom the credential names; none for the owner at the local socket.
    pub principal: Option<&'a str>,
    /// Where the client is; none at the local socket.
    pub address: Option<IpAddr>,
    /// Whether reads are counted.
    pub reads_count: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Principal(Arc<str>, Class),
    Address(IpAddr, Class),
}

type Shared = Arc<Mutex<Bucket>>;

/// The shared budgets of a gateway. One that is full and that nobody uses is forgotten, so their number is bounded by who asked within the last burst.
#[derive(Debug)]
pub struct Budgets(Mutex<Table>);

#[derive(Debug)]
struct Table {
    paces: Paces,
    shared: HashMap<Key, Shared>,
    /// Size at which the forgotten ones are cleared out.
    clear_at: usize,
}

impl Budgets {
    /// Budgets with these paces; nobody has asked yet.
    #[must_use]
    pub fn new(paces: Paces) -> Self {
        Self(Mutex::new(Table { paces, shared: HashMap::new(), clear_at: 64 }))
    }

    /// Other paces from now on. A connection keeps that of its own; what is shared changes at once, and what was used up stays so.
    pub fn set_paces(&self, paces: Paces) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.paces = paces;
        for (key, bucket) in &table.shared {
            lock(bucket).set(paces.of(key));
        }
    }

    /// What a connection of this payer takes its requests from.
    #[must_use]
    pub fn purse(&self, payer: &Payer<'_>, now: Instant) -> Purse {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.shared.len() >= table.clear_at {
            table.shared.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !lock(bucket).is_full(now));
            table.clear_at = table.shared.len() * 2 + 64;
        }
        let principal: Option<Arc<str>> = payer.principal.map(Arc::from);
        let address = payer.address.map(limit_key).filter(|address| !address.is_loopback());
        let mut of = |class| {
            let mut shares = Vec::new();
            if let Some(principal) = &principal {
                shares.push((Share::Credential, table.bucket(Key::Principal(Arc::clone(principal), class))));
            }
            if let Some(address) = address {
                shares.push((Share::Address, table.bucket(Key::Address(address, class))));
            }
            shares
        };
        let writes = of(Class::Write);
        let reads = if payer.reads_count { of(Class::Read) } else { Vec::new() };
        Purse { own: Bucket::of(table.paces.own_writes), writes, reads }
    }
}

impl Paces {
    fn of(&self, key: &Key) -> Pace {
        match key {
            Key::Principal(_, Class::Read) | Key::Address(_, Class::Read) => self.shared_reads,
            Key::Principal(_, Class::Write) | Key::Address(_, Class::Write) => self.shared_writes,
        }
    }
}

impl Table {
    fn bucket(&mut self, key: Key) -> Shared {
        let pace = self.paces.of(&key);
        Arc::clone(self.shared.entry(key).or_insert_with(|| Arc::new(Mutex::new(Bucket::of(pace)))))
    }
}

/// The budgets of one connection.
#[derive(Debug)]
pub struct Purse {
    own: Bucket,
    writes: Vec<(Share, Shared)>,
    reads: Vec<(Share, Shared)>,
}

impl Purse {
    /// Takes one request of this class from each budget that it counts against, or from none.
    ///
    /// # Errors
    /// The first of them is used up.
    pub fn take(&mut self, class: Class, now: Instant) -> Result<(), Spent> {
        let spent = |share| move |retry_after_ms| Spent { share, retry_after_ms };
        let shares = match class {
            Class::Read => &self.reads,
            Class::Write => &self.writes,
        };
        if class == Class::Write {
            self.own.take(now).map_err(spent(Share::Connection))?;
        }
        for (at, (share, bucket)) in shares.iter().enumerate() {
            if let Err(refused) = lock(bucket).take(now).map_err(spent(*share)) {
                shares.iter().take(at).for_each(|(_, taken)| lock(taken).give_back());
                if class == Class::Write {
                    self.own.give_back();
                }
                return Err(refused);
            }
        }
        Ok(())
    }
}

fn lock(bucket: &Mutex<Bucket>) -> std::sync::MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn paces() -> Paces {
        Paces { own_writes: Pace::per_second(1, 3), shared_writes: Pace::per_second(1, 5), shared_reads: Pace::per_second(2, 4) }
    }

    fn payer(principal: &'static str, address: &str) -> Payer<'static> {
        Payer { principal: Some(principal), address: Some(address.parse().unwrap()), reads_count: true }
    }

    fn taken(purse: &mut Purse, class: Class, now: Instant) -> (usize, Option<Share>) {
        let mut taken = 0;
        loop {
            match purse.take(class, now) {
                Ok(()) => taken += 1,
                Err(spent) => return (taken, Some(spent.share)),
            }
            if taken == 1000 {
                return (taken, None);
            }
        }
    }

    #[test]
    fn m40_connections_of_one_credential_share_a_budget_whatever_their_addresses() {
        let (budgets, now) = (Budgets::new(paces()), Instant::now());
        let mut one = budgets.purse(&payer("token:ci", "203.0.113.1"), now);
        let mut two = budgets.purse(&payer("token:ci", "203.0.113.2"), now);
        let mut other = budgets.purse(&payer("token:web", "203.0.113.3"), now);
        assert_eq!(taken(&mut one, Class::Write, now), (3, Some(Share::Connection)));
        assert_eq!(taken(&mut two, Class::Write, now), (2, Some(Share::Credential)));
        assert_eq!(two.take(Class::Write, now), Err(Spent { share: Share::Credential, retry_after_ms: 1000 }));
        assert_eq!(taken(&mut other, Class::Write, now).0, 3, "somebody else");
        assert_eq!(taken(&mut one, Class::Read, now), (4, Some(Share::Credential)), "reads are counted apart");
        let later = now + Duration::from_secs(1);
        assert_eq!(taken(&mut two, Class::Write, later), (1, Some(Share::Credential)), "what was refused took nothing from its own budget");
    }

    #[test]
    fn m40_connections_from_one_address_share_a_budget_in_whatever_form_it_is_written() {
        let (budgets, now) = (Budgets::new(paces()), Instant::now());
        let mut one = budgets.purse(&payer("token:a", "2001:db8::1"), now);
        let mut two = budgets.purse(&payer("token:b", "2001:db8::2"), now);
        assert_eq!(taken(&mut one, Class::Write, now), (3, Some(Share::Connection)));
        assert_eq!(taken(&mut two, Class::Write, now), (2, Some(Share::Address)));
        let mut mapped = budgets.purse(&payer("token:c", "::ffff:192.0.2.1"), now);
        let mut plain = budgets.purse(&payer("token:d", "192.0.2.1"), now);
        assert_eq!((taken(&mut mapped, Class::Write, now).0, taken(&mut plain, Class::Write, now).0), (3, 2));
    }

    #[test]
    fn the_owner_and_loopback_share_nothing_and_who_administers_reads_freely() {
        let (budgets, now) = (Budgets::new(paces()), Instant::now());
        let owner = Payer { principal: None, address: None, reads_count: false };
        for _ in 0..10 {
            let mut purse = budgets.purse(&owner, now);
            assert_eq!(taken(&mut purse, Class::Write, now), (3, Some(Share::Connection)));
            assert_eq!(taken(&mut purse, Class::Read, now), (1000, None));
        }
        let mut one = budgets.purse(&payer("token:a", "127.0.0.1"), now);
        let mut two = budgets.purse(&payer("token:b", "::1"), now);
        assert_eq!((taken(&mut one, Class::Write, now).0, taken(&mut two, Class::Write, now).0), (3, 3));
        let mut admin = budgets.purse(&Payer { reads_count: false, ..payer("token", "203.0.113.1") }, now);
        assert_eq!(taken(&mut admin, Class::Read, now), (1000, None));
    }

    #[test]
    fn to_come_again_refills_nothing_and_idle_budgets_are_forgotten() {
        let (budgets, now) = (Budgets::new(paces()), Instant::now());
        assert_eq!(taken(&mut budgets.purse(&payer("token:ci", "203.0.113.1"), now), Class::Write, now).0, 3);
        assert_eq!(taken(&mut budgets.purse(&payer("token:ci", "203.0.113.1"), now), Class::Write, now).0, 2);
        assert_eq!(taken(&mut budgets.purse(&payer("token:ci", "203.0.113.1"), now), Class::Write, now).0, 0);
        for n in 0..10_000_u32 {
            let address = IpAddr::V4((0x0A00_0000 + n).into());
            drop(budgets.purse(&Payer { principal: None, address: Some(address), reads_count: true }, now));
        }
        let size = || budgets.0.lock().unwrap().shared.len();
        assert!(size() < 300, "{}", size());
        assert_eq!(taken(&mut budgets.purse(&payer("token:ci", "203.0.113.1"), now), Class::Write, now).0, 0, "a used one is kept");
        let later = now + Duration::from_secs(10);
        assert_eq!(taken(&mut budgets.purse(&payer("token:ci", "203.0.113.1"), later), Class::Write, later).0, 3);
    }

    #[test]
    fn budgets_in_use_are_not_looked_through_at_each_connect() {
        let (budgets, now) = (Budgets::new(paces()), Instant::now());
        let mut held = Vec::new();
        let mut cleared = 0;
        for n in 0..1000_u32 {
            let before = budgets.0.lock().unwrap().clear_at;
            let address = IpAddr::V4((0x0A00_0000 + n).into());
            held.push(budgets.purse(&Payer { principal: None, address: Some(address), reads_count: false }, now));
            cleared += usize::from(budgets.0.lock().unwrap().clear_at != before);
        }
        assert_eq!(budgets.0.lock().unwrap().shared.len(), 1000);
        assert!((3..=6).contains(&cleared), "{cleared}");
    }

    #[test]
    fn another_pace_holds_at_once_for_what_is_shared() {
        let (budgets, now) = (Budgets::new(paces()), Instant::now());
        let mut purse = budgets.purse(&payer("token:ci", "203.0.113.1"), now);
        budgets.set_paces(Paces { shared_reads: Pace::per_second(1, 2), shared_writes: Pace::per_second(1, 1), ..paces() });
        assert_eq!(taken(&mut purse, Class::Read, now), (2, Some(Share::Credential)));
        assert_eq!(taken(&mut purse, Class::Write, now), (1, Some(Share::Credential)));
    }
}
