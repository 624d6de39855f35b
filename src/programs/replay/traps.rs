//! One test for each trap that was found in a real program.

use super::*;
use crate::programs::event::EXEC;
use crate::programs::ready::Hands;
use crate::programs::spec::Approvals;
use crate::programs::talk::Steer;

#[test]
fn claude_success_with_is_error_is_a_failure() {
    let (how, cause, message) = end(&replay("claude-success-with-is-error"));
    assert_eq!((how, cause), (How::Failed, Some(Cause::Auth)));
    assert!(message.contains("401"), "{message}");
}

#[test]
fn claude_aborted_is_cancelled_whatever_its_subtype_says() {
    for name in ["claude-interrupt-text", "claude-interrupt-command"] {
        assert_eq!(end(&replay(name)).0, How::Cancelled, "{name}");
    }
}

#[test]
fn claude_says_the_exit_code_in_words() {
    let replay = replay("claude-exit-code");
    let (chunks, result, code) = output(&replay);
    assert_eq!((chunks.as_slice(), result, code), ([("hi\nerr", false)].as_slice(), "Exit code 3\nhi\nerr", Some(3)));
}

#[test]
fn claude_costs_are_those_of_the_turn_and_not_of_the_session() {
    // The session had cost 0.0008 before this turn, which cost as much again.
    let replay = replay("claude-think");
    let used: Vec<f64> = replay.told.iter().filter_map(|event| if let Event::Usage(used) = event { used.cost_usd } else { None }).collect();
    assert!((used[..][0] - 0.000_802).abs() < 1e-9 && used.len() == 1, "{used:?}");
}

#[test]
fn claude_without_the_conversation_says_so() {
    assert_eq!(end(&replay("claude-session-lost")).1, Some(Cause::SessionLost));
}

#[test]
fn claude_goes_on_while_messages_wait() {
    let mut replay = Replay::new("claude");
    let result =
        |queued| json!({ "dir": "<", "msg": { "type": "result", "subtype": "success", "is_error": false, "queued_turn_count": queued } });
    replay.step(&result(1));
    assert!(replay.turn.tale.end().is_none());
    replay.step(&result(0));
    assert_eq!(end(&replay).0, How::Done);
}

#[test]
fn codex_prefix_of_output_that_was_never_streamed_is_told() {
    let replay = replay("codex-tool");
    let (chunks, result, code) = output(&replay);
    assert_eq!(chunks, [("out2\n", false), ("out3\n", false), ("e\n", false), ("out1\n", true)]);
    assert_eq!((result, code), ("out1\nout2\nout3\ne\n", Some(4)));
    let starts =
        replay.told.iter().filter_map(|event| if let Event::ToolStart { name, args, .. } = event { Some((name, args)) } else { None });
    let command = "for i in 1 2 3; do echo out$i; sleep 0.4; done; echo e >&2; exit 4";
    assert_eq!(starts.collect::<Vec<_>>(), [(&EXEC.to_owned(), &json!({ "command": command, "cwd": "/home/user/ws" }))]);
}

#[test]
fn codex_interrupt_without_item_completed_closes_the_call_and_cleans_its_terminal() {
    let mut replay = replay_until_cancelled("codex-interrupt-command");
    assert!(replay.said.iter().any(|line| line["method"] == "turn/interrupt"));
    assert!(replay.said.iter().any(|line| line["method"] == "thread/backgroundTerminals/clean"), "the command would run on");
    // The program never says that the command is over.
    assert!(replay.turn.tale.end().is_none());
    replay.talk.waited(&mut replay.turn);
    replay.settle();
    assert_eq!(end(&replay).0, How::Cancelled);
    assert!(matches!(
        replay.told.iter().rev().find(|event| matches!(event, Event::ToolEnd { .. })),
        Some(Event::ToolEnd { is_error: true, .. })
    ));
}

/// Without the step that ends the waiting.
fn replay_until_cancelled(name: &str) -> Replay {
    let text = fs::read_to_string(captures().join(format!("{name}.jsonl"))).unwrap();
    let mut replay = Replay::new(name);
    replay.talk.open(&mut replay.turn);
    replay.settle();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line["msg"].get("wait").is_none()) {
        replay.step(&line);
    }
    replay
}

