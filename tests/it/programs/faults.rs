//! Programs that do what they should not: die, hang, babble, or leave something behind.

use std::time::Duration;

use skykoi_gateway::programs::spec::Kind;
use skykoi_gateway::protocol::run::{RunErrorCode, RunStatus};
use skykoi_gateway::runs::control::{FromShim, Judgement, ToShim, receive, send};
use skykoi_gateway::runs::socket::connect;

use super::stub::{heard, scripted};
use super::{last_text, phase, wait_for};
use crate::shim::{Ended, PATIENCE};

const ASKED: &str = "expect '\"type\":\"user\"'\n";
const TEXT: &str = r#"echo '{"type":"assistant","message":{"content":[{"type":"text","text":"hi"}]}}'"#;
const DONE: &str = r#"echo '{"type":"result","subtype":"success","is_error":false,"result":"hi"}'"#;
const CALL: &str =
    r#"echo '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"c1","name":"Bash","input":{"command":"sleep"}}]}}'"#;

async fn claude(script: &str) -> Ended {
    scripted(Kind::Claude, &format!("{ASKED}{script}")).run().await
}

#[tokio::test]
async fn a_killed_program_is_an_error_with_its_signal_and_its_surviving_command_is_swept() {
    let ended = claude(&format!("{CALL}\nsetsid sleep 7777 & disown\necho 'out of memory' >&2\nkill -9 $$")).await;
    let outcome = &ended.outcome;
    assert_eq!((outcome.status, outcome.code), (RunStatus::Error, Some(RunErrorCode::Unavailable)));
    assert!(outcome.summary.contains("signal: 9") && outcome.summary.contains("out of memory"), "{}", outcome.summary);
    // The bench has looked for survivors.
    assert!(outcome.swept >= 1, "{outcome:?}");
    assert_eq!(super::data(&ended, "tool").len(), 2, "its call is closed");
}

#[tokio::test]
async fn an_end_without_a_final_is_an_error_whatever_the_exit_code() {
    let outcome = claude(&format!("{TEXT}\nexit 0")).await.outcome;
    assert_eq!((outcome.status, outcome.code), (RunStatus::Error, Some(RunErrorCode::Unavailable)));
    assert!(outcome.summary.contains("in the middle of its turn (exit status: 0)"), "{}", outcome.summary);
}

#[tokio::test]
async fn the_end_of_its_stdin_ends_a_program_whose_turn_is_over() {
    let ended = claude(&format!("{TEXT}\n{DONE}\nwhile read -r l; do :; done\n: > \"$0.eof\"")).await;
    assert_eq!(ended.outcome.status, RunStatus::Ok);
    assert!(ended.took < Duration::from_secs(20));
}

#[tokio::test]
async fn a_program_that_stays_after_its_turn_is_ended() {
    let ended = claude(&format!("{TEXT}\n{DONE}\ntrap '' TERM\nwhile :; do sleep 1; done")).await;
    assert_eq!((ended.outcome.status, last_text(&ended).as_str()), (RunStatus::Ok, "hi"));
}

#[tokio::test]
async fn garbage_lines_and_a_huge_line_are_passed_over() {
    let garbage = "echo 'Welcome to the program!'; echo; echo '[1,2'; printf '\\xff\\xfe\\n'; echo '{\"type\":\"later\"}'";
    let huge = "head -c 17000000 /dev/zero | tr '\\0' x; echo";
    let ended = claude(&format!("{garbage}\n{huge}\n{TEXT}\n{DONE}\nrest")).await;
    assert_eq!((ended.outcome.status, last_text(&ended).as_str()), (RunStatus::Ok, "hi"));
    let [warning] = phase(&ended, "warning")[..] else { panic!("one warning") };
    assert!(warning["text"].as_str().unwrap().contains("17000000 bytes"), "{warning}");
}

#[tokio::test]
async fn a_flood_on_stderr_holds_nobody_up() {
    let ended = claude(&format!("head -c 3000000 /dev/zero | tr '\\0' e >&2\n{TEXT}\n{DONE}\nrest")).await;
    assert_eq!(ended.outcome.status, RunStatus::Ok);
}

