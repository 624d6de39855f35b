//! Clients that come back: a thousand at once after a restart (M100), and followers of busy runs over one kill of the daemon after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skykoi_gateway::tasks::Tasks;
use tokio::sync::{Barrier, watch};

use crate::harness::client::{Closed, connect_params};
use crate::harness::model::RunView;
use crate::harness::{Client, Gateway};

/// After the loss of a connection the stock front end waits so long, and longer by this factor each time.
const FIRST_WAIT: Duration = Duration::from_millis(800);
const FACTOR: f64 = 1.7;
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Connects as often as it takes; gives the client and how many tries it took. It is of a kind that presence does not list: reading the same long list a thousand times would only measure this test.
async fn come_back(port: u16) -> (Client, usize) {
    let mut params = connect_params();
    params["client"]["mode"] = json!("cli");
    let mut wait = FIRST_WAIT;
    for tries in 1.. {
        match Client::try_connect_as(port, params.clone()).await {
            Ok(client) => return (client, tries),
            Err(Closed { .. }) => tokio::time::sleep(wait).await,
        }
        wait = wait.mul_f64(FACTOR).min(LONGEST_WAIT);
    }
    unreachable!("there is always another try")
}

/// What one client of the storm went through.
struct Returned {
    tries: usize,
    took: Duration,
}

