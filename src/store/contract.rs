//! What every user of the store may rely on, tried on the real backend.

use std::path::PathBuf;

use tempfile::TempDir;

use super::record::{Accepted, NewRun, RunFilter, RunRecord};
use super::{RETENTION_MS, Store, StoreError};
use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::run::{Outcome, RunStatus};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A time in November 2026.
pub const NOW: u64 = 1_795_132_800_000;

/// A directory for a database, gone at the end of the test.
pub fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    (dir, path)
}

/// A run named after `name`, with that as its key.
pub fn new_run(name: &str) -> NewRun {
    NewRun {
        file_id: format!("file-{name}"),
        run_id: RunId::from(name),
        principal: "token".to_owned(),
        method: "agent",
        key: Some(name.to_owned()),
        digest: [7; 32],
        session_key: SessionKey::from("agent:main:main"),
        agent_id: AgentId::from("main"),
        runner: "shell".to_owned(),
        title: format!("run {name}"),
        spec: r#"{"message":"true"}"#.to_owned(),
        accepted_at: NOW,
    }
}

fn ended(status: RunStatus, at: u64) -> Outcome {
    Outcome { started_at: Some(at - 5), ..Outcome::without_work(status, None, "done", at) }
}

async fn accept(store: &Store, run: NewRun) -> RunRecord {
    match store.accept_run(run).await.unwrap() {
        Accepted::New(record) => record,
        other => panic!("not new: {other:?}"),
    }
}

#[tokio::test]
async fn an_accepted_run_is_found_by_both_names_and_after_reopening() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let record = accept(&store, new_run("a")).await;
    assert_eq!((record.status, record.journal_month().as_str()), (RunStatus::Accepted, "2026-11"));
    store.close().await.unwrap();

    let store = Store::open(&path).unwrap();
    assert_eq!(store.run(&RunId::from("a")).await.unwrap(), Some(record.clone()));
    assert_eq!(store.run_by_file("file-a").await.unwrap(), Some(record.clone()));
    assert_eq!(store.unfinished().await.unwrap(), vec![record]);
    assert_eq!(store.run(&RunId::from("file-a")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn m103_of_64_concurrent_requests_with_one_key_one_is_new() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let calls = (0..64).map(|n| {
        let store = store.clone();
        let run = NewRun { file_id: format!("file-{n}"), ..new_run("k") };
        async move { store.accept_run(run).await.unwrap() }
    });
    let tasks = crate::tasks::Tasks::new();
    let (answers, mut answered) = tokio::sync::mpsc::channel(64);
    for call in calls {
        let answers = answers.clone();
        tasks.spawn("accept", async move { answers.send(call.await).await.unwrap() });
    }
    drop(answers);
    let (mut new, mut same) = (Vec::new(), Vec::new());
    while let Some(answer) = answered.recv().await {
        match answer {
            Accepted::New(record) => new.push(record.file_id),
            Accepted::Same(record) => same.push(record.file_id),
            Accepted::Conflict => panic!("no other parameters were sent"),
        }
    }
    assert_eq!((new.len(), same.len()), (1, 63));
    assert!(same.iter().all(|file_id| *file_id == new[0]));
    assert_eq!(store.unfinished().await.unwrap().len(), 1);
}

#[tokio::test]
async fn m103_the_same_key_again_gives_the_same_run_and_its_end_also_after_a_restart() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    accept(&store, new_run("k")).await;
    let end = ended(RunStatus::Ok, NOW + 10);
    assert!(store.finish_run("file-k", end.clone(), 4).await.unwrap());
    store.close().await.unwrap();

    let store = Store::open(&path).unwrap();
    let again = NewRun { file_id: "file-other".to_owned(), accepted_at: NOW + 20, ..new_run("k") };
    let Accepted::Same(record) = store.accept_run(again).await.unwrap() else { panic!("not the same") };
    assert_eq!((record.file_id.as_str(), record.status, record.outcome, record.head), ("file-k", RunStatus::Ok, Some(end), 4));
    assert_eq!(record.started_at, Some(NOW + 5));
}

