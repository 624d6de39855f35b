//! Stable codes beside the error codes: what `details.code` may say, and with which code and reason the server closes a connection.
//!
//! The reference and the schema are made from these tables, and a test sees to it that no code is used that does not stand here.

/// One value of `error.details.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetailCode {
    /// The code.
    pub name: &'static str,
    /// The methods that answer it; empty = any.
    pub methods: &'static [&'static str],
    /// What is wrong, and what a client can do.
    pub meaning: &'static str,
}

const fn any(name: &'static str, meaning: &'static str) -> DetailCode {
    DetailCode { name, methods: &[], meaning }
}

const fn of(name: &'static str, methods: &'static [&'static str], meaning: &'static str) -> DetailCode {
    DetailCode { name, methods, meaning }
}

const CONNECT: &[&str] = &["connect"];
/// What takes a role.
const ROLED: &[&str] = &["connect", "device.pair.setup", "device.token.rotate", "device.token.revoke"];
/// What takes scopes.
const SCOPED: &[&str] = &["connect", "device.pair.approve", "device.pair.setup", "device.token.rotate"];
/// The methods that decide about a request.
const PAIRING: &[&str] = &["device.pair.approve", "device.pair.reject"];
/// The methods that change devices.
const DEVICES: &[&str] = &["device.pair.approve", "device.pair.remove", "device.pair.setup", "device.token.rotate", "device.token.revoke"];
const AGENT: &[&str] = &["agent"];
const SEND: &[&str] = &["chat.send"];
/// The methods that start runs.
const STARTERS: &[&str] = &["agent", "chat.send"];
/// The methods that a stopping gateway refuses.
const STOPPABLE: &[&str] = &["agent", "chat.send", "config.apply", "config.patch"];
const CONFIG_CHANGES: &[&str] = &["config.set", "config.apply", "config.patch"];
/// The methods that take a session key or an agent.
const TARGETED: &[&str] = &[
    "agent",
    "agent.identity.get",
    "runs.list",
    "chat.history",
    "chat.message.get",
    "chat.inject",
    "chat.send",
    "chat.abort",
    "commands.list",
    "agents.update",
    "agents.delete",
    "agents.files.list",
    "agents.files.get",
    "agents.files.set",
    "skills.status",
    "sessions.usage",
];
/// The methods that read and write files of a workspace.
const FILES: &[&str] = &["agents.files.get", "agents.files.set"];
/// The methods that name one run.
const OF_A_RUN: &[&str] = &["runs.get", "runs.subscribe", "runs.unsubscribe", "runs.abort"];

/// The methods that name one session by `key`.
const OF_A_SESSION: &[&str] = &[
    "sessions.describe",
    "sessions.get",
    "sessions.resolve",
    "sessions.create",
    "sessions.patch",
    "sessions.reset",
    "sessions.delete",
    "sessions.compact",
    "sessions.messages.subscribe",
    "sessions.messages.unsubscribe",
];

const ASKS: &[&str] = &["exec.approval.request"];
const RESOLVES: &[&str] = &["exec.approval.resolve"];
/// The methods by which a command comes to be asked about.
const ASKED: &[&str] = &["agent", "chat.send", "exec.approval.request"];
/// The methods that tell how a decision went on.
const DECIDED: &[&str] = &["agent", "chat.send", "exec.approval.resolve"];
const SETS_APPROVALS: &[&str] = &["exec.approvals.set"];
/// The methods that name one approval.
const OF_AN_APPROVAL: &[&str] = &["exec.approval.resolve", "exec.approval.get", "exec.approval.waitDecision"];
const APPROVALS: &[&str] = &["exec.approval.request", "exec.approval.resolve", "exec.approvals.get", "exec.approvals.set"];

/// Every value of `error.details.code`.
pub static DETAIL_CODES: &[DetailCode] = &[
    of("CONNECT_FIRST", CONNECT, "The first request was not `connect`."),
    of("INVALID_PARAMS", CONNECT, "The parameters of `connect` are wrong; the message says where."),
    of("PROTOCOL_MISMATCH", CONNECT, "No common protocol version; the details name both ranges."),
    of("INVALID_ROLE", ROLED, "The role is neither `operator` nor `node`."),
    of("UNKNOWN_SCOPE", SCOPED, "A scope in `scopes` does not exist."),
    of("DEVICE_IDENTITY_REQUIRED", CONNECT, "Neither a secret nor a device was given."),
    of("DEVICE_AUTH_DEVICE_ID_MISMATCH", CONNECT, "The device's id is not the digest of its key, or the key cannot be read."),
    of("DEVICE_AUTH_PUBLIC_KEY_INVALID", CONNECT, "The device's key is one for which anybody can sign."),
    of("DEVICE_AUTH_NONCE_REQUIRED", CONNECT, "The device's proof names no nonce."),
    of("DEVICE_AUTH_NONCE_MISMATCH", CONNECT, "The device signed the nonce of another connection."),
    of("DEVICE_AUTH_SIGNATURE_EXPIRED", CONNECT, "The time in the device's proof is too far from the gateway's."),
    of("DEVICE_AUTH_SIGNATURE_INVALID", CONNECT, "The device's signature fits no form of the text."),
    of("AUTH_TOKEN_MISSING", CONNECT, "The gateway wants its token and none was given."),
    of("AUTH_TOKEN_MISMATCH", CONNECT, "The token is wrong. It counts as a failed attempt of the address."),
    of("AUTH_PASSWORD_MISSING", CONNECT, "The gateway wants its password and none was given."),
    of("AUTH_PASSWORD_MISMATCH", CONNECT, "The password is wrong. It counts as a failed attempt of the address."),
    of("AUTH_RATE_LIMITED", CONNECT, "Too many failed attempts from this address; `retryAfterMs` says when the next one counts."),
    of(
        "AUTH_DEVICE_TOKEN_MISMATCH",
        CONNECT,
        "The token is not this device's, or was taken back; or the setup code is none. It counts as a failed attempt of the address.",
    ),
    of(
        "PAIRING_REQUIRED",
        CONNECT,
        "The device must be approved first. `requestId` and `pairingCode` name its request, `reason` says why; connect again until it is decided.",
    ),
    of("PAIRING_LIMIT", CONNECT, "Too many devices wait for an approval, in all or from this address. Retryable after `retryAfterMs`."),
    of("PAIRING_REJECTED", CONNECT, "Somebody has rejected the device; it may ask again after `retryAfterMs`."),
    of("PAIRING_NOT_FOUND", PAIRING, "No such request; or, for callers without `operator.admin`, one that they cannot decide."),
    of("PAIRING_EXPIRED", PAIRING, "The request's time has run out; the device has to ask again."),
    of("PAIRING_DECIDED", PAIRING, "Somebody has approved or rejected the request before."),
    of("PAIRING_OWN_REQUEST", PAIRING, "A device cannot approve its own request."),
    of("PAIRING_ABOVE_SCOPES", DEVICES, "The scopes go beyond the caller's own."),
    of("PAIRING_BEYOND_REQUEST", DEVICES, "The scopes go beyond what was asked for or approved."),
    of(
        "DEVICE_NOT_FOUND",
        DEVICES,
        "No such device, or nothing is granted to it for that role; or, for callers without `operator.admin`, one that has more scopes than they.",
    ),
    of("DEVICE_LIMIT", DEVICES, "There are as many devices or setup codes as there may be."),
    of("AUDIT_UNAVAILABLE", DEVICES, "The change cannot be recorded, so it was not made."),
    any("ALREADY_CONNECTED", "`connect` came a second time."),
    of("BUSY", STARTERS, "Another run of this user of a portal is at work; `runId` names it. Wait for it or abort it."),
    any("NOT_YOURS_TO_CHOOSE", "A user of a portal set a parameter that follows from who the user is, such as another session."),
    any("ROLE_NOT_ALLOWED", "The connection's role may not call this method."),
    any("MISSING_SCOPE", "The connection lacks the scope in `missingScope`."),
    any("UNKNOWN_METHOD", "There is no such method. Only connections with `operator.admin` are told so; others lack a scope."),
    any("DUPLICATE_ID", "A request with the same id is still being served on this connection."),
    any("TOO_MANY_INFLIGHT", "The connection has `policy.maxInFlight` requests being served. Retryable."),
    any("OVERLOADED", "The gateway serves as many requests as it can. Retryable."),
    any(
        "RATE_LIMITED",
        "More requests per second than allowed; `limitedBy` says whether to this `connection`, to all with this `credential` or to all from this `address`. Retryable after `retryAfterMs`.",
    ),
    any("STORE_UNAVAILABLE", "The store does not take the request now. Retryable."),
    any("TRANSCRIPT_UNAVAILABLE", "The file of a conversation cannot be read or written; the gateway's log says why."),
    any("INTERNAL", "A defect of the gateway; its log says more."),
    of("EXEC_DENIED", STARTERS, "The rules do not permit the command; `token` names the rule that was broken. Nothing of it ran."),
    of("MODEL_AUTH", STARTERS, "The model's provider refused the gateway's key, or there is none that it takes."),
    of("MODEL_RATE_LIMIT", STARTERS, "The model's provider was asked too much in too short a time, and the fallbacks did not help."),
    of("MODEL_OVERLOADED", STARTERS, "The model's provider has no room now."),
    of("MODEL_CONTEXT_LENGTH", STARTERS, "The conversation is longer than the model's window and cannot be made shorter."),
    of("MODEL_BAD_REQUEST", STARTERS, "The model's provider did not understand the request."),
    of("MODEL_TRANSPORT", STARTERS, "The model's provider could not be reached, or broke off."),
    of("AGENT_FAILED", STARTERS, "What the agent did could not be written down, or it failed inside; nothing more was begun."),
    of(
        "RESOURCE",
        STARTERS,
        "The machine, or a limit of the gateway's, had no process, memory or descriptor left for what the run had to start. Try again when others have ended.",
    ),
    of("STOPPING", STOPPABLE, "The gateway is stopping. Retryable."),
    of("IDEMPOTENCY_CONFLICT", STARTERS, "The idempotency key was used before with other parameters."),
    of("QUEUE_FULL", STARTERS, "As many runs wait as may, in the session or in all. Nothing was accepted. Retryable."),
    of("MESSAGE_REQUIRED", SEND, "Neither a message nor an attachment was given."),
    of("UNKNOWN_QUEUE_MODE", SEND, "`queueMode` is no mode."),
    of("CONFIG_BASE_HASH_REQUIRED", CONFIG_CHANGES, "`baseHash` is missing: send the `hash` of `config.get`."),
    of("CONFIG_BASE_HASH_UNAVAILABLE", CONFIG_CHANGES, "The file cannot be read; `issues` in the details say why."),
    of("CONFIG_CONFLICT", CONFIG_CHANGES, "Somebody else has changed the file since `config.get`."),
    of(
        "CONFIG_INVALID",
        CONFIG_CHANGES,
        "Nothing was saved: a gateway would not start with the result. `issues` in the details name every fault.",
    ),
    of("CONFIG_UNPARSED", CONFIG_CHANGES, "The file on disk does not parse; `force` saves over it."),
    of("CONFIG_SHRINKS", CONFIG_CHANGES, "The text would lose more than its half; `force` saves it all the same."),
    of("CONFIG_MARKER", CONFIG_CHANGES, "A marker for a hidden secret stands at a key for which none is stored."),
    of("CONFIG_PATCH_INVALID", CONFIG_CHANGES, "The patch is no JSON5, or cannot be made on the text; the message says what to do."),
    of("CONFIG_NOT_WRITTEN", CONFIG_CHANGES, "The file system refuses, or another process is writing."),
    of(
        "CONFIG_NOT_APPLIED",
        &["config.apply", "config.patch"],
        "Saved, but not in effect; `issues` in the details say why, such as a port that is taken.",
    ),
    of("CONFIG_KEY_NOT_FOUND", &["config.schema.lookup"], "No such key exists."),
    of(
        "ENV_REFUSED",
        AGENT,
        "A variable of `env` is not taken: its name changes what programs load or run, belongs to the gateway, or `exec.security` is not `full`. The text names it; leave it out.",
    ),
    of("UNKNOWN_CHANNEL", AGENT, "The channel is neither `webchat` nor `last`."),
    of(
        "ATTACHMENT_NOT_TAKEN",
        STARTERS,
        "An attachment is not base64, is empty or larger than `policy.attachments` of hello says; the message says which.",
    ),
    of("AGENT_NOT_FOUND", TARGETED, "No such agent is configured."),
    of("AGENT_MISMATCH", TARGETED, "`agentId` and the session key name different agents."),
    of("RUN_NOT_FOUND", OF_A_RUN, "No run has this id, or it ended more than `retentionMs` ago. Drop what is kept of it."),
    of("INVALID_SESSION_KEY", OF_A_SESSION, "The session key means nothing."),
    of("SESSION_REFUSED", &["sessions.patch", "sessions.create"], "A field cannot be set so; the message says which and why."),
    of("SESSION_NOT_FOUND", &["sessions.resolve", "sessions.create", "chat.inject"], "No session has this name."),
    of("SESSION_AMBIGUOUS", &["sessions.resolve"], "Several sessions have this name; the message lists them."),
    of("SESSION_NAME", &["sessions.resolve"], "Not exactly one of `key`, `sessionId` and `label` was given."),
    of(
        "SESSION_ACTIVE",
        &["sessions.reset", "sessions.delete", "sessions.compact"],
        "A run of the session is at work and did not end in time. Retryable.",
    ),
    of("MAIN_SESSION", &["sessions.delete"], "The default agent's main session cannot be deleted."),
    of("TOO_MANY_WATCHED", &["sessions.messages.subscribe"], "The connection watches as many sessions as it may."),
    of("IMPORT_FAILED", &["sessions.import"], "The file cannot be read as a session store; nothing was changed."),
    of("SEND_DENIED", STARTERS, "`session.sendPolicy` or the session's own `sendPolicy` takes no messages."),
    of("AGENT_EXISTS", &["agents.create"], "There is an agent with the id that the name gives."),
    of("AGENT_RESERVED", &["agents.create", "agents.delete"], "`main` is always there."),
    of("AGENT_BUSY", &["agents.delete"], "A run of the agent is at work. Retryable."),
    of("UNSUPPORTED_FILE", FILES, "The workspace has no file of instructions of this name."),
    of("FILE_REFUSED", FILES, "In the file's place is a link or something else, or it is too large."),
    of("NO_HEARTBEATS", &["set-heartbeats"], "This version has no heartbeats that could be switched on."),
    of("INVALID_CURSOR", &["sessions.list"], "`cursor` is not one that an answer gave."),
    of("TRANSCRIPT_NOT_FOUND", &["chat.inject"], "The session has had no conversation yet."),
    of(
        "CURSOR_AHEAD",
        &["runs.subscribe"],
        "`after` is past the last event (`head`) of a run that is over: what the client has is not of this run. Drop it and subscribe with `after` 0.",
    ),
    of("APPROVAL_NOT_FOUND", OF_AN_APPROVAL, "No approval has this id, or it is so old that it was forgotten."),
    of(
        "APPROVAL_NO_APPROVER",
        ASKED,
        "Somebody would have to allow the command, and nobody is connected who may; nothing of it ran. Connect with `operator.approvals` and another credential, or let `approvals.exec.withoutApprover` wait.",
    ),
    of("TOO_MANY_APPROVALS", ASKS, "As many approvals wait as may. Retryable."),
    of("APPROVAL_ID_TAKEN", ASKS, "There is or was an approval of this id."),
    of("INVALID_DECISION", RESOLVES, "`decision` is none."),
    of("DECISION_UNAVAILABLE", RESOLVES, "This cannot be decided about it: `allowedDecisions` of the approval says what can."),
    of("APPROVAL_RESOLVED", RESOLVES, "Somebody else decided before; `exec.approval.get` says what."),
    of("USED", RESOLVES, "The approval was used: what it was for has started."),
    of("MISMATCH", RESOLVES, "The approval is for another run, or not for what was shown."),
    of("EXPIRED", RESOLVES, "Nobody decided in time."),
    of("CANCELLED", RESOLVES, "What asked is gone: `reason` in the details is `restart`, or why its run ended."),
    of("FORBIDDEN", RESOLVES, "Who asked must not allow it."),
    of("APPROVAL_STALE", DECIDED, "What was to start had changed since it was shown; nothing of it ran."),
    of("APPROVALS_BASE_HASH_REQUIRED", SETS_APPROVALS, "`baseHash` is missing: send the `hash` of `exec.approvals.get`."),
    of("APPROVALS_CONFLICT", SETS_APPROVALS, "Somebody else has changed the file since `exec.approvals.get`."),
    of("APPROVALS_INVALID", SETS_APPROVALS, "The file would say nothing sensible; the message says where."),
    of("APPROVALS_UNAVAILABLE", APPROVALS, "The file or the records of approvals cannot be read or written; the message says why."),
    of("RUN_MISMATCH", &["chat.abort"], "The run belongs to another session."),
];

/// One way in which the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode {
    /// Status code of the close frame.
    pub code: u16,
    /// Its reason, or what the reason says.
    pub reason: &'static str,
    /// When it happens.
    pub meaning: &'static str,
}

