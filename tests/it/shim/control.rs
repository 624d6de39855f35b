//! What daemons can do to a running shim, and what their death does not do.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use skykoi_gateway::journal::reader::Reader;
use skykoi_gateway::protocol::run::RunStatus;
use skykoi_gateway::runs::control::{FromShim, ToShim, receive, send};
use skykoi_gateway::runs::launcher::{create_journal, is_locked};
use skykoi_gateway::runs::socket::connect;
use tokio::io::AsyncWriteExt as _;

use super::{Bench, PATIENCE, until};

#[tokio::test]
async fn lengths_come_as_the_journal_grows_and_the_last_one_is_the_whole_file() {
    let bench = Bench::new("echo a; sleep 0.05; echo b");
    let mut started = bench.start().await;
    let mut reader = Reader::open(&bench.journal()).unwrap();
    let mut seen = Vec::new();
    let mut last = 0;
    while let Ok(Some(FromShim::Len { bytes })) = tokio::time::timeout(PATIENCE, receive(&mut started.control)).await.unwrap() {
        assert!(bytes >= last);
        last = bytes;
        seen.extend(reader.read_after(1 << 20).unwrap());
    }
    assert!(seen.last().unwrap().terminal, "the last length was told before the connection ended");
    let ended = bench.finish(started).await;
    assert_eq!(seen.len(), ended.lines.len());
    assert_eq!(last, bench.scan().len);
}

#[tokio::test]
async fn m78_an_abort_may_come_at_any_time_and_more_than_once() {
    // Before the command has started: the message is on the stream right behind the spec.
    let bench = Bench::new("sleep 100");
    let mut started = bench.start().await;
    bench.abort(&mut started, "rpc").await;
    // The run may be over by now.
    let _ = send(&mut started.control, &ToShim::Abort { reason: "stop".into() }).await;
    let ended = bench.finish(started).await;
    assert_eq!((ended.outcome.status, ended.outcome.stop_reason.as_deref()), (RunStatus::Aborted, Some("rpc")));
    assert!(ended.outcome.served() && ended.outcome.code.is_none());
    // After the end the connection is gone, and nothing else happens.
    let bench = Bench::new("true");
    let mut started = bench.start().await;
    until("the run has ended", || bench.scan().outcome.is_some()).await;
    let _ = send(&mut started.control, &ToShim::Abort { reason: "late".into() }).await;
    assert_eq!(bench.finish(started).await.outcome.status, RunStatus::Ok);
}

#[tokio::test]
async fn a_run_goes_on_without_its_daemon_and_a_later_one_takes_over() {
    let bench = Bench::new("echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; sleep 100");
    let mut started = bench.start().await;
    let socket = bench.spec.socket_path.clone().unwrap();
    until("the socket is there", || socket.exists() && bench.scan().head >= 3).await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    drop(std::mem::replace(&mut started.control, tokio::net::UnixStream::pair().unwrap().0));
    assert!(is_locked(&bench.journal()).unwrap());
    std::fs::write(bench.dir.path().join("go"), "").unwrap();
    let (mut one, mut two) = (connect(&socket).await.unwrap(), connect(&socket).await.unwrap());
    send(&mut one, &ToShim::Hello { v: 1 }).await.unwrap();
    until("the second line is there", || bench.scan().head >= 4).await;
    assert!(matches!(receive(&mut two).await.unwrap(), Some(FromShim::Len { .. })));
    // Nonsense ends only the connection it came on.
    two.write_all(&[0xff; 64]).await.unwrap();
    send(&mut one, &ToShim::Abort { reason: "rpc".into() }).await.unwrap();
    let ended = bench.finish(started).await;
    assert_eq!((ended.text("stdout").as_str(), ended.outcome.status), ("one\ntwo\n", RunStatus::Aborted));
    assert!(connect(&socket).await.is_err());
}

#[tokio::test]
async fn a_term_to_the_shim_is_an_abort_with_a_terminal_line() {
    let bench = Bench::new("echo ready; sleep 100");
    let started = bench.start().await;
    until("it runs", || bench.scan().head >= 3).await;
    for _ in 0..3 {
        let pid = rustix::process::Pid::from_raw(i32::try_from(started.pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
    let ended = bench.finish(started).await;
    assert_eq!((ended.outcome.status, ended.outcome.stop_reason.as_deref()), (RunStatus::Aborted, Some("signal")));
}

#[tokio::test]
async fn a_daemon_that_does_not_read_holds_nothing_up() {
    let bench = Bench::new("for i in $(seq 1 300); do echo $i; sleep 0.002; done");
    // The control connection is never read; its buffer may fill.
    let ended = bench.run().await;
    assert_eq!(ended.outcome.status, RunStatus::Ok);
    assert!(ended.text("stdout").ends_with("300\n"));
}

#[tokio::test]
async fn a_spec_that_is_cut_off_starts_nothing_and_leaves_the_journal_empty() {
    let bench = Bench::new("echo never");
    let journal = create_journal(&bench.journal()).unwrap();
    let mut spec = bench.spec.clone();
    spec.message = "x".repeat(1 << 20);
    // The future is dropped while it is writing, as if the daemon had died in the middle.
    let cut = tokio::time::timeout(Duration::ZERO, bench.launcher.start(&spec, journal, std::future::ready(Ok(())))).await;
    assert!(cut.is_err());
    until("the shim is gone", || !is_locked(&bench.journal()).unwrap()).await;
    assert!(bench.scan().never_started());
}

#[tokio::test]
async fn a_control_socket_with_a_path_too_long_for_an_address_still_works() {
    let mut bench = Bench::new("sleep 100");
    let socket = bench.dir.path().join("x".repeat(100)).join("y".repeat(100)).join("run.sock");
    bench.spec.socket_path = Some(socket.clone());
    let started = bench.start().await;
    until("the socket is there", || socket.exists()).await;
    let mut later = connect(&socket).await.unwrap();
    send(&mut later, &ToShim::Abort { reason: "rpc".into() }).await.unwrap();
    assert_eq!(bench.finish(started).await.outcome.status, RunStatus::Aborted);
}
