//! What must hold when the killing is over.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Value, json};

use super::worker::{Job, output};
use crate::harness::model::without_meta;
use crate::harness::{Client, Gateway};
use crate::shim::until;

/// Compares what clients were told, what the gateway lists, what the journals hold and what was executed.
pub async fn check(gateway: &Gateway, jobs: &[Job], lost_hosts: &[String], notes: &Path) {
    let rows = rows(gateway).await;
    assert_eq!(rows.len(), jobs.len(), "runs that nobody asked for, or twice");
    let journals: HashMap<String, _> = gateway.journals().into_iter().map(|journal| (journal.run_id.clone(), journal)).collect();
    assert_eq!(journals.len(), jobs.len());
    let transcripts = messages(gateway);
    for job in jobs {
        let key = &job.key;
        let row = rows.get(key).unwrap_or_else(|| panic!("the accepted run {key} is lost"));
        let journal = &journals[key];
        journal.assert_whole();
        let told: Vec<&Value> = job.events.values().collect();
        assert_eq!(told, journal.lines.iter().collect::<Vec<_>>(), "{key}: a client was told something else than the journal says");
        assert_eq!(row["head"], journal.scan.head);
        let outcome = serde_json::to_value(journal.scan.outcome.as_ref().unwrap()).unwrap();
        assert!(job.terminal().is_some() && job.finals.len() >= 2);
        for said in job.finals.iter().chain([&row["outcome"]]) {
            assert_eq!(without_meta(said), outcome, "{key}: two ends of one run");
            assert!(said["meta"].is_null() || said["meta"] == row["outcome"]["meta"], "{key}: {said}");
        }
        assert!(row["outcome"]["meta"].is_object(), "{key}");
        let executions = std::fs::read_to_string(notes.join(key)).map_or(0, |text| text.lines().count());
        judge(job, &outcome, executions, lost_hosts.contains(key));
        was_written_down(job, &outcome, &transcripts);
    }
    sessions_were_in_order(&journals.values().map(|journal| &journal.lines).collect::<Vec<_>>());
    gateway.is_clean().await;
    until("no socket of a shim is left", || std::fs::read_dir(gateway.state_dir().join("run")).unwrap().next().is_none()).await;
}

fn judge(job: &Job, outcome: &Value, executions: usize, host_was_killed: bool) {
    let key = &job.key;
    let text: String = job.events.values().filter(|event| event["stream"] == "exec").filter_map(|event| event["text"].as_str()).collect();
    if outcome["status"] == "interrupted" {
        assert!(host_was_killed, "{key} was interrupted though nobody killed its shim: {outcome}");
        assert!(executions <= 1, "{key} was executed {executions} times");
        assert!(executions == 0 || outcome["mayHaveRun"] == true, "{key}: {outcome}");
        assert!(output(key, job.lines).starts_with(&text), "{key}: {text:?}");
        return;
    }
    assert_eq!(executions, 1, "{key} was executed {executions} times: {outcome}");
    assert_eq!(text, output(key, job.lines), "{key}");
    assert_eq!(outcome["exitCode"], job.exit_code, "{key}");
    assert_eq!(outcome["status"], if job.exit_code == 0 { "ok" } else { "error" });
}

/// What was said stands in the transcript once: the message, and behind it the answer, which is the output.
fn was_written_down(job: &Job, outcome: &Value, messages: &[Value]) {
    let key = &job.key;
    let of_run: Vec<&Value> = messages.iter().filter(|message| message["runId"] == key.as_str()).collect();
    let roles: Vec<&str> = of_run.iter().filter_map(|message| message["role"].as_str()).collect();
    if outcome["mayHaveRun"] == false {
        assert!(roles.is_empty(), "{key} never had a turn: {of_run:?}");
        return;
    }
    let whole = ["user", "assistant", "toolResult", "assistant"];
    // A run that was lost may have had no time to tell of its command.
    assert!(roles == whole || (outcome["status"] == "interrupted" && roles == ["user", "assistant"]), "{key}: {of_run:?}");
    let answer = of_run.last().unwrap()["content"][0]["text"].as_str().unwrap();
    let text: String = job.events.values().filter(|event| event["stream"] == "exec").filter_map(|event| event["text"].as_str()).collect();
    assert!(answer.starts_with(text.trim_end()), "{key}: {answer:?} of {text:?}");
}

/// The messages of every transcript. Each entry follows the one before it.
fn messages(gateway: &Gateway) -> Vec<Value> {
    let files = std::fs::read_dir(gateway.state_dir().join("agents/main/sessions")).unwrap().map(|entry| entry.unwrap().path());
    let mut messages = Vec::new();
    for file in files {
        let mut before = Value::Null;
        for line in std::fs::read_to_string(&file).unwrap().lines().skip(1) {
            let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", file.display()));
            assert_eq!(entry["parentId"], before, "{}", file.display());
            before = entry["id"].clone();
            messages.push(entry["message"].clone());
        }
    }
    messages
}

/// Every run that the gateway lists, by id.
async fn rows(gateway: &Gateway) -> HashMap<String, Value> {
    let mut client = Client::connect(gateway).await;
    let mut rows = HashMap::new();
    let mut cursor = Value::Null;
    loop {
        let mut params = json!({ "limit": 200 });
        if !cursor.is_null() {
            params["cursor"] = cursor;
        }
        let page = client.ok("runs.list", params).await;
        for row in page["runs"].as_array().unwrap() {
            let run_id = row["runId"].as_str().unwrap().to_owned();
            assert!(rows.insert(run_id, row.clone()).is_none(), "listed twice: {row}");
        }
        cursor = page["nextCursor"].clone();
        if cursor.is_null() {
            return rows;
        }
    }
}

/// In one session no run starts before the one before it has ended.
fn sessions_were_in_order(journals: &[&Vec<Value>]) {
    let sessions: HashSet<&str> = journals.iter().map(|lines| lines[0]["sessionKey"].as_str().unwrap()).collect();
    for session in sessions {
        let mut spans: Vec<(u64, u64)> = journals
            .iter()
            .filter(|lines| lines[0]["sessionKey"] == session && lines[0]["data"]["phase"] == "start")
            .map(|lines| (lines[0]["ts"].as_u64().unwrap(), lines.last().unwrap()["ts"].as_u64().unwrap()))
            .collect();
        spans.sort_unstable();
        for pair in spans.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "two runs of {session} at once: {pair:?}");
        }
    }
}