#[tokio::test]
async fn a_silent_program_is_ended_but_not_one_whose_command_works() {
    let patient = |silence_ms: u64, script: &str| {
        let mut bench = scripted(Kind::Claude, &format!("{ASKED}{script}"));
        bench.spec.program.as_mut().unwrap().silence_ms = silence_ms;
        bench
    };
    // The one whose command works is waited for as long as a program may take to begin on a busy machine.
    let (silent, working) = (patient(300, "sleep 1000"), patient(6000, &format!("{CALL}\nsleep 7\n{TEXT}\n{DONE}\nrest")));
    let (silent, working) = tokio::join!(silent.run(), working.run());
    let outcome = silent.outcome;
    assert_eq!((outcome.status, outcome.code), (RunStatus::Error, Some(RunErrorCode::Unavailable)));
    assert!(outcome.summary.contains("said nothing"), "{}", outcome.summary);
    assert_eq!(working.outcome.status, RunStatus::Ok, "{}", working.outcome.summary);
}

#[tokio::test]
async fn a_program_that_does_not_hear_an_abort_is_ended_within_the_grace() {
    let mut bench = scripted(Kind::Claude, &format!("{ASKED}{TEXT}\ntrap '' TERM INT\nwhile :; do sleep 1; done"));
    bench.spec.grace_ms = 1000;
    let mut started = bench.start().await;
    wait_for(&bench, |line| line["stream"] == "message" || line["stream"] == "assistant").await;
    bench.abort(&mut started, "rpc").await;
    let ended = bench.finish(started).await;
    assert_eq!(ended.outcome.status, RunStatus::Aborted);
    assert!(ended.outcome.summary.starts_with("aborted"), "{}", ended.outcome.summary);
}

