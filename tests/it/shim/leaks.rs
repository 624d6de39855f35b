//! Processes that try to outlive their run. Every test ends in `Bench::finish`, which fails if one is left.

use std::time::Instant;

use skykoi_gateway::exec::proc;
use skykoi_gateway::journal::close::{Closed, close_with, interrupted};
use skykoi_gateway::protocol::run::RunStatus;
use skykoi_gateway::runs::orphans::{become_subreaper, sweep_run};

use super::{Bench, PATIENCE, file_text, until};

/// Seven and a half seconds is what abort with a grace of five may take; the rest is for a machine that stands still now and then.
const LIMIT_S: f32 = 20.0;
/// A grace that nothing needs which ends within [`LIMIT_S`].
const LONG_GRACE_MS: u64 = 60_000;

#[tokio::test]
async fn m75_a_command_that_ignores_term_is_killed_after_the_grace() {
    let bench = Bench::new("trap '' TERM; echo ready; while :; do sleep 1; done");
    let mut started = bench.start().await;
    until("the trap is set", || bench.scan().head >= 3).await;
    let asked = Instant::now();
    bench.abort(&mut started, "rpc").await;
    let ended = bench.finish(started).await;
    assert!(asked.elapsed().as_secs_f32() >= 4.9 && ended.took.as_secs_f32() < LIMIT_S, "{:?}", ended.took);
    assert_eq!((ended.outcome.status, ended.outcome.signal.as_deref()), (RunStatus::Aborted, Some("SIGKILL")));
    assert_eq!(ended.outcome.stop_reason.as_deref(), Some("rpc"));
}

#[tokio::test]
async fn m75_what_runs_on_in_the_background_is_swept_at_the_end() {
    // Those that let go of the pipes have done so before the end, which would else find them still held.
    for (script, held) in [
        ("setsid sleep 1000 & echo ok", true),
        (
            "(setsid bash -c ': >let-go; sleep 1000; :' >/dev/null 2>&1 </dev/null &) ; until [ -e let-go ]; do sleep 0.01; done; echo ok",
            false,
        ),
        ("(trap '' TERM HUP; setsid bash -c \"trap '' TERM; sleep 1000; :\" &) & echo ok", true),
        (
            "env -i setsid bash -c \": >let-go; exec -a $PWD/x sleep 1000\" >/dev/null 2>&1 & until [ -e let-go ]; do sleep 0.01; done; echo ok",
            false,
        ),
        ("(exec >&- 2>&- <&-; : >let-go; sleep 1000; :) & until [ -e let-go ]; do sleep 0.01; done; echo ok", false),
    ] {
        let bench = Bench::new(script);
        let ended = bench.run().await;
        assert_eq!(ended.text("stdout"), "ok\n");
        assert_eq!((ended.outcome.status, ended.outcome.pipes_held_open), (RunStatus::Ok, held), "{script}");
        assert!(ended.outcome.swept >= 1, "{script}: {}", ended.outcome.swept);
        assert!(ended.took.as_secs_f32() < LIMIT_S, "{script}: {:?}", ended.took);
    }
}

#[tokio::test]
async fn m75_a_tree_that_forks_all_the_time_is_swept() {
    // Bounded by its own count, so that a broken sweep harms nobody.
    let bench = Bench::new("f() { for i in 1 2 3; do (setsid sleep 100 & (sleep 100 &) ; sleep 100) & done; }; f; f; f; echo ok");
    let ended = bench.run().await;
    assert!(ended.outcome.swept >= 9, "{}", ended.outcome.swept);
    assert!(ended.outcome.pipes_held_open);
}

#[tokio::test]
async fn a_command_that_cleans_up_on_term_is_given_its_time() {
    // The shell itself dies of the TERM at once; its child needs a moment and gets it.
    let mut bench = Bench::new("bash -c 'trap \"sleep 0.3; echo cleaned; exit\" TERM; echo ready; while :; do sleep 0.05; done'; :");
    bench.spec.grace_ms = LONG_GRACE_MS;
    let mut started = bench.start().await;
    until("the trap is set", || bench.scan().head >= 3).await;
    bench.abort(&mut started, "rpc").await;
    let ended = bench.finish(started).await;
    assert_eq!(ended.text("stdout"), "ready\ncleaned\n");
    assert!(ended.took.as_secs_f32() < LIMIT_S);
}

#[tokio::test]
async fn a_stopped_command_can_be_aborted_without_waiting_for_the_kill() {
    let mut bench = Bench::new("echo ready; kill -STOP $$");
    bench.spec.grace_ms = LONG_GRACE_MS;
    let mut started = bench.start().await;
    until("it is stopped", || bench.scan().head >= 3).await;
    bench.abort(&mut started, "rpc").await;
    let ended = bench.finish(started).await;
    assert_eq!(ended.outcome.status, RunStatus::Aborted);
    assert!(ended.took.as_secs_f32() < LIMIT_S);
}

#[tokio::test]
async fn orphans_that_end_are_buried_while_the_run_goes_on() {
    let bench = Bench::new("for i in 1 2 3 4 5; do (true &) ; done; echo $PPID > ppid; echo ready; sleep 100");
    let mut started = bench.start().await;
    let shim: u32 = file_text(&bench.dir.path().join("ppid")).await.trim().parse().unwrap();
    until("only the command is left", || proc::children(shim).len() == 1).await;
    bench.abort(&mut started, "rpc").await;
    bench.finish(started).await;
}