#[tokio::test]
async fn m103_the_same_key_with_other_parameters_conflicts_and_changes_nothing() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    accept(&store, new_run("k")).await;
    let other = NewRun { digest: [8; 32], file_id: "file-2".to_owned(), ..new_run("k") };
    assert_eq!(store.accept_run(other).await.unwrap(), Accepted::Conflict);
    assert_eq!(store.runs(RunFilter::default()).await.unwrap().runs.len(), 1);
}

#[tokio::test]
async fn m103_the_same_key_of_another_principal_is_a_run_of_its_own_with_its_own_id() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let first = accept(&store, new_run("k")).await;
    let theirs = NewRun { principal: "device:x".to_owned(), file_id: "file-2".to_owned(), ..new_run("k") };
    let second = accept(&store, theirs.clone()).await;
    assert_eq!(first.run_id, RunId::from("k"));
    assert_ne!(second.run_id, first.run_id);
    let Accepted::Same(again) = store.accept_run(theirs).await.unwrap() else { panic!("not the same") };
    assert_eq!(again, second);
}

#[tokio::test]
async fn a_run_without_a_key_is_always_new() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    for n in 0..2 {
        accept(&store, NewRun { key: None, run_id: RunId::fresh(), file_id: format!("file-{n}"), ..new_run("k") }).await;
    }
    assert_eq!(store.unfinished().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_lives_until_24_hours_after_the_end_of_its_run() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    accept(&store, new_run("k")).await;
    let much_later = NOW + 100 * DAY_MS;
    let later = |at| NewRun { file_id: format!("file-{at}"), accepted_at: at, ..new_run("k") };
    assert_eq!(store.prune(much_later).await.unwrap().keys, 0);
    assert!(matches!(store.accept_run(later(much_later)).await.unwrap(), Accepted::Same(_)), "the key of an unfinished run");

    store.finish_run("file-k", ended(RunStatus::Ok, much_later), 1).await.unwrap();
    let last = much_later + DAY_MS - 1;
    assert!(matches!(store.accept_run(later(last)).await.unwrap(), Accepted::Same(_)), "one moment before");
    let second = accept(&store, later(last + 1)).await;
    assert_ne!(second.run_id, RunId::from("k"), "the old run still has that id");
}

#[tokio::test]
async fn pruning_forgets_old_keys_first_and_runs_only_when_told() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    for n in 0..70 {
        accept(&store, new_run(&n.to_string())).await;
        store.finish_run(&format!("file-{n}"), ended(RunStatus::Ok, NOW + n), 1).await.unwrap();
    }
    accept(&store, new_run("alive")).await;
    assert_eq!(store.prune(NOW + DAY_MS).await.unwrap().keys, 1);
    assert_eq!(store.prune(NOW + 2 * DAY_MS).await.unwrap().keys, 69);

    let at = NOW + RETENTION_MS + 1000;
    let pruned = store.prune(at).await.unwrap();
    assert_eq!((pruned.keys, pruned.expired.len()), (0, 64));
    assert_eq!((pruned.expired[0].file_id.as_str(), pruned.expired[0].journal_month.as_str()), ("file-0", "2026-11"));
    assert_eq!(store.prune(at).await.unwrap(), pruned, "nothing is gone before the files are");
    let mut files: Vec<_> = pruned.expired.into_iter().map(|run| run.file_id).collect();
    files.push("file-alive".to_owned());
    assert_eq!(store.forget_runs(files).await.unwrap(), 64);
    assert_eq!(store.prune(at).await.unwrap().expired.len(), 6);
    assert!(store.run_by_file("file-alive").await.unwrap().is_some());
}