const fn close(code: u16, reason: &'static str, meaning: &'static str) -> CloseCode {
    CloseCode { code, reason, meaning }
}

/// Close code and reason with which a daemon that stops leaves its peers.
pub const SERVICE_RESTART: (u16, &str) = (1012, "service restart");

/// Every close of the server.
pub static CLOSE_CODES: &[CloseCode] = &[
    close(1000, "", "The client's own close is answered; or no `connect` came in time; or the first message was not JSON."),
    close(1002, "what was wrong with the frame", "The peer broke RFC 6455; or `protocol mismatch` behind a refused `connect`."),
    close(1003, "binary messages are not taken", "Messages are text."),
    close(1007, "invalid utf-8", "A text message is not UTF-8."),
    close(1008, "the message of the refusal", "`connect` was refused; the answer before it has the particulars."),
    close(1008, "invalid request frame", "The first message was no request."),
    close(1008, "too many invalid frames", "Three messages in a row were not JSON objects."),
    close(1008, "slow consumer", "The peer did not read: a write stalled, or more than `policy.maxBufferedBytes` waited."),
    close(1008, "the gateway's secret has changed", "The configuration has another token or password now; connect again with that."),
    close(
        1008,
        "credential revoked",
        "The token, assertion or device with which the connection came in was taken back or changed; connect again with another.",
    ),
    close(1008, "credential expired", "The time of the token or assertion of this connection is over."),
    close(1008, "pairing required", "The device waits for an approval; connect again in a while."),
    close(1008, "message timed out", "A message was begun and not finished in time."),
    close(1008, "too many fragments", "A message in more frames than allowed."),
    close(1008, "too many pings", "More pings per second than anybody needs."),
    close(1009, "message too big", "Over `policy.maxPreauthPayload` before hello, over `policy.maxPayload` after."),
    close(SERVICE_RESTART.0, SERVICE_RESTART.1, "The daemon stops or restarts; connect again."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_detail_code_stands_twice() {
        let mut names: Vec<_> = DETAIL_CODES.iter().map(|code| code.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DETAIL_CODES.len());
    }
}
