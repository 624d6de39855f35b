//! The same request again, waiting for outcomes, turns and lists.

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};
use crate::shim::{PATIENCE, until};

/// A script that adds a line to `ran` in the workspace each time it is executed.
const NOTED: &str = "echo run >> ran; echo out; exit 2";

fn executions(gateway: &Gateway) -> usize {
    std::fs::read_to_string(gateway.state_dir().join("work/ran")).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn m103_sixty_four_equal_requests_at_once_are_one_run() {
    let gateway = Gateway::start();
    let params = json!({"message": format!("sleep 0.3; {NOTED}"), "idempotencyKey": "k"});
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(&gateway).await);
    }
    let mut asked = Vec::new();
    for client in &mut clients {
        let mut ids = Vec::new();
        for _ in 0..8 {
            ids.push(client.request("agent", params.clone()).await);
        }
        asked.push(ids);
    }
    let mut finals: Vec<Value> = Vec::new();
    let mut accepted = 0;
    for (client, ids) in clients.iter_mut().zip(asked) {
        for id in ids {
            let mut res = client.response(&id).await;
            assert_eq!((&res["ok"], &res["payload"]["runId"]), (&json!(true), &json!("k")), "{res}");
            if res["payload"]["result"].is_null() {
                accepted += usize::from(res["payload"]["status"] == "accepted");
                res = client.response(&id).await;
            }
            finals.push(res["payload"].clone());
        }
    }
    assert_eq!(accepted, 1, "one is accepted, the others are told that it is in flight");
    assert!(finals.iter().all(|last| *last == finals[0] && last["exitCode"] == 2), "{finals:?}");
    assert_eq!((finals.len(), executions(&gateway)), (64, 1));
    assert_eq!(clients[0].ok("runs.list", json!({})).await["runs"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn m103_a_key_gives_the_same_final_after_the_end_and_after_a_restart_and_refuses_another_body() {
    let mut gateway = Gateway::start();
    let params = json!({"message": NOTED, "idempotencyKey": "k"});
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(params.clone()).await;
    let last = client.response(&id).await;
    let again = client.call("agent", params.clone()).await;
    assert_eq!(again["payload"], last["payload"], "at once, and as the first answer");
    for kill in [true, false] {
        if kill {
            gateway.kill_and_restart();
        } else {
            assert!(gateway.stop().success());
            gateway.launch();
        }
        client = Client::connect(&gateway).await;
        assert_eq!(client.call("agent", params.clone()).await["payload"], last["payload"]);
        for other in
            [json!({"message": "echo other"}), json!({"message": NOTED, "timeout": 9}), json!({"message": NOTED, "sessionKey": "x"})]
        {
            let mut body = other.clone();
            body["idempotencyKey"] = json!("k");
            let refused = client.err("agent", body).await;
            assert_eq!(
                (refused["code"].as_str(), refused["details"]["code"].as_str()),
                (Some("IDEMPOTENCY_CONFLICT"), Some("IDEMPOTENCY_CONFLICT"))
            );
        }
    }
    assert_eq!(executions(&gateway), 1);
}

#[tokio::test]
async fn m103_another_principal_with_the_same_key_gets_a_run_of_its_own() {
    let gateway = Gateway::start();
    let mut web = Client::connect(&gateway).await;
    let mut local = Client::local(&gateway).await;
    let params = json!({"message": NOTED, "idempotencyKey": "k"});
    let (one, first) = web.agent(params.clone()).await;
    let (two, second) = local.agent(params.clone()).await;
    assert_eq!(first["runId"], "k");
    assert_ne!(second["runId"], "k", "an id names one run only");
    assert_eq!(web.response(&one).await["payload"]["exitCode"], 2);
    assert_eq!(local.response(&two).await["payload"]["exitCode"], 2);
    assert_eq!(executions(&gateway), 2);
    assert_eq!(local.call("agent", params).await["payload"]["runId"], second["runId"]);
}

#[tokio::test]
async fn m104_a_wait_begun_before_the_run_exists_is_answered_by_its_end() {
    let gateway = Gateway::start();
    let mut waiter = Client::connect(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    let id = waiter.request("agent.wait", json!({"runId": "later", "timeoutMs": 20_000})).await;
    // An answer behind it shows that the wait is at work.
    waiter.ok("health", json!({})).await;
    let (_, _) = client.agent(json!({"message": "exit 6", "idempotencyKey": "later"})).await;
    let waited = waiter.response(&id).await;
    assert_eq!((waited["payload"]["status"].as_str(), waited["payload"]["outcome"]["exitCode"].as_i64()), (Some("error"), Some(6)));
    for (timeout, run) in [(0, "nobody"), (30, "nobody")] {
        let waited = waiter.ok("agent.wait", json!({"runId": run, "timeoutMs": timeout})).await;
        assert_eq!(waited, json!({"runId": run, "status": "timeout"}));
    }
}

#[tokio::test]
async fn m104_waiters_on_many_connections_all_hear_the_same_and_leave_nothing_behind() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({"message": "while [ ! -e go ]; do sleep 0.01; done; exit 8", "idempotencyKey": "r"})).await;
    let timed_out = client.ok("agent.wait", json!({"runId": "r", "timeoutMs": 20})).await;
    assert_eq!(timed_out["status"], "timeout", "the wait ended, not the run");
    let mut waiters = Vec::new();
    for _ in 0..12 {
        let mut waiter = Client::connect(&gateway).await;
        let mut ids = Vec::new();
        for _ in 0..25 {
            ids.push(waiter.request("agent.wait", json!({"runId": "r"})).await);
        }
        waiter.ok("health", json!({})).await;
        waiters.push((waiter, ids));
    }
    // Four of them leave; their places among the calls at work must come back, or the next 250 would find none.
    waiters.truncate(8);
    let leavers_are_gone = async { while client.ok("health", json!({})).await["connections"] != 9 {} };
    tokio::time::timeout(PATIENCE, leavers_are_gone).await.expect("the leavers are gone");
    for _ in 0..10 {
        let mut waiter = Client::connect(&gateway).await;
        let mut ids = Vec::new();
        for _ in 0..25 {
            ids.push(waiter.request("agent.wait", json!({"runId": "r"})).await);
        }
        waiters.push((waiter, ids));
    }
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    let last = client.response(&id).await;
    for (mut waiter, ids) in waiters {
        for id in ids {
            let waited = waiter.response(&id).await;
            assert_eq!(waited["payload"]["outcome"], last["payload"]["result"], "{waited}");
        }
    }
}

#[tokio::test]
async fn m104_a_wait_after_a_restart_gives_the_outcome_of_a_run_that_ended_in_between() {
    let mut gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    client.agent(json!({"message": "while [ ! -e go ]; do sleep 0.01; done; echo x; exit 9", "idempotencyKey": "r"})).await;
    client.until("it runs", |client| client.runs.get("r").is_some_and(|run| run.last >= 2)).await;
    gateway.kill();
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    until("it ends without a daemon", || gateway.journal("r").scan.outcome.is_some()).await;
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let waited = client.ok("agent.wait", json!({"runId": "r", "timeoutMs": 0})).await;
    assert_eq!((waited["status"].as_str(), waited["outcome"]["exitCode"].as_i64()), (Some("error"), Some(9)));
    client.subscribe("r", 0).await;
    let end = client.until_end("r").await;
    assert_eq!(end["seq"], waited["head"]);
}

#[tokio::test]
async fn runs_of_a_session_take_turns_in_order_and_of_all_sessions_only_so_many_run() {
    let gateway = Gateway::with(&json!({"agents": {"defaults": {"maxConcurrent": 2}}}));
    let mut client = Client::connect(&gateway).await;
    let wait = |n: u32| format!("echo begin {n} >> order; while [ ! -e go-{n} ]; do sleep 0.01; done; echo end {n} >> order");
    let mut ids = Vec::new();
    let order = || std::fs::read_to_string(gateway.state_dir().join("work/order")).unwrap_or_default();
    // 1 and 2 are one session, 3 and 4 others.
    for (n, session) in [(1, "a"), (2, "a"), (3, "b"), (4, "c")] {
        ids.push(client.agent(json!({"message": wait(n), "idempotencyKey": format!("r{n}"), "sessionKey": session})).await.0);
        if n % 2 == 1 {
            // Between sessions it is not the acknowledgement that counts but the place, which is given a moment later.
            until("it is at work", || order().contains(&format!("begin {n}"))).await;
        } else {
            while client.ok("runs.get", json!({"runId": format!("r{n}")})).await["status"] == "accepted" {}
        }
    }
    let rows = client.ok("runs.list", json!({})).await;
    let places: Vec<(&str, &str, Option<u64>)> = rows["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["runId"].as_str().unwrap(), row["status"].as_str().unwrap(), row["position"].as_u64()))
        .collect();
    assert_eq!(places, [("r4", "queued", Some(2)), ("r3", "running", None), ("r2", "queued", Some(1)), ("r1", "running", None)]);
    let health = client.ok("health", json!({})).await;
    assert!(health.to_string().contains("queued"), "{health}");
    let go = |n: u32| std::fs::write(gateway.state_dir().join(format!("work/go-{n}")), "").unwrap();
    // The place of 3 goes to 4, because 2 waits for 1.
    go(3);
    until("4 is at work", || order().contains("begin 4")).await;
    assert!(!order().contains("begin 2"));
    for n in [1, 2, 4] {
        go(n);
    }
    for id in ids {
        assert_eq!(client.response(&id).await["payload"]["status"], "ok");
    }
    let text = order();
    let at = |what: &str| text.find(what).unwrap();
    assert!(at("end 1") < at("begin 2"), "{text}");
}

#[tokio::test]
async fn the_list_comes_in_pages_newest_first_and_can_be_narrowed() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    for n in 0..7 {
        let (id, _) = client
            .agent(json!({"message": format!("exit {}", n % 2), "idempotencyKey": format!("r{n}"), "sessionKey": format!("s{}", n % 3)}))
            .await;
        client.response(&id).await;
    }
    let mut seen = Vec::new();
    let mut params = json!({"limit": 3});
    let mut pages = 0;
    loop {
        let page = client.ok("runs.list", params.clone()).await;
        pages += 1;
        seen.extend(page["runs"].as_array().unwrap().iter().map(|row| row["runId"].as_str().unwrap().to_owned()));
        if page["nextCursor"].is_null() {
            break;
        }
        params["cursor"] = page["nextCursor"].clone();
    }
    assert_eq!((seen.join(" "), pages), ("r6 r5 r4 r3 r2 r1 r0".to_owned(), 3));
    let ids =
        |page: &Value| page["runs"].as_array().unwrap().iter().map(|row| row["runId"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&client.ok("runs.list", json!({"status": "error"})).await), ["r5", "r3", "r1"]);
    assert_eq!(ids(&client.ok("runs.list", json!({"sessionKey": "s0", "status": "ok"})).await), ["r6", "r0"]);
    for bad in [json!({"cursor": "x"}), json!({"limit": 0}), json!({"limit": 201}), json!({"status": "odd"}), json!({"more": 1})] {
        assert_eq!(client.err("runs.list", bad).await["code"], "INVALID_REQUEST");
    }
    assert_eq!(client.err("runs.get", json!({"runId": "nobody"})).await["details"]["code"], "RUN_NOT_FOUND");
    let sessions = client.ok("sessions.list", json!({})).await;
    let counts: Vec<(&str, u64)> = sessions["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["key"].as_str().unwrap(), row["runCount"].as_u64().unwrap()))
        .collect();
    assert_eq!(counts, [("agent:main:s0", 3), ("agent:main:s2", 2), ("agent:main:s1", 2)]);
}
