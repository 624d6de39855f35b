//! Files of older schema versions: each dump of `tests/vectors/store` opens with all it held, in the form of a new file.

use std::path::Path;

use rusqlite::Connection;

use super::approvals::ApprovalFilter;
use super::contract::{NOW, new_run, place};
use super::devices::RequestState;
use super::migrate::STEPS;
use super::record::{Accepted, NewRun};
use super::sessions::SessionRecord;
use super::{Store, StoreError};
use crate::protocol::approval::ApprovalState;
use crate::protocol::ids::{RunId, SessionKey};
use crate::protocol::run::RunStatus;
use crate::protocol::scope::{Scope, ScopeSet};

const DUMPS: [&str; 8] = [
    include_str!("../../tests/vectors/store/v1.sql"),
    include_str!("../../tests/vectors/store/v2.sql"),
    include_str!("../../tests/vectors/store/v3.sql"),
    include_str!("../../tests/vectors/store/v4.sql"),
    include_str!("../../tests/vectors/store/v5.sql"),
    include_str!("../../tests/vectors/store/v6.sql"),
    include_str!("../../tests/vectors/store/v7.sql"),
    include_str!("../../tests/vectors/store/v8.sql"),
];

/// A file made from the dump of this version, opened and so brought to the newest.
fn opened(version: usize, path: &Path) -> Store {
    Connection::open(path).unwrap().execute_batch(DUMPS[version - 1]).unwrap();
    Store::open(path).unwrap()
}

/// The file as it is. The threads of a store that was dropped may still be closing it.
fn opened_plainly(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    conn
}

