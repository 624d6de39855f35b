//! Following a run, against a gateway that the test plays.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::join;

use super::error::{self, CliError};
use super::fake::{Fake, outcome};
use super::interrupt::Interrupts;
use super::output::Output;
use super::target::Target;
use super::watch::{Patience, Watch, conclude};

const QUICK: Patience = Patience {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(5),
    total: Duration::from_secs(20),
    after_final: Duration::from_secs(20),
};

/// What a command did: its exit code (or error), stdout and stderr.
struct Seen {
    ended: Result<u8, CliError>,
    out: String,
    talk: String,
}

async fn agent(target: &Target, patience: Patience, as_json: bool, interrupts: &mut Interrupts) -> Seen {
    let (mut result, mut talk) = (Vec::new(), Vec::new());
    let mut out = Output { result: &mut result, talk: &mut talk };
    let request = json!({"message": "work", "idempotencyKey": "r"});
    let ended = Watch::start(target, request, as_json, &mut out, interrupts).with_patience(patience).to_end().await;
    let ended = ended.map(|outcome| conclude(&mut out, Some("r"), &outcome));
    Seen { ended, out: String::from_utf8(result).unwrap(), talk: String::from_utf8(talk).unwrap() }
}

async fn quick(target: &Target) -> Seen {
    let (_sender, mut interrupts) = Interrupts::channel();
    agent(target, QUICK, false, &mut interrupts).await
}

fn accepted() -> Value {
    json!({"runId": "r", "status": "accepted", "acceptedAt": 1})
}

fn final_answer(exit_code: i32, head: Option<u64>) -> Value {
    let mut answer = json!({"runId": "r", "status": "error", "summary": "s", "result": outcome(exit_code)});
    if let Some(head) = head {
        answer["head"] = json!(head);
    }
    answer
}

#[tokio::test]
async fn output_is_shown_where_it_was_written_and_the_exit_code_is_the_runs() {
    let fake = Fake::new();
    let target = fake.target();
    let (seen, ()) = join!(quick(&target), async {
        let mut conn = fake.accept().await;
        let (id, params) = conn.expect("agent").await;
        assert_eq!((params["message"].as_str(), params["idempotencyKey"].as_str()), (Some("work"), Some("r")));
        conn.answer(&id, accepted()).await;
        assert_eq!(conn.followed(false).await, 0);
        conn.output("r", 1, "stdout", "one\n").await;
        conn.output("somebody else's", 2, "stdout", "not ours\n").await;
        conn.output("r", 2, "stderr", "two\n").await;
        conn.end("r", 3, 3).await;
    });
    assert_eq!(seen.ended.unwrap(), 3);
    assert_eq!(seen.out, "one\n");
    assert_eq!(seen.talk, "two\nskykoi-gateway: exit code 3 (run r)\n");
}

#[tokio::test]
async fn a_lost_connection_is_continued_behind_the_last_line_without_repeats() {
    let fake = Fake::new();
    let target = fake.target();
    let (seen, ()) = join!(quick(&target), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.answer(&id, accepted()).await;
        conn.followed(false).await;
        conn.output("r", 1, "stdout", "1 ").await;
        conn.output("r", 2, "stdout", "2 ").await;
        drop(conn);
        let mut conn = fake.accept().await;
        assert_eq!(conn.followed(true).await, 2);
        conn.output("r", 2, "stdout", "2 ").await;
        conn.output("r", 3, "stdout", "3").await;
        conn.end("r", 4, 0).await;
    });
    assert_eq!(seen.ended.unwrap(), 0);
    assert_eq!(seen.out, "1 2 3");
    assert_eq!(seen.talk.lines().count(), 1, "{}", seen.talk);
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_is_sent_again_with_its_key() {
    let fake = Fake::new();
    let target = fake.target();
    let (seen, ()) = join!(quick(&target), async {
        let mut conn = fake.accept().await;
        let (_, first) = conn.expect("agent").await;
        drop(conn);
        let mut conn = fake.accept().await;
        let (id, second) = conn.expect("agent").await;
        assert_eq!(first, second);
        conn.answer(&id, json!({"runId": "r", "status": "in_flight"})).await;
        conn.followed(false).await;
        conn.end("r", 1, 0).await;
    });
    assert_eq!(seen.ended.unwrap(), 0);
}

#[tokio::test]
async fn a_run_that_ended_meanwhile_is_answered_once_and_its_output_is_still_shown() {
    let fake = Fake::new();
    let target = fake.target();
    let (seen, ()) = join!(quick(&target), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.answer(&id, final_answer(4, Some(2))).await;
        conn.followed(false).await;
        conn.output("r", 1, "stdout", "late").await;
        conn.end("r", 2, 4).await;
    });
    assert_eq!((seen.ended.unwrap(), seen.out.as_str()), (4, "late"));
}

#[tokio::test]
async fn a_hole_in_the_events_is_asked_for_again() {
    let fake = Fake::new();
    let target = fake.target();
    let (seen, ()) = join!(quick(&target), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.answer(&id, accepted()).await;
        conn.followed(false).await;
        conn.output("r", 1, "stdout", "1 ").await;
        conn.output("r", 3, "stdout", "3 ").await;
        assert_eq!(conn.followed(false).await, 1);
        conn.output("r", 2, "stdout", "2 ").await;
        conn.output("r", 3, "stdout", "3 ").await;
        conn.end("r", 4, 0).await;
    });
    assert_eq!((seen.ended.unwrap(), seen.out.as_str()), (0, "1 2 3 "));
}

