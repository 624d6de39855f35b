//! Files that lie and disks that refuse: torn journals, a damaged database, a write that fails, no space. What was accepted stays true, what cannot be promised is not promised, and the texts say what to do.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon_life::can_mount;
use crate::harness::{Client, Gateway, kill_9};
use crate::nginx::skip;
use crate::shim::until;

/// Starts a run that prints and goes on, then kills the daemon and the run's shim, so that its journal has no end.
async fn lost_run(gateway: &mut Gateway) -> std::path::PathBuf {
    let mut client = Client::connect(gateway).await;
    let script = "echo run >> ran; for n in 1 2 3 4 5 6; do echo $n; sleep 0.02; done; echo ready; sleep 1000";
    client.agent(json!({"message": script, "idempotencyKey": "lost"})).await;
    client.until("it is far", |client| client.runs.get("lost").is_some_and(|run| run.text().ends_with("ready\n"))).await;
    let shims = gateway.shims();
    gateway.kill();
    kill_9(shims[0].1);
    until("the shim is gone", || gateway.shims().is_empty()).await;
    gateway.journal("lost").path
}

#[tokio::test]
async fn m85_a_torn_journal_is_mended_and_its_run_is_interrupted_and_never_run_again() {
    type Damage = fn(&mut Vec<u8>);
    let damages: &[(&str, Damage)] = &[
        ("half a line", |bytes| bytes.extend(b"{\"runId\":\"lost\",\"seq\":")),
        ("zeros", |bytes| bytes.extend([0; 4096])),
        ("cut in a line", |bytes| bytes.truncate(bytes.len() - 7)),
        ("cut to half a first line", |bytes| bytes.truncate(20)),
        ("a block twice", |bytes| {
            let copy = bytes[bytes.len() / 2..].to_vec();
            bytes.extend(copy);
        }),
        ("a damaged first line", |bytes| bytes[0] = b'x'),
        ("a damaged middle", |bytes| {
            let at = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            bytes[at] = b'x';
        }),
    ];
    for (what, damage) in damages {
        let mut gateway = Gateway::start();
        let path = lost_run(&mut gateway).await;
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        gateway.launch();
        let mut client = Client::connect(&gateway).await;
        let starts_again = *what == "cut to half a first line";
        // What is lost has ended before anybody can connect. The other wait is to end by itself, and before the client takes the silence of the run for a fault.
        let wait = if starts_again { 5000 } else { 30_000 };
        let waited = client.ok("agent.wait", json!({"runId": "lost", "timeoutMs": wait})).await;
        if starts_again {
            // The command only starts behind a whole first line; so it may run, as far as the journal knows.
            assert_eq!(waited["status"], "timeout", "{what}: {waited}");
            client.ok("runs.abort", json!({"runId": "lost"})).await;
            continue;
        }
        assert_eq!((waited["status"].as_str(), waited["outcome"]["mayHaveRun"].as_bool()), (Some("interrupted"), Some(true)), "{what}");
        client.subscribe("lost", 0).await;
        let end = client.until_end("lost").await;
        assert_eq!((&end["seq"], client.runs["lost"].events.len() as u64), (&waited["head"], waited["head"].as_u64().unwrap()));
        gateway.journal("lost").assert_whole();
        assert_eq!(std::fs::read_to_string(gateway.state_dir().join("work/ran")).unwrap(), "run\n", "{what}: executed once");
        let again = client.call("agent", json!({"message": "other", "idempotencyKey": "lost"})).await;
        assert_eq!(again["error"]["code"], "IDEMPOTENCY_CONFLICT");
    }
}

#[tokio::test]
async fn m85_a_tail_behind_the_end_of_a_finished_run_is_never_shown() {
    let mut gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({"message": "echo x; exit 3", "idempotencyKey": "r"})).await;
    let last = client.response(&id).await;
    let path = gateway.journal("r").path;
    for tail in [&b"{\"runId\":\"r\",\"seq\":99}\n"[..], &[0; 4096], b"half"] {
        gateway.kill();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(tail).unwrap();
        gateway.launch();
        let mut client = Client::connect(&gateway).await;
        client.subscribe("r", 0).await;
        client.until_end("r").await;
        client.ok("health", json!({})).await;
        assert_eq!(client.runs["r"].events.len() as u64, last["payload"]["head"].as_u64().unwrap());
        assert_eq!(client.ok("agent.wait", json!({"runId": "r"})).await["outcome"], last["payload"]["result"]);
    }
}