/// Columns of all tables, and the indexes.
fn shape(path: &Path) -> Vec<String> {
    let conn = opened_plainly(path);
    let sql = "SELECT s.type || ' ' || s.name || ' ' || coalesce(c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk, s.sql, '')
               FROM sqlite_schema s LEFT JOIN pragma_table_xinfo(s.name) c ON s.type = 'table' ORDER BY 1";
    conn.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

async fn session(store: &Store, key: &str) -> SessionRecord {
    store.session(&SessionKey::from(key)).await.unwrap().unwrap_or_else(|| panic!("no session {key}"))
}

/// The finished run has its outcome, and its key still leads to it.
async fn keeps_what_is_done(store: &Store) -> Result<(), StoreError> {
    let run = store.run(&RunId::from("done")).await?.unwrap();
    assert_eq!(run.outcome.map(|outcome| (outcome.exit_code, outcome.summary)), Some((Some(3), "exit code 3".to_owned())));
    let again = store.accept_run(NewRun { digest: [0; 32], ..new_run("done") }).await?;
    assert!(matches!(again, Accepted::Same(run) if run.head == 4));
    let main = session(store, "agent:main:main").await;
    let id = "0b9a5a52-6d0e-4a5c-9a07-1b8a0f0a7c11";
    assert_eq!((main.entry.session_id.as_str(), main.created_at, main.entry.updated_at), (id, NOW, NOW + 3000));
    Ok(())
}

#[test]
fn the_form_of_a_migrated_file_is_that_of_a_new_one_and_it_is_sound() {
    let (_new, new_path) = place();
    drop(Store::open(&new_path).unwrap());
    for version in 1..=DUMPS.len() {
        let (_dir, path) = place();
        drop(opened(version, &path));
        assert_eq!(shape(&path), shape(&new_path), "version {version}");
        let conn = opened_plainly(&path);
        let text = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
        assert_eq!(text("PRAGMA integrity_check"), "ok".to_owned().into());
        assert_eq!(text("PRAGMA user_version"), i64::try_from(STEPS.len()).unwrap().into());
    }
}

#[tokio::test]
async fn a_file_of_schema_version_1_opens_with_its_rows() {
    let (_dir, path) = place();
    let store = opened(1, &path);
    keeps_what_is_done(&store).await.unwrap();
    let unfinished = store.unfinished().await.unwrap();
    assert_eq!(unfinished.iter().map(|run| (run.run_id.as_str(), run.status)).collect::<Vec<_>>(), [("alive", RunStatus::Running)]);
    assert_eq!((unfinished[0].queue.as_deref(), store.untold(9).await.unwrap().len()), (None, 0), "what came later is not made up");
}

#[tokio::test]
async fn a_file_of_schema_version_2_opens_with_its_sessions_and_its_runs_wait_in_line() {
    let (_dir, path) = place();
    let store = opened(2, &path);
    keeps_what_is_done(&store).await.unwrap();
    let work = session(&store, "agent:main:work").await;
    assert_eq!(
        (work.entry.label.as_deref(), work.entry.thinking_level.as_deref(), work.entry.queue_cap),
        (Some("Work"), Some("high"), Some(7))
    );
    assert_eq!((work.entry.input_tokens, work.extra.as_deref()), (Some(12), Some(r#"{"skillsSnapshot":{"a":1},"unheardOf":[1]}"#)));
    assert!(store.was_imported("/home/ubuntu/.skykoi/agents/main/sessions/sessions.json").await.unwrap());
    // A run outlives its session.
    assert!(store.run(&RunId::from("gone")).await.unwrap().is_some_and(|run| run.outcome.is_some()));
    let unfinished = store.unfinished().await.unwrap();
    assert_eq!(unfinished.iter().map(|run| (run.run_id.as_str(), run.queue.as_deref())).collect::<Vec<_>>(), [("waits", None)]);
    assert_eq!(store.untold(9).await.unwrap(), []);
}

#[tokio::test]
async fn a_file_of_schema_version_3_opens_with_its_turns() {
    let (_dir, path) = place();
    let store = opened(3, &path);
    keeps_what_is_done(&store).await.unwrap();
    let rules = Some(r#"{"mode":"followup","debounce_ms":5,"cap":3,"drop":"new"}"#);
    let unfinished = store.unfinished().await.unwrap();
    let turns: Vec<_> = unfinished.iter().map(|run| (run.run_id.as_str(), run.queue.as_deref(), run.merged_into.as_deref())).collect();
    let carrier = "019a0000000070008000000000000004";
    assert_eq!(turns, [("merged", rules, Some(carrier)), ("carrier", rules, None), ("waits", rules, None)]);
    assert!(unfinished[1].spec.contains(r"echo b\necho c"), "{}", unfinished[1].spec);
    let untold: Vec<String> = store.untold(9).await.unwrap().into_iter().map(|run| run.run_id.0).collect();
    assert_eq!(untold, ["untold"]);
}

/// The device, its grants, the requests and the code.
async fn keeps_its_devices(store: &Store) -> Result<(), StoreError> {
    let rows = store.devices().await?;
    let [device] = rows.devices.as_slice() else { panic!("{:?}", rows.devices) };
    let told = (device.device_id.as_str(), device.described.display_name.as_deref(), device.address.as_deref());
    assert_eq!((told, device.approved_at), (("aa11", Some("Phone"), Some("203.0.113.7")), NOW + 1000));
    let grants: Vec<_> = device.grants.iter().map(|grant| (grant.role, grant.digest, grant.revoked_at, grant.last_used_at)).collect();
    assert_eq!(grants, [("operator", Some([0; 32]), None, Some(NOW + 60_000)), ("node", None, Some(NOW + 3000), None)]);
    assert_eq!(device.grants[0].scopes, ScopeSet::of(&[Scope::Read, Scope::Write]));
    let requests: Vec<_> = rows.requests.iter().map(|request| (request.request_id.as_str(), request.state, request.resolved_at)).collect();
    assert_eq!(requests, [("req-1", RequestState::Pending, None), ("req-2", RequestState::Rejected, Some(NOW + 5))]);
    assert_eq!(rows.codes.iter().map(|code| (code.digest, code.device_id.as_deref())).collect::<Vec<_>>(), [([0; 32], Some("aa11"))]);
    Ok(())
}

/// The approvals, newest first.
async fn keeps_its_approvals(store: &Store) -> Result<(), StoreError> {
    let all = store.approvals(ApprovalFilter::default()).await?;
    let told: Vec<_> = all.iter().map(|record| (record.state, record.revision, record.file_id.as_deref())).collect();
    let waits = Some("019a0000000070008000000000000005");
    assert_eq!(told, [(ApprovalState::Denied, 2, None), (ApprovalState::Pending, 1, waits)]);
    let open = store.approvals(ApprovalFilter { open: true, ..ApprovalFilter::default() }).await?;
    assert_eq!(open.iter().map(|record| record.body.prompt.as_str()).collect::<Vec<_>>(), ["sleep 9"]);
    Ok(())
}

#[tokio::test]
async fn a_file_of_schema_version_4_opens_with_its_devices_and_without_approvals() {
    let (_dir, path) = place();
    let store = opened(4, &path);
    keeps_what_is_done(&store).await.unwrap();
    keeps_its_devices(&store).await.unwrap();
    assert_eq!(store.approvals(ApprovalFilter::default()).await.unwrap(), []);
    assert_eq!(store.lockouts().await.unwrap(), []);
}

#[tokio::test]
async fn a_file_of_schema_version_5_opens_with_its_approvals() {
    let (_dir, path) = place();
    let store = opened(5, &path);
    keeps_its_devices(&store).await.unwrap();
    keeps_its_approvals(&store).await.unwrap();
    assert_eq!(store.lockouts().await.unwrap(), []);
}

#[tokio::test]
async fn a_file_of_schema_version_6_opens_with_who_is_locked_out() {
    let (_dir, path) = place();
    let store = opened(6, &path);
    keeps_what_is_done(&store).await.unwrap();
    keeps_its_devices(&store).await.unwrap();
    keeps_its_approvals(&store).await.unwrap();
    let locked = store.lockouts().await.unwrap();
    let told: Vec<_> = locked.iter().map(|row| (row.address.as_str(), row.left_ms, row.locks, row.at)).collect();
    assert_eq!(told, [("203.0.113.9", 120_000, 3, NOW)]);
}

#[tokio::test]
async fn what_forgotten_runs_have_used_is_in_the_sums_of_version_7_and_none_is_made_up_before() {
    for (version, tokens) in [(6, 0), (7, 110), (8, 110)] {
        let (_dir, path) = place();
        let store = opened(version, &path);
        let filter = super::usage::UsageFilter { from: 1_795_132_800_000, to: 1_795_132_900_001, session: None, by_session: false };
        assert_eq!(store.usage(filter).await.unwrap()[0].tokens.total(), tokens, "version {version}");
    }
}