#[tokio::test]
async fn the_final_answer_waits_for_the_lines_that_it_overtook() {
    let fake = Fake::new();
    let target = fake.target();
    let (seen, ()) = join!(quick(&target), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.answer(&id, accepted()).await;
        conn.followed(false).await;
        conn.answer(&id, final_answer(6, Some(2))).await;
        conn.output("r", 1, "stdout", "1 ").await;
        conn.output("r", 2, "stdout", "2").await;
    });
    assert_eq!((seen.ended.unwrap(), seen.out.as_str()), (6, "1 2"));
}

#[tokio::test]
async fn a_final_answer_is_believed_when_no_last_line_comes() {
    let fake = Fake::new();
    let target = fake.target();
    let (_sender, mut interrupts) = Interrupts::channel();
    let patience = Patience { after_final: Duration::from_millis(20), ..QUICK };
    let (seen, _conn) = join!(agent(&target, patience, false, &mut interrupts), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.answer(&id, accepted()).await;
        conn.followed(false).await;
        conn.answer(&id, final_answer(7, None)).await;
        conn
    });
    assert_eq!(seen.ended.unwrap(), 7);
}

#[tokio::test]
async fn a_run_that_could_not_run_ends_with_the_code_of_its_refusal() {
    let fake = Fake::new();
    let target = fake.target();
    let (seen, ()) = join!(quick(&target), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.refuse(&id, json!({"code": "FORBIDDEN", "message": "missing scope: operator.write"})).await;
    });
    assert_eq!(seen.ended.unwrap_err().exit_code(), error::NO_PERMISSION);
}

#[tokio::test]
async fn a_busy_gateway_is_told_at_once_and_not_asked_again() {
    let fake = Fake::new();
    let target = fake.target();
    let (seen, ()) = join!(quick(&target), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.refuse(&id, json!({"code": "UNAVAILABLE", "message": "too many runs wait", "retryable": true})).await;
    });
    assert_eq!(seen.ended.unwrap_err().exit_code(), error::TRY_LATER);
}

#[tokio::test]
async fn a_gateway_that_is_just_starting_again_is_waited_for() {
    let fake = Fake::new();
    let target = fake.target();
    let (seen, ()) = join!(quick(&target), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.answer(&id, accepted()).await;
        conn.followed(false).await;
        drop(conn);
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("runs.subscribe").await;
        conn.refuse(&id, json!({"code": "UNAVAILABLE", "message": "starting", "retryable": true})).await;
        let mut conn = fake.accept().await;
        conn.followed(true).await;
        conn.end("r", 1, 0).await;
    });
    assert_eq!(seen.ended.unwrap(), 0);
    assert_eq!(seen.talk.lines().count(), 1, "{}", seen.talk);
}

#[tokio::test]
async fn a_gateway_that_stays_away_is_given_up_with_a_word_on_how_to_go_on() {
    let fake = Fake::new();
    let target = fake.target();
    let (_sender, mut interrupts) = Interrupts::channel();
    let patience = Patience { total: Duration::from_millis(30), ..QUICK };
    let (seen, ()) = join!(agent(&target, patience, false, &mut interrupts), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.answer(&id, accepted()).await;
        conn.followed(false).await;
        drop((conn, fake));
    });
    let error = seen.ended.unwrap_err();
    assert_eq!(error.exit_code(), error::UNREACHABLE);
    assert!(error.to_string().contains("runs follow r"), "{error}");
}

#[tokio::test]
async fn ctrl_c_aborts_and_a_second_one_leaves() {
    let fake = Fake::new();
    let target = fake.target();
    let (sender, mut interrupts) = Interrupts::channel();
    let (seen, ()) = join!(agent(&target, QUICK, false, &mut interrupts), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.answer(&id, accepted()).await;
        conn.followed(false).await;
        sender.send(()).await.unwrap();
        let (_, params) = conn.expect("runs.abort").await;
        assert_eq!(params, json!({"runId": "r"}));
        sender.send(()).await.unwrap();
    });
    assert_eq!(seen.ended.unwrap_err().exit_code(), error::INTERRUPTED);
}

#[tokio::test]
async fn ctrl_c_before_the_run_is_known_aborts_it_as_soon_as_it_is() {
    let fake = Fake::new();
    let target = fake.target();
    let (sender, mut interrupts) = Interrupts::channel();
    let (seen, ()) = join!(agent(&target, QUICK, false, &mut interrupts), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        sender.send(()).await.unwrap();
        conn.answer(&id, accepted()).await;
        conn.followed(false).await;
        conn.expect("runs.abort").await;
        let mut aborted = final_answer(0, Some(0));
        aborted["result"]["status"] = json!("aborted");
        conn.answer(&id, aborted).await;
    });
    assert_eq!(seen.ended.unwrap(), error::INTERRUPTED);
}

#[tokio::test]
async fn events_are_printed_as_lines_when_asked_for() {
    let fake = Fake::new();
    let target = fake.target();
    let (_sender, mut interrupts) = Interrupts::channel();
    let (seen, ()) = join!(agent(&target, QUICK, true, &mut interrupts), async {
        let mut conn = fake.accept().await;
        let (id, _) = conn.expect("agent").await;
        conn.answer(&id, accepted()).await;
        conn.followed(false).await;
        conn.output("r", 1, "stdout", "a\nb").await;
        conn.end("r", 2, 0).await;
    });
    let lines: Vec<Value> = seen.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[0]["text"].as_str(), lines[1]["data"]["exitCode"].as_i64()), (2, Some("a\nb"), Some(0)));
}

#[tokio::test]
async fn nobody_there_is_said_with_how_to_start_it() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::Local { socket: dir.path().join("gateway.sock"), state_dir: dir.path().to_owned() };
    let error = quick(&target).await.ended.unwrap_err();
    assert_eq!(error.exit_code(), error::UNREACHABLE);
    assert!(error.to_string().contains("skykoi-gateway start"), "{error}");
}