#[test]
fn codex_turn_completed_before_item_completed_waits_for_the_item() {
    let replay = replay("codex-late-item");
    let (chunks, result, code) = output(&replay);
    assert_eq!((chunks.as_slice(), result, code), ([("late\n", false)].as_slice(), "late\n", Some(0)));
    assert_eq!(end(&replay).0, How::Done);
}

#[test]
fn codex_counts_what_is_told_again_at_an_interrupt_once() {
    let mut replay = Replay::new("codex");
    let tokens = |total: u64| {
        let of = |n: u64| json!({ "inputTokens": n, "cachedInputTokens": 0, "cacheWriteInputTokens": 0, "outputTokens": n / 10 });
        let usage = json!({ "total": of(total), "last": of(100) });
        json!({ "dir": "<", "msg": { "method": "thread/tokenUsage/updated", "params": { "tokenUsage": usage } } })
    };
    // The thread had used 300 before this turn.
    for total in [400, 500, 500] {
        replay.step(&tokens(total));
    }
    replay.step(&json!({ "dir": "<", "msg": { "method": "turn/completed", "params": { "turn": { "status": "completed" } } } }));
    let used = replay.told.iter().find_map(|event| if let Event::Usage(used) = event { Some(used.tokens.input) } else { None });
    assert_eq!(used, Some(200));
}

#[test]
fn codex_that_is_told_to_stop_before_its_turn_has_a_name_stops_when_it_has_one() {
    let mut replay = Replay::new("codex");
    for message in [json!({ "id": 1, "result": {} }), json!({ "id": 2, "result": { "thread": { "id": "t" } } })] {
        replay.talk.heard(message, &mut replay.turn);
    }
    replay.talk.cancel(&mut replay.turn);
    replay.turn.say.clear();
    replay.talk.heard(json!({ "id": 3, "result": { "turn": { "id": "n" } } }), &mut replay.turn);
    assert_eq!(replay.turn.say[0]["params"], json!({ "threadId": "t", "turnId": "n" }));
}

#[test]
fn pi_cumulative_output_is_told_once_and_its_words_become_an_exit_code() {
    for name in ["pi-tool", "pi-0.73-tool"] {
        let replay = replay(name);
        let (chunks, result, code) = output(&replay);
        assert_eq!(chunks.iter().map(|(text, _)| *text).collect::<String>(), "out1\nout2\nout3\ne\n", "{name}");
        assert!(chunks.len() >= 3 && result.ends_with("Command exited with code 4"), "{name}: {chunks:?}");
        assert_eq!(code, Some(4), "{name}");
    }
}

#[test]
fn pi_073_repeats_the_message_in_every_piece_and_is_told_once() {
    let long = "x".repeat(20);
    let mut replay = Replay::new("pi");
    let mut whole = String::new();
    for _ in 0..200 {
        whole.push_str(&long);
        let partial = json!({ "role": "assistant", "content": [{ "type": "text", "text": whole }] });
        let event = json!({ "type": "text_delta", "contentIndex": 0, "delta": long, "partial": partial });
        replay.talk.heard(json!({ "type": "message_update", "assistantMessageEvent": event, "message": partial }), &mut replay.turn);
    }
    let told: usize = replay.turn.tale.take().iter().map(|event| if let Event::Text { delta } = event { delta.len() } else { 0 }).sum();
    assert_eq!(told, whole.len());
}

#[test]
fn pi_073_ends_without_being_settled_and_087_not_before() {
    for name in ["pi-0.73-think", "pi-think"] {
        let replay = replay(name);
        let asked = replay.said.iter().filter(|line| line["type"] == "get_state").count();
        assert_eq!((end(&replay).0, asked), (How::Done, if name == "pi-think" { 1 } else { 2 }), "{name}");
    }
}

