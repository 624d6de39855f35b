//! `exec.approval.request`: have a person asked about a command that the caller is going to run itself.

use std::time::Duration;

use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::gone;
use crate::approvals::desk::decision_of;
use crate::approvals::{Pending, Question};
use crate::exec::policy::prompt;
use crate::protocol::approval::{ApprovalRequest, Decision, Party};
use crate::protocol::error::RpcError;
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Effect, Method, Rate};

/// Shortest and longest wait that can be asked for, ms.
const WAIT_MS: (u64, u64) = (1000, 86_400_000);
/// Stands before what is digested, so that no other text of ours has the same digest.
const DOMAIN: &[u8] = b"skykoi-gateway exec approval request v1\0";

/// Have a person asked about a command, and wait for the decision. It is for a command that the caller runs itself; a run of this gateway that needs an approval asks by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestParams {
    /// A name for it, never used before; the gateway makes one if absent.
    #[serde(default)]
    #[schemars(length(min = 16, max = 64), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub id: Option<String>,
    /// The command.
    #[schemars(length(min = 1))]
    pub command: String,
    /// Where it runs.
    #[serde(default)]
    pub cwd: Option<String>,
    /// On which host.
    #[serde(default)]
    pub host: Option<String>,
    /// The rule for commands.
    #[serde(default)]
    pub security: Option<String>,
    /// When a person is asked.
    #[serde(default)]
    pub ask: Option<String>,
    /// The agent.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// The program that runs.
    #[serde(default)]
    pub resolved_path: Option<String>,
    /// The session.
    #[serde(default)]
    pub session_key: Option<String>,
    /// How long to wait, ms; 120,000 if absent.
    #[serde(default)]
    #[schemars(range(min = WAIT_MS.0, max = WAIT_MS.1))]
    pub timeout_ms: Option<u64>,
    /// Answers twice: at once with the id, then with the decision.
    #[serde(default)]
    pub two_phase: Option<bool>,
}

/// The decision, or, as the first of two answers, that it is waited for.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionReply {
    /// The approval.
    pub id: String,
    /// `accepted` in the first of two answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// What was decided; null when nobody decided in time, or what asked for it is gone. Absent in the first of two answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Option<Decision>>,
    /// When it was asked for, ms since the epoch.
    pub created_at_ms: u64,
    /// Until when it waits, ms since the epoch.
    pub expires_at_ms: u64,
}

/// `exec.approval.request`.
pub struct Request;

impl Method for Request {
    const NAME: &'static str = "exec.approval.request";
    const SCOPE: Scope = Scope::Approvals;
    const RATE: Rate = Rate::Write;
    const EFFECT: Effect = Effect::Permits;
    // Existing clients send more about themselves, none of which decides anything here.
    const LOOSE: bool = true;
    type Params = RequestParams;
    type Output = DecisionReply;

    async fn call(cx: Call, params: RequestParams) -> Result<DecisionReply, RpcError> {
        let two_phase = params.two_phase == Some(true);
        let pending = cx.gateway.approvals.ask(question(&cx, params)).await?;
        if two_phase {
            let (id, expires_at_ms) = (pending.awaited.id.clone(), pending.awaited.expires_at_ms);
            let first = DecisionReply { id, status: Some("accepted"), decision: None, created_at_ms: pending.created_at, expires_at_ms };
            cx.ack(&first).await;
        }
        decided(&cx, pending).await
    }
}

fn question(cx: &Call, params: RequestParams) -> Question {
    let RequestParams { id, command, cwd, host, security, ask, agent_id, resolved_path, session_key, timeout_ms, .. } = params;
    let requester = party(cx);
    let subject = json!({
        "v": 1, "requester": requester.principal, "command": command, "cwd": cwd, "host": host, "agentId": agent_id,
        "resolvedPath": resolved_path, "sessionKey": session_key,
    });
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, &[DOMAIN, subject.to_string().as_bytes()].concat()).as_ref());
    let shown = |text: Option<String>| text.map(|text| prompt::shown(&text, 512));
    let request = ApprovalRequest {
        command: prompt::shown(&command, prompt::MAX_PROMPT),
        cwd: shown(cwd),
        host: shown(host),
        security: shown(security),
        ask: shown(ask),
        agent_id: shown(agent_id).map(AgentId),
        resolved_path: shown(resolved_path),
        session_key: shown(session_key).map(SessionKey),
    };
    let place = request.cwd.as_deref().map(|cwd| format!("\nin {cwd}")).unwrap_or_default();
    Question {
        id,
        digest: bytes,
        subject,
        prompt: format!("{}{place}", prompt::shown(&command, prompt::MAX_PROMPT - place.len())),
        request,
        // What would run by itself the next time is not known here, so nothing can be allowed for always.
        allowed: vec![Decision::AllowOnce, Decision::Deny],
        run: None,
        requester,
        others: Vec::new(),
        timeout: timeout_ms.map(Duration::from_millis),
    }
}

/// The caller as a party to an approval.
#[must_use]
pub fn party(cx: &Call) -> Party {
    Party { principal: cx.caller.principal.to_string(), conn_id: Some(cx.caller.conn_id.0.clone()) }
}

/// Waits for the decision, as long as the connection is there.
///
/// # Errors
/// The connection is gone.
pub async fn decided(cx: &Call, mut pending: Pending) -> Result<DecisionReply, RpcError> {
    let record = tokio::select! {
        record = pending.settled() => record,
        () = cx.caller.closed.cancelled() => return Err(gone()),
    };
    let (created_at_ms, expires_at_ms) = (record.created_at, record.expires_at);
    Ok(DecisionReply { decision: Some(decision_of(&record)), id: record.id, status: None, created_at_ms, expires_at_ms })
}
