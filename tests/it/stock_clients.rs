//! What existing front ends call after hello, with their literal parameters: each call has an answer at once, good or clean, and none hangs.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::harness::client::connect_params;
use crate::harness::gateway::TOKEN;
use crate::harness::{Client, Gateway};
use crate::sockets::PATIENCE;

/// The original's browser front end, its command line and its terminal front end (protocol 3).
fn original() -> Vec<(&'static str, Value)> {
    vec![
        ("agent.identity.get", json!({ "sessionKey": "agent:main:main" })),
        ("agents.list", json!({})),
        ("node.list", json!({})),
        ("device.pair.list", json!({})),
        ("chat.history", json!({ "sessionKey": "agent:main:main", "limit": 200 })),
        ("sessions.list", json!({ "activeMinutes": 120, "includeGlobal": true, "includeUnknown": false, "limit": 120 })),
        ("health", json!({})),
        ("health", Value::Null),
        ("status", json!({})),
        ("status", Value::Null),
        ("system-presence", json!({})),
        ("system-presence", Value::Null),
        ("models.list", json!({})),
        ("last-heartbeat", json!({})),
        ("cron.list", json!({ "includeDisabled": true })),
        ("cron.status", json!({})),
        ("skills.status", json!({})),
        ("config.get", json!({})),
        ("config.schema", json!({})),
        ("logs.tail", json!({ "limit": 500, "maxBytes": 250_000 })),
        ("usage.cost", json!({ "days": 30 })),
        ("sessions.usage", json!({ "limit": 1000 })),
        ("exec.approvals.get", json!({})),
        ("channels.status", json!({ "probe": false, "timeoutMs": 8000 })),
        ("update.run", json!({})),
        ("sessions.list", json!({ "agentId": "main", "includeGlobal": true, "includeUnknown": false })),
        ("chat.abort", json!({ "sessionKey": "agent:main:main" })),
        ("chat.send", json!({ "sessionKey": "agent:main:main", "message": "hi", "deliver": false, "idempotencyKey": "c1" })),
        (
            "agent",
            json!({ "agentId": "main", "channel": "webchat", "deliver": false, "idempotencyKey": "a1", "message": "true", "sessionKey": "agent:main:main", "timeout": 600 }),
        ),
    ]
}

/// The upstream's browser front end, in its order, then its command line and its terminal front end (protocol 4).
fn upstream() -> Vec<(&'static str, Value)> {
    let key = "agent:main:main";
    let session = json!({ "agentId": "main", "sessionKey": key });
    vec![
        ("sessions.subscribe", json!({})),
        (
            "sessions.list",
            json!({ "agentId": "main", "configuredAgentsOnly": true, "includeDerivedTitles": true, "includeGlobal": true, "includeLastMessage": true, "includeUnknown": true, "limit": 50, "ownerFirst": true, "spawnedBy": "x" }),
        ),
        ("config.get", json!({})),
        ("update.status", json!({})),
        ("plugins.controlUi.list", json!({})),
        ("agents.list", json!({})),
        ("exec.approval.list", json!({})),
        ("plugin.approval.list", json!({})),
        ("openclaw.approval.list", json!({})),
        ("plugin.surface.refresh", json!({ "observedUrl": "http://x/", "surface": "chat" })),
        ("sessions.observer.visibility", json!({ "visible": true })),
        ("question.list", json!({})),
        ("agent.identity.get", json!({ "agentId": "main" })),
        ("models.authStatus", json!({ "agentId": "main" })),
        ("sessions.describe", json!({ "key": key })),
        ("board.get", session.clone()),
        ("projects.list", json!({})),
        ("chat.startup", json!({ "limit": 50, "maxBytes": 100_000, "sessionKey": key })),
        ("sessions.viewers.set", json!({ "sessionKeys": [key] })),
        ("talk.catalog", json!({})),
        ("sessions.messages.subscribe", json!({ "includeApprovals": true, "key": key })),
        ("chat.metadata", session.clone()),
        ("progressCard.get", json!({ "sessionKey": key })),
        ("taskSuggestions.list", json!({ "agentId": "main" })),
        ("system.info", json!({})),
        ("sessions.branches.list", json!({ "sessionKey": key })),
        ("session.discussion.info", session.clone()),
        ("sessions.companion.state", session),
        ("tasks.list", json!({ "agentId": "main", "limit": 20, "sessionKey": key, "sortBy": "updatedAt", "status": "open" })),
        ("controlUi.sessionPullRequests.subscribe", json!({ "sessionKeys": [key] })),
        ("users.prefs.get", json!({ "keys": ["theme"] })),
        ("sessions.groups.list", json!({})),
        ("mentions.list", json!({})),
        ("chat.history", json!({ "limit": 100, "maxBytes": 1_000_000, "sessionKey": key })),
        (
            "cron.list",
            json!({ "agentId": "main", "compact": true, "enabled": "all", "includeDeliveryPreviews": true, "includeDisabled": true, "limit": 50, "offset": 0, "sortBy": "name", "sortDir": "asc" }),
        ),
        ("cron.status", json!({})),
        ("sessions.groups.defaults", json!({})),
        ("sessions.catalog.list", json!({ "agentId": "main", "allowPartialResults": true, "limitPerHost": 10, "progressId": "p" })),
        ("health", json!({})),
        ("health", Value::Null),
        ("status", json!({ "includeChannelSummary": true, "includeCliProjection": true })),
        ("status", Value::Null),
        ("system-presence", Value::Null),
        ("channels.status", json!({ "probe": true, "timeoutMs": 1000 })),
        ("commands.list", json!({ "agentId": "main", "includeArgs": true, "scope": "chat" })),
        ("agent", json!({ "agentId": "main", "deliver": false, "idempotencyKey": "a2", "message": "true", "timeout": 600 })),
    ]
}