#[test]
fn pi_that_tries_again_has_not_ended() {
    let mut replay = Replay::new("pi");
    replay.talk.open(&mut replay.turn);
    replay.talk.heard(json!({ "id": "gw1", "type": "response", "command": "get_state", "success": true, "data": {} }), &mut replay.turn);
    let message = json!({ "role": "assistant", "content": [], "stopReason": "error", "errorMessage": "529 overloaded" });
    for line in [
        json!({ "type": "message_end", "message": message }),
        json!({ "type": "agent_end" }),
        json!({ "type": "auto_retry_start", "attempt": 1, "errorMessage": "529 overloaded" }),
        json!({ "id": "gw3", "type": "response", "command": "get_state", "success": true, "data": { "isStreaming": false } }),
    ] {
        replay.talk.heard(line, &mut replay.turn);
    }
    assert!(replay.turn.tale.end().is_none() && replay.turn.wait.unwrap().as_secs() > 3600);
}

#[test]
fn acp_exit_codes_are_read_from_wherever_they_stand() {
    let code = |name: &str| output(&replay(name)).2;
    assert_eq!(["codex", "claude", "opencode"].map(|name| code(&format!("acp-{name}-tool"))), [Some(4); 3]);
    // Its number is 1 for every failure; its words are right.
    assert_eq!(code("acp-pi-tool"), Some(4));
    // It has none at all, and calls a failed command completed.
    assert_eq!(code("acp-gemini-tool"), None);
}

#[test]
fn acp_missing_tool_call_is_made_from_the_question() {
    let replay = replay("acp-gemini-tool");
    let start = replay.told.iter().find_map(|event| if let Event::ToolStart { args, .. } = event { Some(args) } else { None });
    assert_eq!(start, Some(&json!({ "command": "echo out1; echo e >&2; exit 4", "cwd": "/home/user/ws" })));
}

#[test]
fn acp_end_turn_with_a_swallowed_error_is_a_failure() {
    let (how, _, message) = end(&replay("acp-pi-swallowed-error"));
    assert_eq!(how, How::Failed);
    assert!(message.contains("without an answer"), "{message}");
}

#[test]
fn acp_history_that_is_told_again_is_no_part_of_the_turn() {
    let replay = replay("acp-claude-load");
    let texts: String =
        replay.told.iter().filter_map(|event| if let Event::Text { delta } = event { Some(delta.as_str()) } else { None }).collect();
    assert_eq!(texts, "Hello from the fake model.");
    assert!(!replay.told.iter().any(|event| matches!(event, Event::ToolStart { .. })));
}

#[test]
fn acp_cumulative_content_is_told_once() {
    let replay = replay("acp-opencode-cumulative");
    let (chunks, ..) = output(&replay);
    assert_eq!(chunks.iter().map(|(text, _)| *text).collect::<String>(), "out1\nout2\nout3\ne\n");
}

#[test]
fn acp_mode_is_set_before_the_prompt_and_an_unknown_one_is_refused() {
    let begin = |mode: &str| {
        let mut spec = ProgramSpec::new(Kind::Acp, vec!["codex-acp".to_owned()]);
        spec.mode = Some(mode.to_owned());
        let (mut talk, mut turn) = (talk(&spec, "p", "/w"), Turn::default());
        talk.open(&mut turn);
        let modes = json!({ "availableModes": [{ "id": "read-only" }, { "id": "agent" }] });
        for line in
            [json!({ "id": 1, "result": { "protocolVersion": 1 } }), json!({ "id": 2, "result": { "sessionId": "s", "modes": modes } })]
        {
            talk.heard(line, &mut turn);
        }
        talk.heard(json!({ "id": 3, "result": {} }), &mut turn);
        turn
    };
    let turn = begin("read-only");
    let methods: Vec<&str> = turn.say.iter().filter_map(|line| line["method"].as_str()).collect();
    assert_eq!(methods, ["initialize", "session/new", "session/set_mode", "session/prompt"]);
    let refused = begin("yolo");
    assert_eq!(refused.tale.end().unwrap().message, "the program has no mode yolo; it has read-only, agent");
}