#[tokio::test]
async fn m86_a_damaged_line_of_an_old_journal_is_noticed_and_what_stands_before_it_is_given() {
    let gateway = Gateway::start();
    let mut client = Client::connect(&gateway).await;
    let (id, _) = client.agent(json!({"message": "for n in 1 2 3 4 5; do echo $n; sleep 0.03; done", "idempotencyKey": "r"})).await;
    client.response(&id).await;
    let path = gateway.journal("r").path;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"seq\":4", "\"seq\":5", 1)).unwrap();
    let mut reader = Client::connect(&gateway).await;
    reader.request("runs.subscribe", json!({"runId": "r", "after": 0})).await;
    reader.runs.entry("r".to_owned()).or_default().subscribe(0);
    reader.until("what is before the damage", |client| client.runs["r"].last == 3).await;
    until("it is noticed", || gateway.log().contains("line 4 of the journal is damaged")).await;
    assert_eq!(client.script("echo others are well").await["payload"]["status"], "ok");
}

#[test]
fn m86_a_damaged_database_is_refused_with_a_text_and_left_as_it_is() {
    let mut gateway = Gateway::start();
    assert!(gateway.stop().success());
    let path = gateway.state_dir().join("state.db");
    let whole = std::fs::read(&path).unwrap();
    let mut page = whole.clone();
    page[..100].fill(0xa5);
    for damaged in [page, b"this is no database".repeat(100)] {
        std::fs::write(&path, &damaged).unwrap();
        let status = gateway.try_launch().expect_err("it must not start");
        let log = gateway.log();
        assert_eq!(status.code(), Some(70), "{log}");
        assert!(log.contains(path.to_str().unwrap()) && log.contains("move it"), "{log}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "a file that cannot be read is not written");
    }
    std::fs::write(&path, whole).unwrap();
    gateway.launch();
}

/// Asks for runs until one is refused or the connection ends; gives the keys of the accepted ones and the refusal.
async fn ask_until_refused(client: &mut Client, bytes: usize) -> (Vec<String>, Option<Value>) {
    let message = format!("echo run >> ran-$SKYKOI_RUN; exit 0\n#{}", "x".repeat(bytes));
    let mut accepted = Vec::new();
    for n in 0..5000 {
        let key = format!("k{n}");
        let id = client.request("agent", json!({"message": message, "idempotencyKey": key, "sessionKey": key})).await;
        loop {
            let Ok(frame) = client.frame().await else { return (accepted, None) };
            if frame["id"] != id.as_str() {
                continue;
            }
            if frame["ok"] == false {
                return (accepted, Some(frame));
            }
            accepted.push(key);
            break;
        }
    }
    panic!("the limit was never met");
}

#[tokio::test]
async fn m87_a_write_that_fails_ends_the_daemon_with_70_and_nothing_that_was_accepted_is_lost() {
    let mut gateway = Gateway::prepared(&json!({"logging": {"level": "error"}}));
    // A limit on file sizes is a disk that refuses: with the signal ignored, the write itself fails.
    gateway.wrapper(&["bash", "-c", "trap '' XFSZ; ulimit -f 2000; exec \"$@\"", "bash"]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    let (accepted, refusal) = ask_until_refused(&mut client, 30_000).await;
    if let Some(refusal) = refusal {
        let code = refusal["error"]["details"]["code"].as_str().unwrap();
        assert!(["STORE_UNAVAILABLE", "STOPPING"].contains(&code), "{refusal}");
    }
    assert_eq!(gateway.wait().code(), Some(70), "{}", gateway.log());
    assert!(gateway.log().contains("the store has failed"), "{}", gateway.log());
    assert!(accepted.len() >= 5, "{}", accepted.len());
    gateway.wrapper(&[]);
    gateway.launch();
    let mut client = Client::connect(&gateway).await;
    for key in &accepted {
        let waited = client.ok("agent.wait", json!({"runId": key})).await;
        assert!(["ok", "interrupted", "error"].contains(&waited["status"].as_str().unwrap()), "{key}: {waited}");
    }
    for entry in std::fs::read_dir(gateway.state_dir().join("work")).unwrap() {
        assert_eq!(std::fs::read_to_string(entry.unwrap().path()).unwrap(), "run\n", "executed once");
    }
}

#[tokio::test]
async fn m88_a_full_disk_refuses_new_work_keeps_what_was_accepted_and_heals() {
    if !can_mount() {
        return skip("no mounts of one's own are permitted here");
    }
    let mut gateway = Gateway::prepared(&json!({"agents": {"defaults": {"workspace": "/tmp"}}}));
    let state = gateway.state_dir().join("state");
    std::fs::create_dir(&state).unwrap();
    gateway.env("SKYKOI_CONFIG_PATH", gateway.config_path().to_str().unwrap());
    gateway.env("SKYKOI_STATE_DIR", state.to_str().unwrap());
    let mount = format!("mount -t tmpfs -o size=8m,mode=700 none '{}' && exec \"$@\"", state.display());
    gateway.wrapper(&["unshare", "-rm", "bash", "-c", &mount, "bash"]);
    gateway.launch();
    // The mount is seen only from inside; so is what fills it.
    let ballast = format!("/proc/{}/root{}/ballast", gateway.pid(), state.display());
    let mut client = Client::connect(&gateway).await;
    let go = gateway.state_dir().join("go");
    let message = format!("echo before; while [ ! -e {} ]; do sleep 0.02; done; exit 3", go.display());
    let (id, _) = client.agent(json!({"message": message, "idempotencyKey": "early"})).await;
    client.until("it runs", |client| client.runs.get("early").is_some_and(|run| run.last >= 3)).await;
    fill(&ballast);
    let refusal = loop {
        let (_, refusal) = ask_until_refused(&mut client, 200_000).await;
        let refusal = refusal.expect("a full disk is no reason to end");
        if refusal["error"]["details"]["code"] == "STORE_UNAVAILABLE" {
            break refusal;
        }
    };
    assert_eq!((refusal["error"]["code"].as_str(), refusal["error"]["retryable"].as_bool()), (Some("UNAVAILABLE"), Some(true)));
    assert!(client.ok("runs.list", json!({})).await["runs"].as_array().unwrap().iter().any(|row| row["runId"] == "early"), "reads work");
    std::fs::write(&go, "").unwrap();
    let last = client.response(&id).await;
    assert_eq!(last["payload"]["exitCode"], 3, "the end of a run at work has its room: {last}");
    let again = client.ok("agent.wait", json!({"runId": "early", "timeoutMs": 1000})).await;
    assert_eq!(again["outcome"], last["payload"]["result"], "known though its commit found no space");
    std::fs::remove_file(&ballast).unwrap();
    let healed = async { while !one_more(&mut client).await {} };
    tokio::time::timeout(Duration::from_secs(60), healed).await.expect("it accepts again once there is space");
    until("the outcome is committed", || gateway.log().contains("committed at last") || !gateway.log().contains("could not be committed"))
        .await;
    let row = client.ok("runs.list", json!({"status": "error"})).await;
    assert!(row["runs"].as_array().unwrap().iter().any(|row| row["runId"] == "early"), "{row}");
}

/// Asks for one more run; whether it was accepted, and then it must end well.
async fn one_more(client: &mut Client) -> bool {
    let id = client.request("agent", json!({"message": "echo after"})).await;
    let accepted = client.response(&id).await["ok"] == true;
    if accepted {
        let last = client.response(&id).await;
        assert_eq!(last["payload"]["status"], "ok", "{last}");
    }
    accepted
}

/// Writes until there is no space.
fn fill(path: &str) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}
