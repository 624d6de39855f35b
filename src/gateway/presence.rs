//! Presence: derived from live connections, so that an entry can neither leak nor expire under a client that is there.
//!
//! A connection holds a [`Guard`]; dropping it removes the entry. Changes are published together, at most four times a second and more seldom the more connections there are, because each publication goes to all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::VERSION;
use crate::clock::now_ms;
use crate::events::hub::Hub;
use crate::protocol::event::presence::{PresenceEntry, PresenceEvent};
use crate::protocol::frame;
use crate::protocol::ids::ConnId;

/// Most entries that a snapshot lists.
const MAX_ENTRIES: usize = 200;
/// Shortest time between two publications.
const PERIOD: Duration = Duration::from_millis(250);
/// How much longer it gets per connection.
const PERIOD_PER_CONNECTION: Duration = Duration::from_micros(1500);

/// The connected clients.
pub struct Presence {
    shared: Arc<Shared>,
    hub: Arc<Hub>,
}

struct Shared {
    own: PresenceEntry,
    present: Mutex<HashMap<ConnId, Present>>,
    changed: Notify,
}

struct Present {
    /// Connections of one device or installation share an entry.
    key: String,
    entry: PresenceEntry,
}

/// Keeps an entry alive.
pub struct Guard {
    shared: Arc<Shared>,
    conn_id: ConnId,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.shared.lock().remove(&self.conn_id).is_some() {
            self.shared.changed.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConnId, Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    /// Nobody but the gateway itself, on the machine `host`.
    #[must_use]
    pub fn new(host: &str, hub: Arc<Hub>) -> Self {
        let own = PresenceEntry {
            ts: now_ms(),
            host: Some(host.to_owned()),
            version: Some(VERSION.to_owned()),
            platform: Some("linux".to_owned()),
            mode: Some("gateway"),
            reason: Some("self"),
            text: Some(format!("Gateway: {host} · app {VERSION} · mode gateway · reason self")),
            ..PresenceEntry::default()
        };
        Self { shared: Arc::new(Shared { own, present: Mutex::default(), changed: Notify::new() }), hub }
    }

    /// Adds a connection; it is present until the guard is dropped.
    #[must_use]
    pub fn join(&self, conn_id: &ConnId, entry: PresenceEntry) -> Guard {
        let key = entry.device_id.as_ref().or(entry.instance_id.as_ref()).map_or_else(|| conn_id.0.clone(), |key| key.to_lowercase());
        self.shared.lock().insert(conn_id.clone(), Present { key, entry });
        self.shared.changed.notify_one();
        Guard { shared: Arc::clone(&self.shared), conn_id: conn_id.clone() }
    }

    /// The entries, newest first; the gateway's own is always among them.
    #[must_use]
    pub fn snapshot(&self) -> Vec<PresenceEntry> {
        // Only what is listed is copied: with a thousand clients, copying all would be most of the cost of each hello.
        let present = self.shared.lock();
        let mut merged: HashMap<&str, Merged<'_>> = HashMap::with_capacity(present.len());
        for Present { key, entry } in present.values() {
            merged.entry(key).and_modify(|merged| merged.add(entry)).or_insert(Merged { newest: entry, others: Vec::new() });
        }
        let mut listed: Vec<Merged<'_>> = merged.into_values().collect();
        listed.sort_unstable_by(|a, b| b.newest.ts.cmp(&a.newest.ts).then_with(|| a.newest.text.cmp(&b.newest.text)));
        listed.truncate(MAX_ENTRIES - 1);
        let mut entries: Vec<PresenceEntry> = listed.iter().map(Merged::entry).collect();
        drop(listed);
        drop(present);
        entries.push(PresenceEntry { ts: now_ms(), ..self.shared.own.clone() });
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.ts));
        entries
    }

    /// Publishes changes until `stop`.
    pub async fn publish(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.changed.notified() => {}
            }
            let event = PresenceEvent { presence: self.snapshot() };
            self.hub.presence.publish(Bytes::from(frame::event_start("presence", &event)));
            let connections = u32::try_from(self.shared.lock().len()).unwrap_or(u32::MAX);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD + PERIOD_PER_CONNECTION * connections) => {}
            }
        }
    }
}

/// The connections of one device.
struct Merged<'a> {
    newest: &'a PresenceEntry,
    others: Vec<&'a PresenceEntry>,
}

impl<'a> Merged<'a> {
    fn add(&mut self, other: &'a PresenceEntry) {
        let newer = other.ts > self.newest.ts;
        self.others.push(if newer { std::mem::replace(&mut self.newest, other) } else { other });
    }

    /// The newest entry, with the roles and scopes of all.
    fn entry(&self) -> PresenceEntry {
        let mut entry = self.newest.clone();
        for other in &self.others {
            entry.roles = union(entry.roles, &other.roles);
            entry.scopes = union(entry.scopes, &other.scopes);
        }
        entry
    }
}

fn union(mut names: Vec<&'static str>, more: &[&'static str]) -> Vec<&'static str> {
    for name in more {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence() -> Presence {
        Presence::new("vm", Arc::new(Hub::default()))
    }

    fn entry(ts: u64, instance: Option<&str>, scopes: Vec<&'static str>) -> PresenceEntry {
        PresenceEntry { ts, instance_id: instance.map(str::to_owned), scopes, ..PresenceEntry::default() }
    }

    #[test]
    fn an_entry_lives_as_long_as_its_guard() {
        let presence = presence();
        let guard = presence.join(&ConnId::fresh(), entry(1, None, vec![]));
        assert_eq!(presence.snapshot().len(), 2);
        drop(guard);
        assert_eq!(presence.snapshot().len(), 1);
    }

    #[test]
    fn connections_of_one_installation_share_an_entry() {
        let presence = presence();
        let first = presence.join(&ConnId::fresh(), entry(1, Some("A"), vec!["operator.read"]));
        let _second = presence.join(&ConnId::fresh(), entry(2, Some("a"), vec!["operator.admin"]));
        let snapshot = presence.snapshot();
        assert_eq!(snapshot.len(), 2);
        let shared = snapshot.iter().find(|entry| entry.instance_id.is_some()).unwrap();
        assert_eq!(shared.ts, 2);
        assert_eq!(shared.scopes.len(), 2);
        drop(first);
        assert_eq!(presence.snapshot().len(), 2);
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_gateway() {
        let presence = presence();
        let _guards: Vec<_> = (0..300).map(|n| presence.join(&ConnId::fresh(), entry(n, None, vec![]))).collect();
        let snapshot = presence.snapshot();
        assert_eq!(snapshot.len(), MAX_ENTRIES);
        assert!(snapshot.iter().any(|entry| entry.mode == Some("gateway")));
    }

    #[tokio::test(start_paused = true)]
    async fn many_connects_are_a_few_events() {
        let presence = Arc::new(presence());
        let stop = CancellationToken::new();
        let mut seen = presence.hub.presence.watch();
        let publisher = {
            let (presence, stop) = (Arc::clone(&presence), stop.clone());
            async move { presence.publish(stop).await }
        };
        let joins = async {
            let mut guards = Vec::new();
            for n in 0..1000 {
                guards.push(presence.join(&ConnId::fresh(), entry(n, None, vec![])));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            stop.cancel();
            guards.len()
        };
        let (joined, ()) = tokio::join!(joins, publisher);
        assert_eq!(joined, 1000);
        let version = seen.borrow_and_update().version;
        assert!((2..=24).contains(&version), "{version} events");
    }
}