/// What is said to an ACP program that answers so, and what was told of its turn.
fn acp(spec: &ProgramSpec, heard: &[Value]) -> Turn {
    let (mut talk, mut turn) = (talk(spec, "p", "/w"), Turn::default());
    talk.open(&mut turn);
    heard.iter().for_each(|line| talk.heard(line.clone(), &mut turn));
    turn
}

fn methods(turn: &Turn) -> Vec<&str> {
    turn.say.iter().filter_map(|line| line["method"].as_str()).collect()
}

#[test]
fn acp_history_that_comes_behind_the_answer_is_no_part_of_the_turn() {
    let mut spec = ProgramSpec::new(Kind::Acp, vec!["gemini".to_owned()]);
    spec.session = Some("s".to_owned());
    let said = |text: &str| {
        let update = json!({ "sessionUpdate": "agent_message_chunk", "content": { "type": "text", "text": text } });
        json!({ "method": "session/update", "params": { "sessionId": "s", "update": update } })
    };
    let mut turn = acp(
        &spec,
        &[
            json!({ "id": 1, "result": { "protocolVersion": 1, "agentCapabilities": { "loadSession": true } } }),
            json!({ "id": 2, "result": { "modes": { "currentModeId": "default", "availableModes": [{ "id": "default" }] } } }),
            said("An old answer."),
            json!({ "id": 3, "result": {} }),
            said("A new one."),
            json!({ "id": 4, "result": { "stopReason": "end_turn" } }),
        ],
    );
    assert_eq!(methods(&turn), ["initialize", "session/load", "session/set_mode", "session/prompt"]);
    assert_eq!(turn.say[2]["params"]["modeId"], "default");
    let events = turn.tale.take();
    let texts: Vec<&str> =
        events.iter().filter_map(|event| if let Event::Text { delta } = event { Some(delta.as_str()) } else { None }).collect();
    assert_eq!(texts, ["A new one."]);
}

#[test]
fn acp_models_are_chosen_as_the_program_has_it() {
    let mut spec = ProgramSpec::new(Kind::Acp, vec!["gemini".to_owned()]);
    spec.model = Some("pro".to_owned());
    let models = json!({ "currentModelId": "auto", "availableModels": [{ "modelId": "auto" }, { "modelId": "pro" }] });
    let lines =
        [json!({ "id": 1, "result": { "protocolVersion": 1 } }), json!({ "id": 2, "result": { "sessionId": "s", "models": models } })];
    let turn = acp(&spec, &lines);
    assert_eq!(methods(&turn), ["initialize", "session/new", "session/set_model"]);
    assert_eq!(turn.say[2]["params"], json!({ "sessionId": "s", "modelId": "pro" }));
    spec.model = Some("tiny".to_owned());
    assert_eq!(acp(&spec, &lines).tale.end().unwrap().message, "the program has no model tiny; it has auto, pro");
}

#[test]
fn acp_use_of_the_gateways_tool_is_asked_about_by_the_tool_alone() {
    let ask = |id: &str, kind: &str, offered: bool| {
        let mut spec = ProgramSpec::new(Kind::Acp, vec!["gemini".to_owned()]);
        spec.approvals = Approvals::Ask;
        spec.ready.hands = offered.then(|| Hands { words: vec!["gw".to_owned()], env: Default::default() });
        let content = json!([{ "type": "content", "content": { "type": "text", "text": "{\"command\":\"ls\"}" } }]);
        let call = json!({ "toolCallId": id, "status": "pending", "title": "ls", "kind": kind, "content": content });
        let options = json!([{ "optionId": "once", "kind": "allow_once" }]);
        let turn = acp(
            &spec,
            &[
                json!({ "id": 1, "result": { "protocolVersion": 1 } }),
                json!({ "id": 2, "result": { "sessionId": "s" } }),
                json!({ "id": 0, "method": "session/request_permission", "params": { "sessionId": "s", "toolCall": call, "options": options } }),
            ],
        );
        (turn.ask.len(), turn.say.last().unwrap()["result"]["outcome"]["optionId"] == "once")
    };
    assert_eq!(ask("mcp_gw_exec__call_1", "other", true), (0, true));
    for (id, kind, offered) in
        [("mcp_gw_exec__call_1", "other", false), ("mcp_gw_exec__call_1", "execute", true), ("mcp_x_exec__call_1", "other", true)]
    {
        assert_eq!(ask(id, kind, offered), (1, false), "{id} {kind} {offered}");
    }
}

