//! Messages and what they are taken for.

use super::*;
use crate::config::messages::{QueueDrop, QueueMode};

const MODELS: [&str; 3] = ["bedrock/opus", "openai/gpt", "azure/gpt"];

fn with(models: &[&str], triggers: &[&str], message: &str) -> Decision {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (models, triggers) = (owned(models), owned(triggers));
    let facts = Facts {
        reset_triggers: &triggers,
        text_commands: true,
        agent: "koi",
        runner: "shell",
        models: &models,
        session_key: "agent:koi:main",
        version: "1.2.3",
        ..Facts::default()
    };
    decide(message, &facts)
}

fn of(message: &str) -> Decision {
    with(&[], &["/new", "/reset"], message)
}

fn command(message: &str) -> Command {
    match of(message) {
        Decision::Command(command) => command,
        other => panic!("{message:?}: {other:?}"),
    }
}

fn reply(message: &str) -> String {
    let command = command(message);
    assert_eq!((&command.rest, command.actions.len()), (&None, 0), "{message}");
    command.reply.unwrap()
}

fn set(field: &str, word: &str) -> Action {
    Action::Patch(patch(field, json!(word)))
}

#[test]
fn stop_words_count_alone_and_in_any_case() {
    for message in ["/stop", "stop", " STOP\n", "Esc", "abort", "wait", "exit", "interrupt"] {
        assert_eq!(of(message), Decision::Stop, "{message}");
    }
    for message in ["stop it", "/stop now", "sleep 5; exit", "please wait", "exit 1", ""] {
        assert_eq!(of(message), Decision::Turn, "{message}");
    }
}

#[test]
fn a_reset_may_carry_the_first_message() {
    let bare = command("/new");
    assert_eq!((bare.actions.as_slice(), bare.rest.as_deref()), ([Action::Reset].as_slice(), None));
    assert!(bare.reply.unwrap().starts_with("New session started"));
    let with_text = command("/RESET   df -h\nls");
    assert_eq!((with_text.actions.len(), with_text.rest.as_deref(), with_text.reply), (1, Some("df -h\nls"), None));
    assert_eq!(of("/newer"), Decision::Turn);
    let inner = command("/new /think high why?");
    assert_eq!((inner.actions.as_slice(), inner.rest.as_deref()), ([Action::Reset, set("thinkingLevel", "high")].as_slice(), Some("why?")));
}

#[test]
fn a_reset_may_name_the_model() {
    let Decision::Command(named) = with(&MODELS, &["/new"], "/new opus tell me") else { panic!("no command") };
    assert_eq!(
        (named.actions.as_slice(), named.rest.as_deref()),
        ([Action::Reset, set("model", "bedrock/opus")].as_slice(), Some("tell me"))
    );
    let Decision::Command(two) = with(&MODELS, &["/new"], "/new gpt") else { panic!("no command") };
    assert_eq!(two.rest.as_deref(), Some("gpt"), "two models have this name, so it is text");
}

#[test]
fn the_words_that_reset_are_configured() {
    let Decision::Command(fresh) = with(&[], &["Fresh Start"], "fresh start ls") else { panic!("no command") };
    assert_eq!(fresh.rest.as_deref(), Some("ls"));
    assert_eq!(with(&[], &["fresh"], "/new ls"), Decision::Turn);
    assert_eq!(with(&[], &["", " "], "ls"), Decision::Turn);
    assert_eq!(with(&[], &["é"], "e"), Decision::Turn);
}

#[test]
fn directives_in_front_of_a_message_leave_the_message() {
    let inline = command("/think high /verbose:ON  what is  this\n  here");
    assert_eq!(inline.actions, [set("thinkingLevel", "high"), set("verboseLevel", "on")]);
    assert_eq!((inline.rest.as_deref(), inline.reply), (Some("what is  this\n  here"), None));
    let alone = command("/t minimal");
    assert_eq!(alone.actions, [set("thinkingLevel", "minimal")]);
    let text = alone.reply.unwrap();
    assert!(text.starts_with("Thinking level set to minimal.") && text.contains("has no effect"), "{text}");
    assert_eq!(command("/reason stream").actions, [set("reasoningLevel", "stream")]);
    assert!(!with(&MODELS, &[], "/think high").clone_reply().contains("no effect"));
    assert!(with(&MODELS, &[], "/elevated full").clone_reply().contains("permits nothing"));
}

