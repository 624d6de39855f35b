//! Commands on a terminal of their own.

use serde_json::{Value, json};

use super::{config, fake, gateway, gateway_in, result_of, say};
use crate::fake_model::{Answer, FakeModel, Say};
use crate::harness::{Client, Gateway};
use crate::isolation::isolated;

fn exec(id: &str, mut args: Value) -> Say {
    args["pty"] = json!(true);
    Say::Tool(id.to_owned(), "exec".to_owned(), args)
}

fn process(id: &str, mut args: Value) -> Say {
    if args["id"].is_null() {
        args["id"] = json!("p1");
    }
    Say::Tool(id.to_owned(), "process".to_owned(), args)
}

/// One message of the model per step, played to the end.
async fn played(steps: impl IntoIterator<Item = Say>, config: &Value) -> (FakeModel, Gateway) {
    let answers: Vec<Answer> = steps.into_iter().map(|step| Answer::say([step])).chain([Answer::text("done")]).collect();
    let fake = fake(answers).await;
    let gateway = gateway(&fake, config);
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "do it").await["payload"]["status"], "ok");
    (fake, gateway)
}

#[tokio::test]
async fn sk41_a_terminal_has_a_name_a_size_one_stream_and_an_exit_code() {
    let command = "tty; stty size; echo out; echo err >&2; test -t 0 && test -t 1 && test -t 2 && echo $TERM; exit 5";
    let (fake, _gateway) = played([exec("t", json!({ "command": command }))], &json!({})).await;
    let text = result_of(&fake, "t");
    assert!(text.contains("/dev/pts/") && text.contains("40 120\\nout\\nerr\\nxterm-256color\\n"), "{text}");
    assert!(text.contains("Exit code 5"), "{text}");
}

#[tokio::test]
async fn sk41_who_asks_on_a_terminal_is_answered_by_write_and_by_keys() {
    let ask = "stty -echo; printf 'name? '; read -r name < /dev/tty; echo \"hello $name\"; read -r more; echo \"and $more\"; cat";
    let steps = [
        exec("start", json!({ "command": ask, "background": true })),
        process("write", json!({ "action": "write", "data": "Ann\n" })),
        process("keys", json!({ "action": "send-keys", "keys": ["B", "o", "b", "enter"] })),
        process("line", json!({ "action": "write", "data": "last\n" })),
        process("end", json!({ "action": "write", "eof": true })),
        process("poll", json!({ "action": "poll", "waitMs": 20_000 })),
        process("log", json!({ "action": "log" })),
    ];
    let (fake, _gateway) = played(steps, &json!({})).await;
    assert!(result_of(&fake, "poll").contains("Exit code 0"), "{}", result_of(&fake, "poll"));
    let log = result_of(&fake, "log");
    assert!(log.contains("hello Ann") && log.contains("and Bob") && log.contains("last"), "{log}");
}

#[tokio::test]
async fn sk41_ctrl_c_interrupts_what_is_in_the_foreground_and_kill_ends_the_whole_session() {
    // An interactive shell puts each of its jobs into a group of its own.
    let steps = [
        exec(
            "start",
            json!({ "command": "trap 'echo interrupted; exit 7' INT; : > ready; while :; do sleep 0.05; done", "background": true }),
        ),
        // A key that comes before the command has its terminal goes to nobody.
        exec("ready", json!({ "command": "until [ -e ready ]; do sleep 0.02; done" })),
        process("keys", json!({ "action": "send-keys", "keys": ["ctrl-c"] })),
        process("poll", json!({ "action": "poll", "waitMs": 20_000 })),
        exec("shell", json!({ "command": "exec bash --norc --noprofile -i", "background": true })),
        process("jobs", json!({ "id": "p3", "action": "write", "data": "sleep 1234 & sleep 1235\n" })),
        process("kill", json!({ "id": "p3", "action": "kill" })),
    ];
    let (fake, gateway) = played(steps, &json!({})).await;
    let poll = result_of(&fake, "poll");
    assert!(poll.contains("Exit code 7"), "{poll}");
    assert!(result_of(&fake, "kill").contains("Ended p3"), "{}", result_of(&fake, "kill"));
    gateway.is_clean().await;
    let left = skykoi_gateway::exec::proc::all().into_iter().filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("sleep\u{0}1234") || line.contains("sleep\u{0}1235")
    });
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_command_from_a_list_has_a_terminal_on_which_nobody_types() {
    let steps = [
        exec("t", json!({ "command": "stat -L -c %F /proc/self/fd/1 /proc/self/fd/0" })),
        exec("bg", json!({ "command": "sleep 1000", "background": true })),
        process("write", json!({ "id": "p2", "action": "write", "data": "x\n" })),
        process("keys", json!({ "id": "p2", "action": "send-keys", "keys": ["ctrl-c"] })),
        exec("pipe", json!({ "command": "echo a | wc -c" })),
    ];
    let answers: Vec<Answer> = steps.into_iter().map(|step| Answer::say([step])).chain([Answer::text("done")]).collect();
    let fake = fake(answers).await;
    let gateway = gateway_in(&fake, "anthropic-messages", &json!({ "exec": { "security": "allowlist", "ask": "off" } }));
    let bins = ["stat", "sleep", "echo", "wc"].into_iter().flat_map(|name| [format!("/usr/bin/{name}"), format!("/bin/{name}")]);
    let list: Vec<Value> = bins.map(|pattern| json!({ "pattern": pattern })).collect();
    let file = json!({ "version": 1, "agents": { "main": { "allowlist": list } } });
    std::fs::write(gateway.state_dir().join("exec-approvals.json"), file.to_string()).unwrap();
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "do it").await["payload"]["status"], "ok");
    let first = result_of(&fake, "t");
    assert!(first.contains("character special file"), "{first}");
    assert!(result_of(&fake, "write").contains("Nothing can be typed to p"), "{}", result_of(&fake, "write"));
    assert!(result_of(&fake, "keys").contains("told to end"), "{}", result_of(&fake, "keys"));
    assert!(result_of(&fake, "pipe").contains("a pipeline from a list has no terminal"), "{}", result_of(&fake, "pipe"));
}

#[tokio::test]
async fn a_run_that_is_shut_in_has_terminals_too() {
    let steps = [exec("t", json!({ "command": "test -t 1 && stty size; echo x > /dev/tty; touch \"$HOME/out\" || echo shut" }))];
    let answers: Vec<Answer> = steps.into_iter().map(|step| Answer::say([step])).chain([Answer::text("done")]).collect();
    let fake = fake(answers).await;
    let Some(gateway) = isolated(&json!({ "level": "workspace" }), &config(&fake, "anthropic-messages", &json!({}))) else { return };
    let mut client = Client::connect(&gateway).await;
    assert_eq!(say(&mut client, "do it").await["payload"]["status"], "ok");
    let text = result_of(&fake, "t");
    assert!(text.contains("40 120\\nx\\n") && text.contains("shut"), "{text}");
}
