//! What a user of a portal may ask for. The portal says who the user is; the session and the directory follow from that, and no parameter can name another.
//!
//! A method is open to such users only with a row here, and of its parameters only those in the row: what nobody has thought about is closed.

use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use super::call::Call;
use crate::gateway::portal::Home;
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;
use crate::sessions::key::MAIN;
use crate::store::record::NewRun;

/// A method that is open to users of a portal.
struct Open {
    method: &'static str,
    /// Whether it takes the session in `sessionKey`.
    in_session: bool,
    /// Its other parameters that a user may set.
    params: &'static [&'static str],
}

const fn open(method: &'static str, in_session: bool, params: &'static [&'static str]) -> Open {
    Open { method, in_session, params }
}

const OPEN: &[Open] = &[
    open("agent", true, &["message", "idempotencyKey", "timeout", "label", "attachments"]),
    open("agent.wait", false, &["runId", "timeoutMs"]),
    open("chat.send", true, &["message", "idempotencyKey", "timeoutMs", "attachments"]),
    open("chat.abort", true, &["runId"]),
    open("chat.history", true, &["limit", "offset", "maxBytes", "maxChars"]),
    open("chat.message.get", true, &["messageId", "maxChars"]),
    open("runs.get", false, &["runId"]),
    open("runs.list", false, &["status", "limit", "cursor"]),
    open("runs.subscribe", false, &["runId", "after"]),
    open("runs.unsubscribe", false, &["runId"]),
    open("runs.abort", false, &["runId"]),
];

/// Whether a method exists for users of a portal.
#[must_use]
pub fn is_open(method: &str) -> bool {
    OPEN.iter().any(|open| open.method == method)
}

/// Puts the user's session into the parameters of a call.
///
/// # Errors
/// They name another session, or something that is not the user's to choose.
pub fn confine(home: &Home, method: &str, params: &mut Value) -> Result<(), RpcError> {
    let (Some(open), Some(object)) = (OPEN.iter().find(|open| open.method == method), params.as_object_mut()) else {
        return Ok(());
    };
    for (name, value) in object.iter() {
        let own = name == "sessionKey" && value.as_str().is_some_and(|key| key == home.session.as_str() || key == MAIN);
        if !(own || open.params.contains(&name.as_str())) {
            let text = format!("invalid {method} params: at /{}: follows from who the user is and cannot be chosen", short(name));
            return Err(RpcError::invalid(text).with_code("NOT_YOURS_TO_CHOOSE"));
        }
    }
    if open.in_session {
        object.insert("sessionKey".to_owned(), json!(home.session));
    }
    Ok(())
}

/// Sees to it that a user of a portal has one run at a time. Hold what it gives until the run is accepted. A request that was made before passes: it is answered with its run.
///
/// # Errors
/// `BUSY` with the id of the run at work; the store cannot be read.
pub async fn alone<'c>(cx: &'c Call, new: &NewRun) -> Result<Option<MutexGuard<'c, ()>>, RpcError> {
    let Some(home) = &cx.caller.home else { return Ok(None) };
    let held = cx.gateway.turnstile.pass(&home.session).await;
    let lives = cx.gateway.runs.live_of(&home.session);
    // Who has seen the last event of a run may begin the next one, although the store is still being told of the end.
    let Some(active) = lives.iter().find(|live| live.ended().is_none() && !live.log.is_finished()) else { return Ok(held) };
    let known = cx.gateway.runs.known_request(new.clone()).await?;
    if known.is_some() {
        return Ok(held);
    }
    let error = RpcError::try_again("another run of this user is at work", 1000).with_code("BUSY");
    Err(error.with_detail("runId", json!(active.record.run_id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ids::{AgentId, SessionKey};
    use crate::rpc::method::Effect;
    use crate::rpc::methods::METHODS;

    fn home() -> Home {
        Home { agent: AgentId::from("koi"), session: SessionKey::from("agent:koi:user:ab"), directory: "users/ab".into() }
    }

    #[test]
    fn mk01_a_user_names_no_session_but_its_own_and_nothing_else_that_is_not_its_to_choose() {
        for own in [json!({}), json!({ "sessionKey": "main" }), json!({ "sessionKey": "agent:koi:user:ab" })] {
            let mut params = own;
            params["message"] = json!("id");
            confine(&home(), "agent", &mut params).unwrap();
            assert_eq!(params["sessionKey"], "agent:koi:user:ab");
        }
        for (name, value) in [
            ("sessionKey", json!("agent:koi:main")),
            ("sessionKey", json!("agent:koi:user:cd")),
            ("sessionKey", json!("user:ab")),
            ("sessionKey", json!("")),
            ("sessionKey", json!(null)),
            ("sessionKey", json!(["main"])),
            ("agentId", json!("koi")),
            ("sessionId", json!("x")),
            ("to", json!("x")),
            ("channel", json!("webchat")),
            ("extraSystemPrompt", json!("x")),
            ("cwd", json!("/")),
            ("workspace", json!("/")),
        ] {
            let mut params = json!({ "message": "id" });
            params[name] = value;
            assert!(confine(&home(), "agent", &mut params).is_err(), "{params}");
        }
    }

    #[test]
    fn what_is_open_exists_and_configures_nothing() {
        for open in OPEN {
            let entry = METHODS.iter().find(|entry| entry.name == open.method).unwrap_or_else(|| panic!("{}", open.method));
            assert_ne!(entry.effect, Effect::Configures, "{}", open.method);
            let schema = (entry.params)();
            let known = |name: &str| schema["properties"].get(name).is_some();
            assert!(open.params.iter().all(|name| known(name)), "{}", open.method);
            assert_eq!(open.in_session, known("sessionKey") && open.method != "runs.list", "{}", open.method);
        }
    }
}