#[tokio::test]
async fn the_time_limit_of_the_run_holds_for_programs() {
    let mut bench = scripted(Kind::Codex, "expect initialize\nsleep 1000");
    bench.spec.timeout_ms = Some(500);
    bench.spec.grace_ms = 400;
    let outcome = bench.run().await.outcome;
    assert_eq!((outcome.status, outcome.code), (RunStatus::Timeout, Some(RunErrorCode::AgentTimeout)));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_and_nothing_else_is_broken() {
    let mut bench = scripted(Kind::Pi, "");
    bench.spec.program.as_mut().unwrap().command = vec!["no-such-program".to_owned()];
    let outcome = bench.run().await.outcome;
    assert_eq!((outcome.status, outcome.code), (RunStatus::Error, Some(RunErrorCode::Unavailable)));
    assert!(outcome.summary.contains("no-such-program is not installed"), "{}", outcome.summary);
}

#[tokio::test]
async fn a_key_of_the_program_is_in_no_line_although_the_program_says_it() {
    let mut bench = scripted(Kind::Claude, &format!("{ASKED}echo \"bad key $THE_API_KEY\" >&2\nexit 3"));
    bench.spec.program.as_mut().unwrap().env.insert("THE_API_KEY".to_owned(), "sk-very-secret".to_owned());
    let ended = bench.run().await;
    assert!(ended.outcome.summary.contains("bad key …"), "{}", ended.outcome.summary);
    assert!(!std::fs::read_to_string(bench.journal()).unwrap().contains("sk-very-secret"));
}

#[tokio::test]
async fn a_program_gets_the_chance_to_clean_up_when_its_host_is_killed() {
    let bench = scripted(Kind::Claude, &format!("{ASKED}trap ': > \"$0.cleaned\"; exit' TERM\n{TEXT}\nwhile :; do sleep 0.05; done"));
    let mut started = bench.start().await;
    wait_for(&bench, |line| line["stream"] == "message" || line["stream"] == "assistant").await;
    started.child.kill().unwrap();
    let _ = started.child.wait().await;
    let cleaned = bench.dir.path().join("stub.cleaned");
    let begun = std::time::Instant::now();
    while !cleaned.exists() {
        assert!(begun.elapsed() < PATIENCE, "it got no TERM");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_question_about_a_command_goes_to_the_daemon_and_its_refusal_to_the_program() {
    let ask = r#"echo '{"type":"control_request","request_id":"q","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"rm -r ."},"tool_use_id":"c1"}}'"#;
    let mut bench = scripted(Kind::Claude, &format!("{ASKED}{ask}\nexpect control_response\n{TEXT}\n{DONE}\nrest"));
    bench.spec.program.as_mut().unwrap().approvals = skykoi_gateway::programs::spec::Approvals::Ask;
    let mut started = bench.start().await;
    let (ask, wanted) = loop {
        if let FromShim::Ask { ask, wanted } = receive(&mut started.control).await.unwrap().unwrap() {
            break (ask, wanted);
        }
    };
    assert_eq!((wanted.command.as_str(), wanted.native, wanted.cwd.as_path()), ("rm -r .", true, bench.dir.path()));
    let judgement = Box::new(Judgement::Refused { denied: None, message: "not that one".to_owned() });
    send(&mut started.control, &ToShim::Answer { ask, judgement }).await.unwrap();
    let ended = bench.finish(started).await;
    assert_eq!(ended.outcome.status, RunStatus::Ok);
    let answers = heard(&bench);
    let answer = &answers.iter().find(|line| line["type"] == "control_response").unwrap()["response"]["response"];
    assert_eq!((&answer["behavior"], &answer["message"]), (&"deny".into(), &"not that one".into()));
}

#[tokio::test]
async fn empty_directories_that_a_programs_own_fence_leaves_behind_are_removed() {
    let script = format!("{ASKED}mkdir .git .codex .aws; : > .aws/kept\n{TEXT}\n{DONE}\nrest");
    let bench = scripted(Kind::Claude, &script);
    std::fs::create_dir(bench.dir.path().join(".agents")).unwrap();
    assert_eq!(bench.run().await.outcome.status, RunStatus::Ok);
    let is_there = |name: &&str| bench.dir.path().join(name).exists();
    assert_eq!([".git", ".codex", ".aws", ".agents"].iter().filter(|name| is_there(name)).collect::<Vec<_>>(), [&".aws", &".agents"]);
}

#[tokio::test]
async fn a_message_for_a_program_at_work_is_taken_once_whichever_daemon_asks() {
    let bench = scripted(Kind::Claude, &format!("{ASKED}{TEXT}\n{ASKED}while [ ! -e \"$0.go\" ]; do sleep 0.02; done\n{DONE}\nrest"));
    let mut started = bench.start().await;
    let tell = ToShim::Tell { tell: "m1".to_owned(), text: "hurry".to_owned() };
    let told = async |stream: &mut tokio::net::UnixStream| loop {
        if let FromShim::Told { tell, taken } = receive(stream).await.unwrap().unwrap() {
            return (tell, taken);
        }
    };
    send(&mut started.control, &tell).await.unwrap();
    assert_eq!(told(&mut started.control).await, ("m1".to_owned(), true));
    crate::shim::until("the socket is there", || bench.spec.socket_path.as_ref().unwrap().exists()).await;
    let mut next = connect(bench.spec.socket_path.as_ref().unwrap()).await.unwrap();
    send(&mut next, &tell).await.unwrap();
    assert_eq!(told(&mut next).await, ("m1".to_owned(), true));
    std::fs::write(bench.dir.path().join("stub.go"), "").unwrap();
    let ended = bench.finish(started).await;
    assert_eq!(ended.outcome.status, RunStatus::Ok);
    let hurries = heard(&bench).iter().filter(|line| line.to_string().contains("hurry")).count();
    assert_eq!(hurries, 1);
    let of_user = super::data(&ended, "message").into_iter().filter(|data| data["message"]["role"] == "user").count();
    assert_eq!(of_user, 1, "it stands in the journal");
}