/// Tests that keep a whole machine busy, or that measure time, take turns.
pub static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn crowd() -> usize {
    std::env::var("SKYKOI_CLIENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m100_a_thousand_clients_that_come_back_at_once_are_all_served_in_time_and_miss_nothing() {
    let _turn = ALONE.lock().await;
    let crowd = crowd();
    // Those that are there wait for the others, and a client takes silence of half a minute, the usual time between ticks, for a failure.
    let config = json!({ "gateway": { "limits": { "tickIntervalMs": 10_000 } }, "logging": { "level": "info" } });
    let mut gateway = Gateway::with(&config);
    let mut starter = Client::connect(&gateway).await;
    let script = "echo before; while [ ! -e go ]; do sleep 0.05; done; echo after; exit 3";
    starter.agent(json!({"message": script, "idempotencyKey": "r"})).await;
    starter.until("it prints", |client| client.runs.get("r").is_some_and(|run| run.text() == "before\n")).await;
    let tasks = Tasks::new();
    let (gone, all_there) = (Arc::new(Barrier::new(crowd + 1)), Arc::new(AtomicUsize::new(0)));
    // Where the gateway is; 0 while it is gone.
    let (place, _) = watch::channel(gateway.port());
    let (tell, mut told) = tokio::sync::mpsc::channel(crowd);
    for _ in 0..crowd {
        let (gone, all_there, tell, mut place) = (Arc::clone(&gone), Arc::clone(&all_there), tell.clone(), place.subscribe());
        tasks.spawn("client", async move {
            let port = *place.borrow_and_update();
            let (mut client, _) = come_back(port).await;
            client.subscribe("r", 0).await;
            client.until("what was printed", |client| client.runs["r"].text() == "before\n").await;
            let seen = client.runs["r"].last;
            all_there.fetch_add(1, Ordering::Relaxed);
            client.until_closed().await;
            drop(client);
            gone.wait().await;
            let port = *place.wait_for(|port| *port != 0).await.unwrap();
            let began = Instant::now();
            let (mut client, tries) = come_back(port).await;
            client.subscribe("r", seen).await;
            let took = began.elapsed();
            let end = client.until_end("r").await;
            assert_eq!((end["data"]["exitCode"].as_i64(), client.runs["r"].text().as_str()), (Some(3), "after\n"));
            tell.send(Returned { tries, took }).await.unwrap();
        });
    }
    drop(tell);
    let deadline = Instant::now() + Duration::from_secs(120);
    while all_there.load(Ordering::Relaxed) < crowd {
        assert!(Instant::now() < deadline, "only {} came", all_there.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    place.send(0).unwrap();
    gateway.kill();
    gone.wait().await;
    gateway.launch();
    place.send(gateway.port()).unwrap();
    // The run only ends when all are back, so that each has something to wait for.
    let mut local = Client::local(&gateway).await;
    let began = Instant::now();
    loop {
        if local.ok("health", json!({})).await["connections"] == crowd + 1 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "they do not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let rss = gateway.own_bytes();
    std::fs::write(gateway.state_dir().join("work/go"), "").unwrap();
    let (mut worst, mut tries) = (Duration::ZERO, 0);
    for _ in 0..crowd {
        let returned = told.recv().await.expect("every client reports");
        worst = worst.max(returned.took);
        tries = tries.max(returned.tries);
    }
    eprintln!("{crowd} clients were back after {worst:?}, with at most {tries} tries; the daemon took {} MiB", rss >> 20);
    // `make bench` measures the ten seconds with a release build. A debug build beside other tests has time for one more of the longest waits.
    let bound = if cfg!(debug_assertions) { 60 } else { 10 };
    assert!(worst <= Duration::from_secs(bound), "{worst:?}");
    assert!(rss < 256 << 20, "{rss} bytes");
}

const FOLLOWERS: usize = 8;
const RUNS: usize = 4;
const KILLS: usize = 6;

/// The end of a run, once all before it is there too: a subscription that is served late goes back for what lacks when the end has been told already.
fn whole_end(run: &RunView) -> Option<&Value> {
    run.terminal().filter(|end| end["seq"] == run.last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_busy_runs_get_every_event_once_over_many_restarts_of_the_daemon() {
    let _turn = ALONE.lock().await;
    let mut gateway = Gateway::with(&json!({ "agents": { "defaults": { "maxConcurrent": RUNS } }, "logging": { "level": "info" } }));
    let (moved, _) = watch::channel(gateway.port());
    let mut client = Client::connect(&gateway).await;
    for n in 0..RUNS {
        let script = format!("n=0; while [ ! -e stop ]; do n=$((n+1)); echo \"$n {}\"; sleep 0.02; done; echo last", "x".repeat(100));
        client.agent(json!({"message": script, "idempotencyKey": format!("r{n}"), "sessionKey": format!("s{n}")})).await;
    }
    // Who comes to a run at work has a moment to say what it has; a run that starts meanwhile is told at once, without its tools.
    client.until("all are at work", |client| client.runs.values().filter(|run| !run.text().is_empty()).count() == RUNS).await;
    let tasks = Tasks::new();
    let (tell, mut told) = tokio::sync::mpsc::channel(FOLLOWERS);
    let progress = Arc::new(AtomicUsize::new(0));
    for _ in 0..FOLLOWERS {
        let (tell, mut moved, progress) = (tell.clone(), moved.subscribe(), Arc::clone(&progress));
        tasks.spawn("follower", async move {
            let mut last = [0_u64; RUNS];
            let mut ends = vec![None; RUNS];
            while ends.iter().any(Option::is_none) {
                let port = *moved.borrow_and_update();
                let Ok(mut client) = Client::try_connect(port).await else {
                    // A daemon that is gone comes back at another port.
                    let _ = tokio::time::timeout(Duration::from_millis(50), moved.changed()).await;
                    continue;
                };
                for (n, after) in last.iter().enumerate() {
                    let run_id = format!("r{n}");
                    client.runs.entry(run_id.clone()).or_default().subscribe(*after);
                    client.request("runs.subscribe", json!({"runId": run_id, "after": after})).await;
                }
                // The client's own model sees to it that nothing comes twice and nothing is left out.
                while client.frame().await.is_ok() {
                    progress.fetch_add(1, Ordering::Relaxed);
                    if (0..RUNS).all(|n| ends[n].is_some() || whole_end(&client.runs[&format!("r{n}")]).is_some()) {
                        break;
                    }
                    // What was shown is not kept: a follower only knows how far it is.
                    client.events.clear();
                }
                for n in 0..RUNS {
                    let run = &client.runs[&format!("r{n}")];
                    last[n] = run.last.max(last[n]);
                    ends[n] = whole_end(run).cloned().or(ends[n].take());
                }
            }
            tell.send((last, ends)).await.unwrap();
        });
    }
    for _ in 0..KILLS {
        let before = progress.load(Ordering::Relaxed);
        crate::shim::until("everybody is well on the way", || progress.load(Ordering::Relaxed) > before + 40 * FOLLOWERS).await;
        gateway.kill_and_restart();
        moved.send(gateway.port()).unwrap();
    }
    std::fs::write(gateway.state_dir().join("work/stop"), "").unwrap();
    let heads: Vec<u64> = {
        let mut client = Client::connect(&gateway).await;
        let mut heads = Vec::new();
        for n in 0..RUNS {
            let waited = client.ok("agent.wait", json!({"runId": format!("r{n}")})).await;
            assert_eq!(waited["status"], "ok", "{waited}");
            heads.push(waited["head"].as_u64().unwrap());
        }
        heads
    };
    for _ in 0..FOLLOWERS {
        let (last, ends) =
            tokio::time::timeout(Duration::from_secs(60), told.recv()).await.expect("every follower comes to the end").unwrap();
        assert_eq!(last.to_vec(), heads);
        for (end, head) in ends.iter().zip(&heads) {
            assert_eq!(end.as_ref().unwrap()["seq"], *head);
        }
    }
    for n in 0..RUNS {
        gateway.journal(&format!("r{n}")).assert_whole();
    }
}