#[test]
fn a_wrong_word_changes_nothing_and_says_which_are_right() {
    let text = reply("/think very hard about it");
    assert!(text.contains("\"very\"") && text.contains("minimal"), "{text}");
    assert!(reply("/verbose on /think x y").contains("\"x\""));
    assert!(reply("/queue soon ls").contains("\"soon\""));
    assert!(reply("/queue debounce:soon").contains("is no time"));
    assert!(reply("/queue cap:0").contains("1 to 500"));
    assert!(reply("/queue drop:all").contains("summarize"));
}

#[test]
fn queue_settings_come_in_any_order() {
    let queued = command("/queue drop:old cap:5 debounce:1.5s collect");
    let expected = QueuePatch {
        mode: Some(Some(QueueMode::Collect)),
        debounce_ms: Some(Some(1500)),
        cap: Some(Some(5)),
        drop: Some(Some(QueueDrop::Old)),
    };
    assert_eq!(queued.actions, [Action::Queue(expected)]);
    assert_eq!(queued.reply.unwrap(), "Queue set: mode collect, debounce 1500 ms, cap 5, drop old.");
    let inline = command("/queue interrupt ls -la");
    assert_eq!(inline.rest.as_deref(), Some("ls -la"));
    assert_eq!(
        command("/queue queue").actions,
        [Action::Queue(QueuePatch { mode: Some(Some(QueueMode::Steer)), ..QueuePatch::default() })]
    );
    assert!(command("/queue reset").reply.unwrap().contains("cleared"));
    assert!(reply("/queue").starts_with("Queue: collect, debounce 1000 ms, cap 20, drop summarize."));
}

#[test]
fn what_is_no_command_goes_on_as_text() {
    for message in ["/bin/ls -la", "/whoami", "/status now", "/helping", "/ help", "//help", "ls /new", "/think/x", "/", "/é", "help"] {
        assert_eq!(of(message), Decision::Turn, "{message}");
    }
    let facts = Facts { text_commands: false, ..Facts::default() };
    assert_eq!(decide("/help", &facts), Decision::Turn);
    assert_eq!(decide("/stop", &facts), Decision::Stop);
}

#[test]
fn answers_are_about_this_session() {
    assert!(reply("/help").contains("runner \"shell\""));
    let all = reply("/commands");
    assert!(crate::chat::table::COMMANDS.iter().all(|spec| all.contains(&format!("/{}", spec.name))));
    let entry = json!({ "thinkingLevel": "high", "updatedAt": 1_000, "label": null });
    let facts = Facts {
        text_commands: true,
        agent: "koi",
        runner: "shell",
        session_key: "agent:koi:main",
        session_id: Some("s-1"),
        entry: entry.as_object(),
        at_work: Some(("run-1", 50_000)),
        waiting: 2,
        version: "1.2.3",
        uptime_ms: 61_000,
        now: 61_000,
        ..Facts::default()
    };
    let Decision::Command(status) = decide("/status", &facts) else { panic!("no command") };
    let text = status.reply.unwrap();
    for part in [
        "1.2.3, up 1 min",
        "agent:koi:main",
        "s-1, last active 1 min ago",
        "run run-1, for 11 s; 2 waiting",
        "Thinking level: high",
        "Model: none",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn models_are_chosen_where_there_are_some() {
    assert!(reply("/model").contains("uses no model"));
    assert!(reply("/models").contains("uses no model"));
    assert!(reply("/model gpt").contains("uses no model"));
    let chosen = with(&MODELS, &[], "/model OPUS");
    assert!(matches!(&chosen, Decision::Command(command) if command.actions == [set("model", "bedrock/opus")]));
    assert!(with(&MODELS, &[], "/model none").clone_reply().contains("no model \"none\""));
    assert!(with(&MODELS, &[], "/models").clone_reply().contains("openai/gpt"));
    assert!(with(&MODELS, &[], "/model").clone_reply().contains("bedrock/opus"));
    let cleared = with(&MODELS, &[], "/model default");
    assert!(matches!(&cleared, Decision::Command(command) if command.actions == [Action::Patch(patch("model", Value::Null))]));
}

impl Decision {
    fn clone_reply(&self) -> String {
        match self {
            Self::Command(command) => command.reply.clone().unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_message_makes_it_panic_and_what_remains_is_part_of_the_message(message in "(/(new|think|queue|verbose|x)|high|on|collect|cap:3|é|[ \n:]){0,12}") {
        if let Decision::Command(command) = of(&message) {
            proptest::prop_assert!(command.reply.is_some() != command.rest.is_some());
            if let Some(rest) = command.rest { proptest::prop_assert!(message.contains(&rest)); }
        }
    }
}
