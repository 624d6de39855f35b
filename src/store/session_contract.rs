//! What every user of the store may rely on about sessions, tried on the real backend.

use tokio_util::sync::CancellationToken;

use super::Store;
use super::StoreError;
use super::contract::{NOW, new_run, place};
use super::record::{Accepted, NewRun};
use super::sessions::{Edited, Import, Looks, SessionCursor, SessionEdit, SessionFilter, SessionPage, SessionRecord};
use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::run::{Outcome, RunStatus};
use crate::protocol::session::entry::SessionEntry;
use crate::tasks::Tasks;

fn record(key: &str, at: u64) -> SessionRecord {
    let agent = AgentId::from(key.split(':').nth(1).unwrap_or("main"));
    SessionRecord::new(SessionKey::from(key), agent, SessionEntry::begun(format!("id-of-{key}"), at))
}

fn put(row: SessionRecord) -> SessionEdit {
    SessionEdit::new(move |_| Ok(Edited::Put(Box::new(row.clone()))))
}

async fn keep(store: &Store, row: SessionRecord) {
    store.edit_session(&row.key.clone(), put(row)).await.unwrap();
}

fn keys(page: &SessionPage) -> Vec<&str> {
    page.rows.iter().map(|row| row.session.key.as_str()).collect()
}

#[tokio::test]
async fn a_run_makes_its_session_and_leaves_one_that_is_there_alone() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let accept = async |run: NewRun| assert!(matches!(store.accept_run(run).await.unwrap(), Accepted::New(_)));
    accept(new_run("a")).await;
    accept(NewRun { accepted_at: NOW + 9, ..new_run("b") }).await;
    let page = store.sessions(SessionFilter::default()).await.unwrap();
    assert_eq!(keys(&page), ["agent:main:main"]);
    let row = &page.rows[0];
    assert_eq!((row.session.created_at, row.session.entry.updated_at, row.run_count), (NOW, NOW, 2));
    assert_eq!(row.last_run.as_ref().map(|run| (&run.run_id, run.status)), Some((&RunId::from("b"), RunStatus::Accepted)));
    let end = Outcome { started_at: None, ..Outcome::without_work(RunStatus::Ok, None, "done", NOW + 50) };
    store.finish_run("file-b", end, 1).await.unwrap();
    let row = store.sessions(SessionFilter::default()).await.unwrap().rows.remove(0);
    assert_eq!(
        (row.session.entry.updated_at, row.last_run.unwrap().status),
        (NOW, RunStatus::Ok),
        "the end of a run is no activity by itself"
    );
}

#[tokio::test]
async fn every_field_survives_a_rewrite_and_a_reopening() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let mut row = record("agent:main:x", NOW);
    row.entry.model_override = Some("m".to_owned());
    row.entry.queue_cap = Some(7);
    row.entry.origin = Some(serde_json::json!({"provider": "webchat"}));
    row.extra = Some(r#"{"skillsSnapshot":{"a":1},"unheardOf":[1]}"#.to_owned());
    (row.title, row.preview) = (Some("t".to_owned()), Some("p".to_owned()));
    keep(&store, row.clone()).await;
    let touch = SessionEdit::new(|row| {
        let mut row = row.unwrap().clone();
        row.entry.updated_at += 5;
        Ok(Edited::Put(Box::new(row)))
    });
    store.note_session(&row.key, touch);
    store.ping().await.unwrap();
    store.close().await.unwrap();
    row.entry.updated_at += 5;
    let store = Store::open(&path).unwrap();
    assert_eq!(store.session(&row.key).await.unwrap(), Some(row));
    assert_eq!(store.session(&SessionKey::from("agent:main:y")).await.unwrap(), None);
}

#[tokio::test]
async fn changes_of_one_session_never_lose_each_other() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let key = SessionKey::from("agent:main:x");
    keep(&store, record(key.as_str(), NOW)).await;
    let more = || {
        SessionEdit::new(|row| {
            let mut row = row.unwrap().clone();
            row.entry.input_tokens = Some(row.entry.input_tokens.unwrap_or(0) + 1);
            Ok(Edited::Put(Box::new(row)))
        })
    };
    let tasks = crate::tasks::Tasks::new();
    let (done, mut all) = tokio::sync::mpsc::channel(64);
    for _ in 0..64 {
        let (store, key, done) = (store.clone(), key.clone(), done.clone());
        tasks.spawn("edit", async move { done.send(store.edit_session(&key, more()).await.is_ok()).await.unwrap() });
    }
    drop(done);
    while let Some(done) = all.recv().await {
        assert!(done);
    }
    assert_eq!(store.session(&key).await.unwrap().unwrap().entry.input_tokens, Some(64));
}

