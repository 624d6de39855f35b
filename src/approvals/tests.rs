//! The approvals over a real store.

use super::*;
use crate::protocol::approval::ApprovalRequest;
use crate::protocol::ids::RunId;
use crate::store::contract::place;

/// What is asked waits longer than any disk takes for what a test writes.
fn settings() -> Settings {
    Settings { timeout: Duration::from_secs(3600), needed: 1, wait_for_approver: false }
}

fn approvals(path: &std::path::Path) -> Approvals {
    over(Store::open(path).unwrap(), path)
}

fn over(store: Store, path: &std::path::Path) -> Approvals {
    let state_dir = path.parent().unwrap().to_owned();
    let audit = Audit::open(&state_dir.join("audit"), &state_dir.join("key"), "boot", crate::audit::Limits::default()).unwrap();
    Approvals::new(Parts { store, hub: Arc::new(Hub::default()), audit, tasks: Tasks::new(), state_dir }, settings())
}

fn question(run: &str) -> Question {
    Question {
        id: None,
        digest: [7; 32],
        subject: serde_json::json!({}),
        prompt: "ls".to_owned(),
        request: ApprovalRequest::default(),
        allowed: Decision::ALL.to_vec(),
        run: Some((run.to_owned(), RunId::from(run))),
        requester: party("token"),
        others: Vec::new(),
        timeout: None,
    }
}

fn party(principal: &str) -> Party {
    Party { principal: principal.to_owned(), conn_id: Some(format!("conn-{principal}")) }
}

#[tokio::test]
async fn nobody_is_asked_when_nobody_else_is_there_unless_that_is_waited_for() {
    let (_dir, path) = place();
    let approvals = approvals(&path);
    assert!(matches!(approvals.ask(question("a")).await, Err(AskError::NoApprover)));
    let own = approvals.join("conn-2", Arc::from("token"));
    assert!(matches!(approvals.ask(question("a")).await, Err(AskError::NoApprover)), "the same principal on another connection");
    let other = approvals.join("conn-3", Arc::from("local"));
    assert!(approvals.ask(question("a")).await.is_ok());
    drop((own, other));
    assert!(!approvals.reachable(&party("token"), &[]));
    approvals.retune(Settings { wait_for_approver: true, ..settings() });
    assert!(approvals.ask(question("b")).await.is_ok());
    assert_eq!((approvals.pending().len(), approvals.waiting_runs()), (2, 2));
}

#[tokio::test]
async fn a_decision_wakes_who_waits_and_is_used_once() {
    let (_dir, path) = place();
    let approvals = approvals(&path);
    let mut signals = approvals.inner.hub.signals();
    let _there = approvals.join("c", Arc::from("local"));
    let mut pending = approvals.ask(question("a")).await.unwrap();
    let id = pending.awaited.id.clone();
    assert_eq!(id.len(), 32);
    approvals.decide(&id, &party("local"), Decision::AllowOnce).await.unwrap();
    assert_eq!(pending.settled().await.state, ApprovalState::AllowedOnce);
    let refused = approvals.consume(&id, "b", &[7; 32]).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused(Refused::Mismatch)), "{refused}");
    approvals.consume(&id, "a", &[7; 32]).await.unwrap();
    assert!(matches!(approvals.consume(&id, "a", &[7; 32]).await, Err(Failure::Refused(Refused::Used))));
    assert!(matches!(approvals.find("0").await, Err(Failure::Unknown)));
    let mut told = Vec::new();
    while let Ok(crate::events::hub::Signal::Event(Some(crate::protocol::scope::Scope::Approvals), body)) = signals.try_recv() {
        told.push(String::from_utf8(body.to_vec()).unwrap());
    }
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("exec.approval.requested") && told[1].contains("exec.approval.resolved"), "{told:?}");
}

