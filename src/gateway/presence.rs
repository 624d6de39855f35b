//! Presence: derived from live connections, so that an entry can neither leak nor expire under a client that is there.
//!
//! A connection holds a [`Guard`]; dropping it removes the entry, and what the connection reported of devices ([`report`](Presence::report)). Changes are published together, at most four times a second and more seldom the more connections there are, because each publication goes to all of them.

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

/// Most devices that one connection can tell of; the oldest report leaves.
const MAX_REPORTED: usize = 16;
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
    present: Mutex<HashMap<ConnId, Connection>>,
    changed: Notify,
}

/// What is shown because of one connection.
#[derive(Default)]
struct Connection {
    own: Option<Present>,
    /// The devices it told of.
    reported: Vec<Present>,
}

struct Present {
    /// Connections of one device or installation share an entry.
    key: String,
    entry: PresenceEntry,
}

impl Connection {
    fn presents(&self) -> impl Iterator<Item = &Present> {
        self.reported.iter().chain(&self.own)
    }
}

/// Keeps an entry alive.
pub struct Guard {
    shared: Arc<Shared>,
    conn_id: ConnId,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let gone = self.shared.lock().remove(&self.conn_id);
        if gone.is_some_and(|gone| gone.own.is_some() || !gone.reported.is_empty()) {
            self.shared.changed.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConnId, Connection>> {
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
            mode: Some("gateway".into()),
            reason: Some("self".into()),
            text: Some(format!("Gateway: {host} · app {VERSION} · mode gateway · reason self")),
            ..PresenceEntry::default()
        };
        Self { shared: Arc::new(Shared { own, present: Mutex::default(), changed: Notify::new() }), hub }
    }

    /// Adds a connection; it is present until the guard is dropped. One without an entry is not shown itself.
    #[must_use]
    pub fn join(&self, conn_id: &ConnId, entry: Option<PresenceEntry>) -> Guard {
        let own = entry.map(|entry| {
            let named = entry.device_id.as_ref().or(entry.instance_id.as_ref());
            Present { key: named.map_or_else(|| conn_id.0.clone(), |key| key.to_lowercase()), entry }
        });
        let shown = own.is_some();
        self.shared.lock().insert(conn_id.clone(), Connection { own, reported: Vec::new() });
        if shown {
            self.shared.changed.notify_one();
        }
        Guard { shared: Arc::clone(&self.shared), conn_id: conn_id.clone() }
    }

    /// A connection tells of a device, itself or another, known by `key`; it is shown as long as the connection is there. What the report leaves out stays as it was. Returns the entry before and after, or none if the connection is gone.
    pub fn report(&self, conn_id: &ConnId, key: &str, report: PresenceEntry) -> Option<(PresenceEntry, PresenceEntry)> {
        let key = key.to_lowercase();
        let mut present = self.shared.lock();
        let known = |connection: &Connection| {
            let newest = connection.presents().filter(|present| present.key == key).max_by_key(|present| present.entry.ts);
            newest.map(|present| present.entry.clone())
        };
        let before = present.get(conn_id).and_then(known).or_else(|| present.values().find_map(known)).unwrap_or_default();
        let mut after = report;
        after.fill_from(&before);
        let connection = present.get_mut(conn_id)?;
        connection.reported.retain(|reported| reported.key != key);
        if connection.reported.len() >= MAX_REPORTED {
            connection.reported.remove(0);
        }
        connection.reported.push(Present { key, entry: after.clone() });
        drop(present);
        self.shared.changed.notify_one();
        Some((before, after))
    }