#[tokio::test]
async fn a_refused_change_changes_nothing_and_says_why() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let named = |key: &str| {
        let mut row = record(key, NOW);
        row.entry.label = Some("mine".to_owned());
        row
    };
    keep(&store, named("agent:main:x")).await;
    keep(&store, named("agent:main:x")).await;
    let other = store.edit_session(&SessionKey::from("agent:main:y"), put(named("agent:main:y"))).await;
    assert_eq!(other, Err(StoreError::Refused("label already in use: mine".to_owned())));
    let refused = SessionEdit::new(|_| Err("no".to_owned()));
    assert_eq!(store.edit_session(&SessionKey::from("agent:main:x"), refused).await, Err(StoreError::Refused("no".to_owned())));
    assert_eq!(keys(&store.sessions(SessionFilter::default()).await.unwrap()), ["agent:main:x"]);
    let gone = SessionEdit::new(|_| Ok(Edited::Gone));
    let change = store.edit_session(&SessionKey::from("agent:main:x"), gone).await.unwrap();
    assert!(change.before.is_some() && change.after.is_none());
    keep(&store, named("agent:main:y")).await;
}

#[tokio::test]
async fn filters_let_through_what_they_say() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    for (n, key) in ["agent:work:100%_x", "agent:main:main", "global", "unknown", "agent:main:cron:j:run:1", "agent:main:x:group:1"]
        .into_iter()
        .enumerate()
    {
        let mut row = record(key, NOW + n as u64);
        row.entry.label = Some(format!("Label{n}"));
        row.entry.spawned_by = (n == 1).then(|| "agent:main:boss".to_owned());
        row.entry.subject = (n == 5).then(|| "Größe".to_owned());
        keep(&store, row).await;
    }
    let of = async |filter: SessionFilter| {
        let page = store.sessions(filter.clone()).await.unwrap();
        assert_eq!((store.count_sessions(filter).await.unwrap(), page.rows.len()), (page.total as u64, page.total));
        keys(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = SessionFilter::default;
    assert_eq!(of(all()).await, ["agent:main:x:group:1", "agent:main:main", "agent:work:100%_x"]);
    assert_eq!(of(SessionFilter { global: true, unknown: true, ..all() }).await.len(), 5, "runs of jobs are left out");
    let search = async |text: &str| of(SessionFilter { search: Some(text.to_owned()), ..all() }).await.len();
    assert_eq!((search("WORK").await, search("100%_").await, search("%").await, search("zzz").await), (1, 1, 1, 0));
    assert_eq!((search("LABEL1").await, search("GRÖSSE").await, search("größe").await, search("ID-OF").await), (1, 0, 1, 3));
    assert_eq!(of(SessionFilter { label: Some("Label1".to_owned()), ..all() }).await, ["agent:main:main"]);
    assert_eq!(of(SessionFilter { spawned_by: Some("agent:main:boss".to_owned()), ..all() }).await, ["agent:main:main"]);
    assert_eq!(of(SessionFilter { session_id: Some("id-of-agent:main:main".to_owned()), ..all() }).await, ["agent:main:main"]);
    assert_eq!(of(SessionFilter { agents: vec![AgentId::from("work"), AgentId::from("no")], ..all() }).await, ["agent:work:100%_x"]);
    assert_eq!(of(SessionFilter { active_since: Some(NOW + 5), ..all() }).await, ["agent:main:x:group:1"]);
    assert_eq!(of(SessionFilter { idle_since: Some(NOW + 1), ..all() }).await, ["agent:main:main", "agent:work:100%_x"]);
    assert_eq!(of(SessionFilter { spawned: true, ..all() }).await, ["agent:main:main"]);
    assert!(of(SessionFilter { spawned: true, idle_since: Some(NOW), ..all() }).await.is_empty());
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip_while_sessions_are_used() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    // Five of them at one and the same time.
    for n in 0..9_u64 {
        keep(&store, record(&format!("agent:main:s{n}"), NOW + n.min(4))).await;
    }
    let page = async |after, offset| store.sessions(SessionFilter { limit: 4, after, offset, ..SessionFilter::default() }).await.unwrap();
    let first = page(None, 0).await;
    assert_eq!(
        (keys(&first), first.total, first.skipped),
        (vec!["agent:main:s8", "agent:main:s7", "agent:main:s6", "agent:main:s5"], 9, 0)
    );
    // One that was seen is used again, which moves it before the first page.
    keep(&store, record("agent:main:s6", NOW + 99)).await;
    let cursor = first.next.unwrap();
    assert_eq!(SessionCursor::parse(&cursor.text()), Some(cursor));
    let second = page(Some(cursor), 0).await;
    assert_eq!(keys(&second), ["agent:main:s4", "agent:main:s3", "agent:main:s2", "agent:main:s1"]);
    let third = page(second.next, 0).await;
    assert_eq!((keys(&third), third.next, third.total), (vec!["agent:main:s0"], None, 9));
    assert_eq!(keys(&page(None, 8).await), ["agent:main:s0"]);
    assert!(page(None, usize::MAX).await.rows.is_empty());
    assert_eq!(SessionCursor::parse("x"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_whole_while_sessions_come_and_go() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let keys: Vec<String> = (0..40).map(|n| format!("agent:main:s{n}")).collect();
    let (changed, done) = (store.clone(), CancellationToken::new());
    let ended = done.clone();
    let changes = Tasks::new();
    changes.spawn("changes", async move {
        while !ended.is_cancelled() {
            // Each of them is a sync of the disk, so what is left is not waited for.
            for key in keys.iter().take_while(|_| !ended.is_cancelled()) {
                keep(&changed, record(key, NOW)).await;
            }
            for key in keys.iter().take_while(|_| !ended.is_cancelled()) {
                changed.edit_session(&SessionKey::from(key.as_str()), SessionEdit::new(|_| Ok(Edited::Gone))).await.unwrap();
            }
        }
    });
    for _ in 0..300 {
        let page = store.sessions(SessionFilter::default()).await.unwrap();
        assert_eq!(page.rows.len(), page.total);
    }
    done.cancel();
    assert!(changes.drain(std::time::Duration::from_secs(30)).await);
}

#[tokio::test]
async fn an_import_takes_what_is_newer_once_and_tells_labels_apart() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let labelled = |key: &str, at| {
        let mut row = record(key, at);
        row.entry.label = Some("same".to_owned());
        row
    };
    keep(&store, labelled("agent:main:here", NOW)).await;
    let rows = vec![record("agent:main:here", NOW - 1), labelled("agent:main:new", NOW), record("agent:main:new2", NOW)];
    assert!(!store.was_imported("/x/sessions.json").await.unwrap());
    let import = Import { source: "/x/sessions.json".to_owned(), now: NOW, rows };
    assert_eq!(store.import_sessions(import.clone()).await.unwrap(), 2);
    assert_eq!(store.import_sessions(import).await.unwrap(), 0);
    assert!(store.was_imported("/x/sessions.json").await.unwrap());
    let here = store.session(&SessionKey::from("agent:main:here")).await.unwrap().unwrap();
    let new = store.session(&SessionKey::from("agent:main:new")).await.unwrap().unwrap();
    assert_eq!((here.entry.label.as_deref(), new.entry.label, new.entry.display_name.as_deref()), (Some("same"), None, Some("same")));
}

#[tokio::test]
async fn looks_of_another_conversation_are_left_out() {
    let (_dir, path) = place();
    let store = Store::open(&path).unwrap();
    let row = record("agent:main:x", NOW);
    keep(&store, row.clone()).await;
    let looks = Looks { key: row.key.clone(), session_id: "other".to_owned(), title: "no".to_owned(), preview: "no".to_owned() };
    store.note_looks(looks.clone());
    store.note_looks(Looks { session_id: row.entry.session_id.clone(), title: "yes".to_owned(), ..looks });
    store.ping().await.unwrap();
    assert_eq!(store.session(&row.key).await.unwrap().unwrap().title.as_deref(), Some("yes"));
}
