//! Servers of the Model Context Protocol: a small real one over its pipes and one over HTTP, and what goes wrong with them.

use std::path::Path;

use serde_json::{Value, json};

use super::{fake, gateway, result_of, say};
use crate::fake_model::{Answer, FakeModel, Route, Say};
use crate::harness::{Client, Gateway};
use crate::nginx::skip;

/// The secret of a server.
const SECRET: &str = "canary-mcp-secret-7781";

/// A server of the protocol, as small as it can be.
const SERVER: &str = r#"
import json, os, sys, time
def put(line): sys.stdout.write(json.dumps(line) + "\n"); sys.stdout.flush()
if "die" in sys.argv: sys.stderr.write("no licence for " + os.environ.get("TOKEN", "") + "\n"); sys.exit(3)
print("a banner that is no message", flush=True)
tools = [
    {"name": "add", "description": "Adds two numbers", "inputSchema": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}},
    {"name": "secret.length", "inputSchema": {"type": "object"}},
    {"name": "fail", "inputSchema": {"type": "object"}}, {"name": "hang", "inputSchema": {"type": "object"}},
    {"name": "crash", "inputSchema": {"type": "object"}}, {"name": "hidden", "inputSchema": {"type": "object"}},
]
for line in sys.stdin:
    said = json.loads(line)
    method, id = said.get("method"), said.get("id")
    if method == "initialize":
        put({"jsonrpc": "2.0", "id": "server-1", "method": "ping"})
        put({"jsonrpc": "2.0", "id": id, "result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}})
    elif method == "tools/list":
        if "cursor" in said["params"]: put({"jsonrpc": "2.0", "id": id, "result": {"tools": tools[3:]}})
        else: put({"jsonrpc": "2.0", "id": id, "result": {"tools": tools[:3], "nextCursor": "2"}})
    elif method == "tools/call":
        name, args = said["params"]["name"], said["params"]["arguments"]
        text = lambda text: put({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
        if name == "add": text("sum " + str(args["a"] + args["b"]))
        elif name == "secret.length": text(str(len(os.environ["TOKEN"])) + " in " + os.getcwd())
        elif name == "fail": put({"jsonrpc": "2.0", "id": id, "result": {"isError": True, "content": [{"type": "text", "text": "it did not work"}]}})
        elif name == "crash": sys.stderr.write("out of order: " + os.environ["TOKEN"] + "\n"); sys.exit(1)
    elif method == "notifications/cancelled": open("cancelled", "w").write(str(said["params"]["requestId"]))
"#;

/// Whether there is a Python for programs that tests play; says so if not.
pub fn python() -> bool {
    let found = ["/usr/bin/python3", "/usr/local/bin/python3", "/bin/python3"].into_iter().any(|path| Path::new(path).exists());
    if !found {
        skip("python3 is not installed");
    }
    found
}

fn uses(id: &str, tool: &str, args: Value) -> Answer {
    Answer::say([Say::Tool(id.to_owned(), tool.to_owned(), args)])
}

/// Names of the tools that the model was offered first.
fn offered(fake: &FakeModel) -> Vec<String> {
    let body = fake.seen()[0].body.clone();
    body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn server(args: &[&str], more: &Value) -> Value {
    let args: Vec<&str> = ["-c", SERVER].into_iter().chain(args.iter().copied()).collect();
    let mut server = json!({ "command": "python3", "args": args, "env": { "TOKEN": SECRET } });
    crate::harness::gateway::merge(&mut server, more);
    server
}

/// The warnings of all runs that a client was told of.
fn warnings(client: &Client) -> String {
    let events = client.runs.values().flat_map(|run| run.events.values());
    events
        .filter(|event| event["data"]["phase"] == "warning")
        .map(|event| event["data"]["text"].as_str().unwrap().to_owned() + "\n")
        .collect()
}

async fn played(servers: Value, steps: impl IntoIterator<Item = Answer>, patch: Value) -> (FakeModel, Gateway, Client) {
    let fake = fake(steps.into_iter().chain([Answer::text("done")])).await;
    let mut config = json!({ "mcp": { "servers": servers } });
    crate::harness::gateway::merge(&mut config, &patch);
    let gateway = gateway(&fake, &config);
    let mut client = Client::connect(&gateway).await;
    let last = say(&mut client, "do it").await;
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    (fake, gateway, client)
}

#[tokio::test]
async fn tools_of_a_server_are_offered_called_and_ended_with_the_run() {
    if !python() {
        return;
    }
    let steps = [
        uses("add", "mcp__sums__add", json!({ "a": 2, "b": 3 })),
        uses("fail", "mcp__sums__fail", json!({})),
        uses("env", "exec", json!({ "command": "env" })),
    ];
    let servers =
        json!({ "sums": server(&[], &json!({ "tools": { "deny": ["hid*"] } })), "off": { "command": "false", "enabled": false } });
    let (fake, gateway, client) = played(servers, steps, json!({ "tools": { "deny": ["mcp__sums__hang"] } })).await;
    let names: Vec<String> = offered(&fake).into_iter().filter(|name| name.starts_with("mcp__")).collect();
    assert_eq!((names.len(), names.first().map(String::as_str)), (4, Some("mcp__sums__add")), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("mcp__sums__secret_length_")), "{names:?}");
    assert!(result_of(&fake, "add").contains("sum 5"), "{}", result_of(&fake, "add"));
    assert!(result_of(&fake, "fail").contains("it did not work"));
    assert!(!result_of(&fake, "env").contains(SECRET), "a command of the run knows a server's secret");
    assert_eq!(warnings(&client), "");
    assert!(!client.events.iter().any(|event| event.to_string().contains(SECRET)));
    gateway.is_clean().await;
    let left = skykoi_gateway::exec::proc::all().into_iter().filter(|pid| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        memchr::memmem::find(&environ, gateway.state_dir().to_string_lossy().as_bytes()).is_some()
            && memchr::memmem::find(&environ, SECRET.as_bytes()).is_some()
    });
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_server_that_fails_dies_or_hangs_costs_its_own_calls_and_no_more() {
    if !python() {
        return;
    }
    let steps = [
        uses("hang", "mcp__sums__hang", json!({})),
        uses("crash", "mcp__sums__crash", json!({})),
        uses("after", "mcp__sums__add", json!({ "a": 1, "b": 1 })),
        uses("exec", "exec", json!({ "command": "cat cancelled" })),
    ];
    let servers = json!({
        "sums": server(&[], &json!({ "timeoutSeconds": 5 })),
        "dead": server(&["die"], &json!({})),
        "gone": { "command": "no-such-program-at-all" },
    });
    let (fake, _gateway, client) = played(servers, steps, json!({})).await;
    assert!(result_of(&fake, "hang").contains("did not answer within 5 s"), "{}", result_of(&fake, "hang"));
    let crash = result_of(&fake, "crash");
    assert!(crash.contains("out of order: …") && !crash.contains(SECRET), "{crash}");
    assert!(result_of(&fake, "after").contains("has ended"), "{}", result_of(&fake, "after"));
    let said = warnings(&client);
    assert!(
        said.contains("MCP server dead: has ended; it said: no licence for …") && said.contains("MCP server gone: cannot be started"),
        "{said}"
    );
    assert!(!said.contains(SECRET));
}

#[tokio::test]
async fn a_group_of_rules_closes_all_servers() {
    if !python() {
        return;
    }
    let (fake, _gateway, _client) =
        played(json!({ "sums": server(&[], &json!({})) }), [], json!({ "tools": { "deny": ["group:mcp"] } })).await;
    assert!(!offered(&fake).iter().any(|name| name.starts_with("mcp__")));
}

#[tokio::test]
async fn a_server_over_http_is_asked_with_its_headers() {
    // The same text answers every message, so each answer has the number that its turn has.
    let web = crate::fake_model::FakeModel::start([]).await.unwrap();
    let tools = json!({ "tools": [{ "name": "look", "description": "Looks", "inputSchema": { "type": "object" } }] });
    let stream: String =
        [(1, json!({ "protocolVersion": "2025-03-26" })), (2, tools), (3, json!({ "content": [{ "type": "text", "text": "seen" }] }))]
            .into_iter()
            .map(|(id, result)| json!({ "jsonrpc": "2.0", "id": id, "result": result }))
            .map(|message| format!("event: message\ndata: {message}\n\n"))
            .collect();
    web.route(Route { of: "POST /mcp".into(), status: 200, body: stream, kind: Some("text/event-stream".into()) });
    let servers = json!({
        "web": { "url": format!("{}/mcp", web.url()), "headers": { "Authorization": format!("Bearer {SECRET}") } },
        "none": { "url": format!("{}/none", web.url()) },
    });
    let (fake, _gateway, client) = played(servers, [uses("t", "mcp__web__look", json!({ "at": 1 }))], json!({})).await;
    assert!(result_of(&fake, "t").contains("seen"), "{}", result_of(&fake, "t"));
    let seen = web.seen();
    assert!(seen.iter().all(|seen| seen.path != "/mcp" || seen.header("authorization") == Some(format!("Bearer {SECRET}").as_str())));
    let call = seen.iter().find(|seen| seen.body["method"] == "tools/call").unwrap();
    assert_eq!(
        (&call.body["params"], call.header("mcp-protocol-version")),
        (&json!({ "name": "look", "arguments": { "at": 1 } }), Some("2025-03-26"))
    );
    assert!(warnings(&client).contains("MCP server none: answered with status 500"), "{}", warnings(&client));
}
