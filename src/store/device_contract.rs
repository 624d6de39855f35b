//! What the owner of the devices may rely on, tried on the real backend.

use rusqlite::Connection;

use super::contract::{NOW, place};
use super::devices::{Described, DeviceRecord, DeviceRows, DeviceWrite, Grant, PairRequest, RequestState, SetupCode};
use super::error::StoreError;
use super::fault::{Faults, Faulty};
use super::sqlite::Sqlite;
use super::{Health, Store};
use crate::protocol::scope::{Scope, ScopeSet};

fn request(n: u64) -> PairRequest {
    PairRequest {
        request_id: format!("r-{n}"),
        device_id: format!("{n:064x}"),
        public_key: "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg".to_owned(),
        role: "operator",
        scopes: ScopeSet::of(&[Scope::Read, Scope::Write]),
        reason: "not-paired".to_owned(),
        described: Described { display_name: Some("it's \"mine\"\\u{1b}".to_owned()), ..Described::default() },
        address: Some("203.0.113.9".to_owned()),
        state: RequestState::Pending,
        created_at: NOW + n,
        expires_at: NOW + n + 300_000,
        resolved_at: None,
    }
}

fn grant(role: &'static str) -> Grant {
    Grant {
        role,
        scopes: if role == "node" { ScopeSet::NONE } else { ScopeSet::ALL },
        digest: Some([9; 32]),
        claim_until: Some(NOW + 5),
        created_at: NOW,
        rotated_at: None,
        revoked_at: Some(NOW + 1),
        last_used_at: Some(NOW + 2),
    }
}

fn device(n: u64, grants: Vec<Grant>) -> DeviceRecord {
    let PairRequest { device_id, public_key, described, address, .. } = request(n);
    DeviceRecord { device_id, public_key, described, address, created_at: NOW + n, approved_at: NOW + n, grants }
}

fn code(n: u8) -> SetupCode {
    SetupCode {
        digest: [n; 32],
        role: "operator",
        scopes: ScopeSet::of(&[Scope::Read]),
        made_by: "local".to_owned(),
        device_id: None,
        created_at: NOW,
        expires_at: NOW + 600_000,
    }
}

fn put(device: DeviceRecord) -> DeviceWrite {
    DeviceWrite::Device(Box::new(device))
}

#[tokio::test]
async fn what_is_written_is_there_after_reopening_and_what_is_dropped_is_gone() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.devices().await.unwrap(), DeviceRows::default());
    let rejected = PairRequest { state: RequestState::Rejected, resolved_at: Some(NOW + 9), address: None, ..request(2) };
    store
        .write_devices(vec![
            DeviceWrite::Request(Box::new(request(1))),
            DeviceWrite::Request(Box::new(rejected.clone())),
            put(device(1, vec![grant("operator"), grant("node")])),
            put(device(2, vec![grant("operator")])),
            DeviceWrite::Code(Box::new(code(1))),
            DeviceWrite::Code(Box::new(code(2))),
        ])
        .await
        .unwrap();
    store.close().await.unwrap();

    let store = Store::open(&path).unwrap();
    let rows = store.devices().await.unwrap();
    assert_eq!(rows.devices, [device(1, vec![grant("operator"), grant("node")]), device(2, vec![grant("operator")])]);
    assert_eq!((rows.requests, rows.codes), (vec![request(1), rejected], vec![code(1), code(2)]));
    let used = SetupCode { device_id: Some("x".to_owned()), ..code(2) };
    store
        .write_devices(vec![
            DeviceWrite::NoRequest("r-1".to_owned()),
            put(device(1, vec![grant("node")])),
            DeviceWrite::NoDevice(device(2, Vec::new()).device_id),
            DeviceWrite::NoCode([1; 32]),
            DeviceWrite::Code(Box::new(used.clone())),
        ])
        .await
        .unwrap();
    let rows = store.devices().await.unwrap();
    assert_eq!(rows.devices, [device(1, vec![grant("node")])], "a grant that is not in the new row is gone");
    assert_eq!((rows.requests.len(), rows.codes), (1, vec![used]));
}

#[tokio::test]
async fn rows_are_written_all_or_none() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    // A request that is decided without a time breaks a rule of the table.
    let broken = PairRequest { state: RequestState::Approved, ..request(1) };
    let writes = vec![put(device(1, vec![grant("operator")])), DeviceWrite::Request(Box::new(broken))];
    assert!(matches!(store.write_devices(writes).await, Err(StoreError::Sql(_))));
    assert_eq!(store.devices().await.unwrap(), DeviceRows::default());
    assert_eq!(store.health(), Health::Writing);
}

#[tokio::test]
async fn m87_m88_a_pairing_that_is_not_on_disk_was_not_promised() {
    let (_dir, path) = place();
    let faults = Faults::new();
    let writer = Faulty::new(Sqlite::open(&path).unwrap(), faults.clone());
    let store = Store::with(Box::new(writer), Box::new(Sqlite::open_reader(&path).unwrap())).unwrap();
    let pair = |n| vec![put(device(n, vec![grant("operator")]))];
    faults.disk_full(true);
    assert_eq!(store.write_devices(pair(1)).await, Err(StoreError::DiskFull));
    assert_eq!(store.devices().await.unwrap(), DeviceRows::default());
    faults.disk_full(false);
    store.write_devices(pair(2)).await.unwrap();
    faults.fail_commit(1, StoreError::Io("sync failed".to_owned()));
    assert!(matches!(store.write_devices(pair(3)).await, Err(StoreError::Io(_))));
    assert!(matches!(store.write_devices(pair(4)).await, Err(StoreError::Poisoned(_))));
    drop(store);
    let ids: Vec<_> = Store::open(&path).unwrap().devices().await.unwrap().devices.into_iter().map(|device| device.device_id).collect();
    assert!(ids.contains(&device(2, Vec::new()).device_id) && !ids.contains(&device(4, Vec::new()).device_id), "{ids:?}");
}

#[tokio::test]
async fn a_right_that_this_version_does_not_know_is_an_error_and_never_a_guess() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    store.write_devices(vec![put(device(1, vec![grant("operator")]))]).await.unwrap();
    store.close().await.unwrap();
    let conn = Connection::open(&path).unwrap();
    conn.execute("UPDATE device_grants SET scopes = 'operator.read operator.everything'", []).unwrap();
    drop(conn);
    let store = Store::open(&path).unwrap();
    assert!(matches!(store.devices().await, Err(StoreError::Sql(_))));
}