/// Those of them that this gateway has; the rest is refused cleanly.
fn answered_well() -> Vec<&'static str> {
    skykoi_gateway::rpc::methods::METHODS.iter().map(|entry| entry.name).collect()
}

/// Sends all calls at once, as front ends do, and checks every answer.
async fn plays(client: &mut Client, calls: Vec<(&'static str, Value)>) {
    let mut sent = HashMap::new();
    for (method, params) in calls {
        sent.insert(client.request(method, params).await, method);
    }
    for (id, method) in sent {
        let answer = tokio::time::timeout(PATIENCE, client.response(&id)).await.unwrap_or_else(|_| panic!("{method} hangs"));
        if answered_well().contains(&method) {
            assert_eq!(answer["ok"], true, "{method}: {answer}");
        } else {
            assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{method}: {answer}");
            assert_eq!(answer["error"]["message"], format!("unknown method: {method}"));
        }
    }
}

#[tokio::test]
async fn every_call_of_a_stock_front_end_is_answered_on_both_protocols() {
    let gateway = Gateway::start();
    for (protocol, id, mode, calls) in [(3, "SKYKOI-control-ui", "webchat", original()), (4, "openclaw-control-ui", "webchat", upstream())]
    {
        for local in [false, true] {
            let mut client = if local { Client::open_local(&gateway).await } else { Client::open(gateway.port(), &[]).await };
            let mut params = connect_params();
            params["minProtocol"] = json!(protocol);
            params["maxProtocol"] = json!(protocol);
            params["client"] = json!({ "id": id, "version": "2026.3", "platform": "MacIntel", "mode": mode, "instanceId": "i-1" });
            params["scopes"] = json!(["operator.admin", "operator.approvals", "operator.pairing"]);
            params["caps"] = json!([]);
            params["userAgent"] = json!("Mozilla/5.0");
            params["locale"] = json!("en-US");
            client.hello(params).await.unwrap();
            plays(&mut client, calls.clone()).await;
        }
    }
}

#[tokio::test]
async fn a_probe_that_only_knocks_is_answered_and_may_leave() {
    let gateway = Gateway::start();
    let mut client = Client::open(gateway.port(), &[]).await;
    let mut params = connect_params();
    params["client"] = json!({ "id": "SKYKOI-probe", "version": "1", "platform": "linux", "mode": "probe" });
    params["scopes"] = json!([]);
    client.hello(params).await.unwrap();
    plays(&mut client, vec![("health", Value::Null), ("status", Value::Null), ("system-presence", Value::Null)]).await;
    let config = client.ok("config.get", json!({})).await;
    assert!(config["valid"] == true && !config.to_string().contains(TOKEN), "{config}");
    let refused = tokio::time::timeout(PATIENCE, client.call("config.set", json!({ "raw": "{}" }))).await.unwrap();
    assert_eq!(refused["error"]["message"], "missing scope: operator.admin");
}