    /// The entries, newest first; the gateway's own is always among them.
    #[must_use]
    pub fn snapshot(&self) -> Vec<PresenceEntry> {
        // Only what is listed is copied: with a thousand clients, copying all would be most of the cost of each hello.
        let present = self.shared.lock();
        let mut merged: HashMap<&str, Merged<'_>> = HashMap::with_capacity(present.len());
        for Present { key, entry } in present.values().flat_map(Connection::presents) {
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

    /// The newest entry, with what only the others say, and the roles and scopes of all.
    fn entry(&self) -> PresenceEntry {
        let mut entry = self.newest.clone();
        self.others.iter().for_each(|other| entry.fill_from(other));
        entry
    }
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
        let guard = presence.join(&ConnId::fresh(), Some(entry(1, None, vec![])));
        assert_eq!(presence.snapshot().len(), 2);
        drop(guard);
        assert_eq!(presence.snapshot().len(), 1);
    }

    #[test]
    fn connections_of_one_installation_share_an_entry() {
        let presence = presence();
        let first = presence.join(&ConnId::fresh(), Some(entry(1, Some("A"), vec!["operator.read"])));
        let _second = presence.join(&ConnId::fresh(), Some(entry(2, Some("a"), vec!["operator.admin"])));
        let snapshot = presence.snapshot();
        assert_eq!(snapshot.len(), 2);
        let shared = snapshot.iter().find(|entry| entry.instance_id.is_some()).unwrap();
        assert_eq!(shared.ts, 2);
        assert_eq!(shared.scopes.len(), 2);
        drop(first);
        assert_eq!(presence.snapshot().len(), 2);
    }

    #[test]
    fn defect_22_a_client_that_is_there_is_shown_however_long_ago_it_came() {
        let presence = presence();
        let _guard = presence.join(&ConnId::fresh(), Some(entry(1, Some("old"), vec![])));
        assert!(presence.snapshot().iter().any(|entry| entry.instance_id.as_deref() == Some("old") && entry.ts == 1));
    }

    #[test]
    fn a_report_is_shown_with_what_is_known_and_leaves_with_its_connection() {
        let presence = presence();
        let (conn, cli) = (ConnId::fresh(), ConnId::fresh());
        let live = PresenceEntry { version: Some("1".into()), host: Some("laptop".into()), ..entry(1, Some("A"), vec!["operator.read"]) };
        let guard = presence.join(&conn, Some(live));
        let report = PresenceEntry { last_input_seconds: Some(5), host: Some("desk".into()), ..entry(2, Some("a"), vec![]) };
        let (before, after) = presence.report(&conn, "a", report).unwrap();
        assert_eq!((before.host.as_deref(), after.host.as_deref(), after.version.as_deref()), (Some("laptop"), Some("desk"), Some("1")));
        let shown: Vec<_> = presence.snapshot().into_iter().filter(|entry| entry.instance_id.is_some()).collect();
        assert_eq!((shown.len(), shown[0].last_input_seconds, shown[0].scopes.as_slice()), (1, Some(5), &["operator.read"][..]));
        let other = presence.join(&cli, None);
        assert!(presence.report(&cli, "device", entry(3, Some("device"), vec![])).is_some());
        assert_eq!(presence.snapshot().len(), 3);
        drop(other);
        assert_eq!(presence.snapshot().len(), 2);
        assert!(presence.report(&cli, "device", entry(4, None, vec![])).is_none(), "the connection is gone");
        for n in 0..100 {
            presence.report(&conn, &n.to_string(), entry(n, None, vec![]));
        }
        assert!(presence.snapshot().len() <= 2 + MAX_REPORTED);
        drop(guard);
        assert_eq!(presence.snapshot().len(), 1);
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_gateway() {
        let presence = presence();
        let _guards: Vec<_> = (0..300).map(|n| presence.join(&ConnId::fresh(), Some(entry(n, None, vec![])))).collect();
        let snapshot = presence.snapshot();
        assert_eq!(snapshot.len(), MAX_ENTRIES);
        assert!(snapshot.iter().any(|entry| entry.mode.as_deref() == Some("gateway")));
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
                guards.push(presence.join(&ConnId::fresh(), Some(entry(n, None, vec![]))));
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