#[tokio::test]
async fn m84_a_killed_shim_is_closed_once_and_its_processes_are_swept() {
    let bench = Bench::new("setsid sleep 1000 & (env -i bash -c \"exec -a $PWD/x sleep 1000\" &); echo ready; sleep 1000");
    let mut started = bench.start().await;
    until("output came", || bench.scan().head >= 3).await;
    let close = || close_with(&bench.journal(), &bench.spec.run_id, &bench.spec.session_key, |found| interrupted(found, 1)).unwrap();
    assert_eq!(close(), Closed::Busy);
    started.child.kill().unwrap();
    started.child.wait().await.unwrap();
    // A program that another test is just starting has the lock too, until its exec.
    let close_free = async || {
        let mut closed = Closed::Busy;
        until("the lock is free", || {
            closed = close();
            closed != Closed::Busy
        })
        .await;
        closed
    };
    let Closed::Appended(outcome, head) = close_free().await else { panic!("somebody else closed it") };
    assert_eq!((outcome.status, outcome.may_have_run), (RunStatus::Interrupted, Some(true)));
    assert_eq!(close_free().await, Closed::Already(outcome, head));
    let host = bench.scan().host.unwrap();
    assert_eq!(host.pid, started.pid);
    assert!(sweep_run(&bench.spec.file_id, &host) >= 3);
    assert_eq!(bench.survivors(), Vec::<String>::new());
    assert_eq!(sweep_run(&bench.spec.file_id, &host), 0);
}

#[tokio::test]
async fn m84_a_shim_killed_at_any_moment_is_closed_exactly_once_by_racing_closers() {
    for round in 0..24 {
        let bench = Bench::new("for i in $(seq 1 40); do echo $i; sleep 0.006; done; exit 3");
        let mut started = bench.start().await;
        until("it is far enough", || {
            let scan = bench.scan();
            scan.head >= round % 8 || scan.outcome.is_some()
        })
        .await;
        started.child.kill().unwrap();
        started.child.wait().await.unwrap();
        let close = || close_with(&bench.journal(), &bench.spec.run_id, &bench.spec.session_key, |found| interrupted(found, 1)).unwrap();
        let race = || -> Vec<Closed> {
            std::thread::scope(|scope| {
                let closers: Vec<_> = (0..3).map(|_| scope.spawn(close)).collect();
                closers.into_iter().map(|closer| closer.join().unwrap()).collect()
            })
        };
        // A command that is between fork and exec holds the lock a moment longer than the shim.
        let mut results = race();
        until("the lock is free", || {
            results = if results.iter().all(|result| *result == Closed::Busy) { race() } else { return true };
            false
        })
        .await;
        let appended = results.iter().filter(|result| matches!(result, Closed::Appended(..))).count();
        let scan = bench.scan();
        let outcome = scan.outcome.expect("a terminal line");
        assert_eq!((scan.len, scan.head), (scan.file_len, bench.lines().len() as u64));
        match outcome.status {
            RunStatus::Interrupted => assert_eq!(appended, 1),
            // It was faster than the kill.
            _ => assert_eq!((appended, outcome.exit_code), (0, Some(3))),
        }
        if let Some(host) = scan.host {
            let _ = sweep_run(&bench.spec.file_id, &host);
        }
        until("nothing is left", || bench.survivors().is_empty()).await;
    }
}

/// The daemon's part needs a process of its own: as a subreaper it takes every child that it does not know for an orphan.
#[test]
fn m75_orphans_of_a_killed_shim_come_to_the_daemon_and_are_ended() {
    #[expect(clippy::disallowed_methods, reason = "a test that must be the daemon of its own processes")]
    let mut daemon = std::process::Command::new(std::env::current_exe().unwrap());
    daemon.args(["--exact", "shim::leaks::as_a_daemon_of_its_own", "--ignored", "--nocapture"]).env(ALONE, "1");
    let output = daemon.output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

const ALONE: &str = "TEST_IN_A_PROCESS_OF_ITS_OWN";

#[tokio::test]
#[ignore = "started by the test above"]
async fn as_a_daemon_of_its_own() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    become_subreaper().unwrap();
    let hidden = "(env -i setsid bash -c \"exec -a $PWD/x sleep 1000\" >/dev/null 2>&1 &) ; echo ready; sleep 1000";
    let (mut lost, mut other) = (Bench::new(hidden), Bench::new("while [ ! -e go ]; do sleep 0.02; done"));
    // Both are children of one daemon, so they share its register.
    let children = lost.launcher.children.clone();
    other.launcher.children = children.clone();
    lost.spec.socket_path = None;
    let (mut one, two) = (lost.start().await, other.start().await);
    until("it runs", || lost.scan().head >= 3 && other.scan().head >= 2).await;
    assert_eq!(children.reap_orphans(), 0, "shims that live are no orphans");
    one.child.kill().unwrap();
    tokio::time::timeout(PATIENCE, one.child.wait()).await.unwrap().unwrap();
    let mut killed = 0;
    until("only the other shim is left", || {
        killed += children.reap_orphans();
        proc::children(std::process::id()) == [two.pid]
    })
    .await;
    assert!(killed >= 2, "{killed}");
    assert_eq!(lost.survivors(), Vec::<String>::new());
    std::fs::write(other.dir.path().join("go"), "").unwrap();
    assert_eq!(other.finish(two).await.outcome.status, RunStatus::Ok);
}