#[test]
fn a_question_that_is_open_at_the_cancel_is_answered() {
    let mut replay = Replay::new("acp");
    for line in [json!({ "id": 1, "result": {} }), json!({ "id": 2, "result": { "sessionId": "s" } })] {
        replay.talk.open(&mut replay.turn);
        replay.talk.heard(line, &mut replay.turn);
    }
    let call = json!({ "toolCallId": "c", "kind": "execute", "title": "rm x" });
    replay
        .talk
        .heard(json!({ "id": 7, "method": "session/request_permission", "params": { "toolCall": call, "options": [] } }), &mut replay.turn);
    replay.turn.say.clear();
    replay.talk.cancel(&mut replay.turn);
    let said = &replay.turn.say;
    assert!(said.iter().any(|line| line["id"] == 7 && line["result"]["outcome"]["outcome"] == "cancelled"), "{said:?}");
}

#[test]
fn what_is_said_to_a_program_that_works_is_taken_when_the_program_says_so() {
    let begun = |kind: Kind, lines: &[Value]| {
        let (mut talk, mut turn) = (talk(&ProgramSpec::new(kind, vec!["x".to_owned()]), "p", "/w"), Turn::default());
        talk.open(&mut turn);
        assert_eq!(talk.steer(1, "early", &mut turn) == Steer::Taken, kind == Kind::Claude, "{kind:?}");
        lines.iter().for_each(|line| talk.heard(line.clone(), &mut turn));
        turn.say.clear();
        (talk, turn)
    };
    let codex = [
        json!({ "id": 1, "result": {} }),
        json!({ "id": 2, "result": { "thread": { "id": "T" } } }),
        json!({ "id": 3, "result": { "turn": { "id": "U" } } }),
    ];
    let (mut talk, mut turn) = begun(Kind::Codex, &codex);
    for (number, answer) in [(7, json!({ "result": {} })), (8, json!({ "error": { "code": 1, "message": "no such turn" } }))] {
        assert_eq!(talk.steer(number, "hurry", &mut turn), Steer::Later);
        let mut answer = answer;
        answer["id"] = turn.say.pop().unwrap()["id"].clone();
        talk.heard(answer, &mut turn);
    }
    assert_eq!(std::mem::take(&mut turn.told), [(7, true), (8, false)]);
    let (mut talk, mut turn) = begun(Kind::Pi, &[json!({ "type": "response", "command": "get_state", "success": true, "data": {} })]);
    assert_eq!(talk.steer(7, "hurry", &mut turn), Steer::Later);
    let id = turn.say.pop().unwrap()["id"].clone();
    talk.heard(json!({ "type": "response", "command": "steer", "id": id, "success": false }), &mut turn);
    assert_eq!(turn.told, [(7, false)]);
}

#[test]
fn claude_told_in_the_moment_of_its_end_begins_anew_and_that_is_still_the_turn() {
    let init = json!({ "type": "system", "subtype": "init", "session_id": "S" });
    let done = json!({ "type": "result", "subtype": "success", "is_error": false });
    let (mut talk, mut turn) = (talk(&ProgramSpec::new(Kind::Claude, vec!["x".to_owned()]), "p", "/w"), Turn::default());
    for line in [&init, &done] {
        talk.steer(1, "hurry", &mut turn);
        talk.heard(line.clone(), &mut turn);
    }
    assert!(turn.tale.end().is_none() && turn.wait.is_some());
    talk.heard(init, &mut turn);
    talk.waited(&mut turn);
    assert!(turn.tale.end().is_none(), "it goes on");
    talk.heard(done.clone(), &mut turn);
    assert!(turn.tale.end().is_some(), "nothing was said since");
}