#[tokio::test]
async fn the_first_end_stays() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    accept(&store, new_run("a")).await;
    assert!(store.finish_run("file-a", ended(RunStatus::Aborted, NOW + 9), 3).await.unwrap());
    assert!(!store.finish_run("file-a", ended(RunStatus::Ok, NOW + 10), 4).await.unwrap());
    store.set_status("file-a", RunStatus::Running, Some(NOW + 11)).await.unwrap();
    let record = store.run_by_file("file-a").await.unwrap().unwrap();
    assert_eq!((record.status, record.head, record.outcome.unwrap().ended_at), (RunStatus::Aborted, 3, NOW + 9));
    assert_eq!(store.finish_run("file-b", ended(RunStatus::Ok, NOW), 1).await, Err(StoreError::NotFound));
}

#[tokio::test]
async fn what_is_no_end_does_not_finish_and_an_end_is_no_status() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    accept(&store, new_run("a")).await;
    assert!(matches!(store.finish_run("file-a", ended(RunStatus::Running, NOW), 1).await, Err(StoreError::Refused(_))));
    assert!(matches!(store.set_status("file-a", RunStatus::Ok, None).await, Err(StoreError::Refused(_))));
    assert_eq!(store.run_by_file("file-a").await.unwrap().unwrap().status, RunStatus::Accepted);
}

#[tokio::test]
async fn notes_are_written_in_order_and_a_status_never_goes_back() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    accept(&store, new_run("a")).await;
    store.note_status("file-a", RunStatus::Running, Some(NOW + 1));
    store.note_status("file-a", RunStatus::Queued, None);
    store.note_status("file-a", RunStatus::Ok, None);
    store.set_status("file-a", RunStatus::Running, Some(NOW + 2)).await.unwrap();
    let record = store.run_by_file("file-a").await.unwrap().unwrap();
    assert_eq!((record.status, record.started_at), (RunStatus::Running, Some(NOW + 1)));
}

#[tokio::test]
async fn runs_are_paged_newest_first_without_holes_while_more_come() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    for n in 0..5 {
        accept(&store, new_run(&n.to_string())).await;
    }
    let page = store.runs(RunFilter { limit: 2, ..RunFilter::default() }).await.unwrap();
    accept(&store, new_run("late")).await;
    let next = store.runs(RunFilter { limit: 200, before: page.next, ..RunFilter::default() }).await.unwrap();
    let ids: Vec<_> = page.runs.iter().chain(&next.runs).map(|run| run.run_id.as_str().to_owned()).collect();
    assert_eq!(ids, ["4", "3", "2", "1", "0"]);
    assert_eq!(next.next, None);
    assert!(page.runs.iter().all(|run| run.spec.is_empty()));
}

#[tokio::test]
async fn runs_are_filtered_by_session_and_status() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    accept(&store, new_run("a")).await;
    accept(&store, NewRun { session_key: SessionKey::from("agent:main:other"), ..new_run("b") }).await;
    store.finish_run("file-a", ended(RunStatus::Error, NOW + 9), 1).await.unwrap();
    let of = |session: Option<&str>, status| RunFilter { session_key: session.map(SessionKey::from), status, ..RunFilter::default() };
    let ids = async |filter| store.runs(filter).await.unwrap().runs.into_iter().map(|run| run.run_id.0).collect::<Vec<_>>();
    assert_eq!(ids(of(Some("agent:main:other"), None)).await, ["b"]);
    assert_eq!(ids(of(None, Some(RunStatus::Error))).await, ["a"]);
    assert!(ids(of(Some("agent:main:other"), Some(RunStatus::Error))).await.is_empty());
    assert!(ids(of(Some("' OR 1=1 --"), None)).await.is_empty());
}

#[tokio::test]
async fn after_closing_every_call_says_so() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    accept(&store, new_run("a")).await;
    store.close().await.unwrap();
    assert_eq!(store.accept_run(new_run("b")).await, Err(StoreError::Closed));
    assert_eq!(store.unfinished().await, Err(StoreError::Closed));
    assert_eq!(store.ping().await, Err(StoreError::Closed));
    assert_eq!(store.close().await, Err(StoreError::Closed));
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["gateway.db"], "the log is part of the file now");
}