#[tokio::test]
async fn m71_a_restart_cancels_what_waits_and_what_was_allowed_and_not_used() {
    let (_dir, path) = place();
    let before = approvals(&path);
    let _there = before.join("c", Arc::from("local"));
    let waits = before.ask(question("a")).await.unwrap().awaited.id;
    let allowed = before.ask(question("b")).await.unwrap().awaited.id;
    before.decide(&allowed, &party("local"), Decision::AllowOnce).await.unwrap();
    before.inner.store.close().await.unwrap();
    let after = approvals(&path);
    assert_eq!(after.recover().await.unwrap(), 2);
    assert_eq!(after.recover().await.unwrap(), 0);
    for id in [&waits, &allowed] {
        let refused = after.decide(id, &party("local"), Decision::AllowOnce).await.unwrap_err();
        assert!(matches!(&refused, Failure::Refused(Refused::Cancelled(why)) if why == RESTART), "{refused}");
    }
    assert!(matches!(after.consume(&allowed, "b", &[7; 32]).await, Err(Failure::Refused(Refused::Cancelled(_)))));
    assert!(after.pending().is_empty() && after.awaiting(&waits).is_none());
    assert_eq!(after.of_run("a").await.unwrap().unwrap().id, waits);
}

#[tokio::test]
async fn m92_time_is_up_by_the_clock_that_nobody_sets() {
    let (_dir, path) = place();
    let approvals = approvals(&path);
    let _there = approvals.join("c", Arc::from("local"));
    let short = |run: &str| Question { timeout: Some(Duration::from_millis(20)), ..question(run) };
    let mut pending = approvals.ask(short("a")).await.unwrap();
    assert_eq!(pending.settled().await.state, ApprovalState::Expired);
    let id = pending.awaited.id;
    let late = approvals.decide(&id, &party("local"), Decision::AllowOnce).await.unwrap_err();
    assert!(matches!(late, Failure::Refused(Refused::Expired)), "{late}");
    assert_eq!(approvals.find(&id).await.unwrap().state, ApprovalState::Expired);
}

#[tokio::test]
async fn the_number_of_those_that_wait_is_bounded_and_an_id_is_taken_once() {
    let (_dir, path) = place();
    let approvals = approvals(&path);
    let _there = approvals.join("c", Arc::from("local"));
    for n in 0..MAX_PENDING {
        approvals.ask(Question { id: Some(format!("id-{n}")), ..question("a") }).await.unwrap();
    }
    assert!(matches!(approvals.ask(question("a")).await, Err(AskError::TooMany)));
    approvals.cancel("id-0", "aborted").await.unwrap();
    approvals.cancel("id-0", "aborted").await.unwrap();
    let again = loop {
        match approvals.ask(Question { id: Some("id-0".into()), ..question("a") }).await {
            // The task that forgets it has not run yet.
            Err(AskError::TooMany) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(matches!(again, Err(AskError::IdTaken)), "also one that is over");
}

#[tokio::test]
async fn m88_what_cannot_be_written_is_asked_of_nobody() {
    let (_dir, path) = place();
    let faults = crate::store::fault::Faults::new();
    let writer = crate::store::fault::Faulty::new(crate::store::sqlite::Sqlite::open(&path).unwrap(), faults.clone());
    let store = Store::with(Box::new(writer), Box::new(crate::store::sqlite::Sqlite::open_reader(&path).unwrap())).unwrap();
    let approvals = over(store, &path);
    let _there = approvals.join("c", Arc::from("local"));
    let mut signals = approvals.inner.hub.signals();
    faults.disk_full(true);
    assert!(matches!(approvals.ask(question("a")).await, Err(AskError::Store(StoreError::DiskFull))));
    assert!(approvals.pending().is_empty() && signals.try_recv().is_err());
    faults.disk_full(false);
    let mut pending = approvals.ask(Question { timeout: Some(Duration::from_millis(20)), ..question("b") }).await.unwrap();
    faults.disk_full(true);
    assert_eq!(pending.settled().await.state, ApprovalState::Expired, "a full disk lets nobody wait for ever");
}
