//! A connection to a gateway as a client sees it: handshake, requests with their answers, events.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{CliError, OK, Refusal};
use super::identity::{CLIENT_ID, Home, Identity, Proof, ROLE};
use super::output::Output;
use super::target::Target;
use super::wire::Wire;
use crate::protocol::connect::PROTOCOLS;
use crate::protocol::scope::ScopeSet;

/// How long the gateway may take for its half of the handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// What the gateway sends after the handshake.
#[derive(Debug)]
pub enum Incoming {
    /// An answer to the request with this id.
    Answer(Answer),
    /// An event.
    Event {
        /// Its name.
        name: String,
        /// Its payload.
        payload: Value,
    },
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Id of the request.
    pub id: String,
    /// The payload, `null` if there is none. A refusal can have one too.
    pub payload: Value,
    /// Why not, if it was refused.
    pub refusal: Option<Refusal>,
}

impl Answer {
    /// The payload, or the refusal as an error.
    ///
    /// # Errors
    /// It was refused.
    pub fn into_result(self) -> Result<Value, CliError> {
        self.refusal.map_or(Ok(self.payload), |refusal| Err(CliError::Refused(Box::new(refusal))))
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Frame {
    Res {
        id: String,
        ok: bool,
        #[serde(default)]
        payload: Value,
        #[serde(default)]
        error: Option<Refusal>,
    },
    Event {
        event: String,
        #[serde(default)]
        payload: Value,
    },
}

/// A connection past its handshake.
pub struct Client {
    wire: Wire,
    requests: u64,
    /// A gateway that says nothing for so long is gone.
    silence: Duration,
    target: String,
}

impl Client {
    /// Connects and asks for every scope; what the credential does not grant is left out by the gateway. Where this machine is paired, it comes in as that device.
    ///
    /// # Errors
    /// The gateway cannot be reached or refuses.
    pub async fn connect(target: &Target) -> Result<Self, CliError> {
        let (token, known) = match target {
            Target::Local { .. } => (None, None),
            Target::Remote(remote) => (remote.token.as_deref(), remote.known.as_ref()),
        };
        let Some(known) = known else {
            let (mut client, _) = Self::challenged(target).await?;
            let mut params = params(&ScopeSet::ALL.names(), None);
            if let Some(token) = token {
                merge(&mut params, json!({"auth": {"token": token}}));
            }
            client.hello(&params).await?;
            return Ok(client);
        };
        let lost = || CliError::Denied("this machine's key is gone; pair it again: skykoi-gateway pair --url …".to_owned());
        let identity = Home::find()?.key()?.ok_or_else(lost)?;
        let scopes: Vec<String> = ScopeSet::ALL.names().into_iter().map(str::to_owned).collect();
        let shown =
            Shown { identity: &identity, scopes: &scopes, name: None, token: None, device_token: Some(&known.device_token), code: None };
        let (mut client, challenge) = Self::challenged(target).await?;
        if challenge.gateway_id != known.gateway_id {
            return Err(CliError::Denied(format!(
                "{} is another gateway than the one that this machine was paired with: nothing was shown to it. If it was set up anew, pair again: skykoi-gateway pair --url …",
                client.target
            )));
        }
        client.hello(&shown.params(&challenge)).await?;
        Ok(client)
    }

    /// Connects as this machine's device, with what it has to show. Gives hello and the gateway's id.
    ///
    /// # Errors
    /// The gateway cannot be reached or refuses, also because the device must be approved first.
    pub async fn connect_device(target: &Target, shown: &Shown<'_>) -> Result<(Value, String), CliError> {
        let (mut client, challenge) = Self::challenged(target).await?;
        let hello = client.hello(&shown.params(&challenge)).await?;
        Ok((hello, challenge.gateway_id))
    }

    /// A connection that has read its challenge.
    async fn challenged(target: &Target) -> Result<(Self, Challenge), CliError> {
        let wire = Wire::open(target).await?;
        let mut client = Self { wire, requests: 0, silence: HANDSHAKE_LIMIT, target: target.describe() };
        match client.next().await? {
            Incoming::Event { name, payload } if name == "connect.challenge" => {
                let challenge = serde_json::from_value(payload).map_err(|error| CliError::Protocol(error.to_string()))?;
                Ok((client, challenge))
            }
            other => Err(CliError::Protocol(format!("{other:?} instead of a challenge"))),
        }
    }

    /// Says `connect` and takes hello.
    async fn hello(&mut self, params: &Value) -> Result<Value, CliError> {
        let client = self;
        let hello = client.call("connect", params).await?;
        if hello.get("type").and_then(Value::as_str) != Some("hello-ok") {
            return Err(CliError::Protocol("the answer to `connect` is no hello-ok".to_owned()));
        }
        let tick_ms = hello.pointer("/policy/tickIntervalMs").and_then(Value::as_u64).unwrap_or(30_000);
        // Two ticks may be missed, as existing clients do it; one more second for a busy machine.
        client.silence = Duration::from_millis(tick_ms.saturating_mul(2).saturating_add(1000));
        Ok(hello)
    }

    /// Sends a request and returns its id; the answer comes through [`Self::next`].
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, method: &str, params: &impl Serialize) -> Result<String, CliError> {
        self.requests += 1;
        let id = self.requests.to_string();
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        if self.wire.send(frame.to_string()).await { Ok(id) } else { Err(self.lost("closed the connection")) }
    }

    /// Sends a request and waits for its (first) answer. What else comes meanwhile is left out.
    ///
    /// # Errors
    /// It is refused, or the connection is gone.
    pub async fn call(&mut self, method: &str, params: &impl Serialize) -> Result<Value, CliError> {
        let id = self.send(method, params).await?;
        loop {
            if let Incoming::Answer(answer) = self.next().await?
                && answer.id == id
            {
                return answer.into_result();
            }
        }
    }

    /// The next answer or event. Losing the future before it is ready loses nothing.
    ///
    /// # Errors
    /// The connection is gone or makes no sense.
    pub async fn next(&mut self) -> Result<Incoming, CliError> {
        let text = match tokio::time::timeout(self.silence, self.wire.next()).await {
            Ok(Some(text)) => text,
            Ok(None) => return Err(self.lost("closed the connection")),
            Err(_) => return Err(self.lost("has gone silent")),
        };
        match serde_json::from_str(&text) {
            Ok(Frame::Event { event, payload }) => Ok(Incoming::Event { name: event, payload }),
            Ok(Frame::Res { id, ok, payload, error }) => {
                let refusal = match (ok, error) {
                    (true, _) => None,
                    (false, Some(refusal)) => Some(refusal),
                    (false, None) => return Err(CliError::Protocol("a refusal without an error".to_owned())),
                };
                Ok(Incoming::Answer(Answer { id, payload, refusal }))
            }
            Err(error) => Err(CliError::Protocol(error.to_string())),
        }
    }

    fn lost(&self, how: &str) -> CliError {
        CliError::Unreachable(format!("{} {how}", self.target))
    }
}

/// What a gateway says first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Challenge {
    nonce: String,
    /// Absent in other servers of the protocol.
    #[serde(default)]
    gateway_id: String,
}

/// What this machine shows to be let in as a device.
pub struct Shown<'a> {
    /// Its key.
    pub identity: &'a Identity,
    /// The scopes that it asks for.
    pub scopes: &'a [String],
    /// What it is called.
    pub name: Option<&'a str>,
    /// The gateway's token, where that is needed too.
    pub token: Option<&'a str>,
    /// Its own token.
    pub device_token: Option<&'a str>,
    /// A setup code.
    pub code: Option<&'a str>,
}

impl Shown<'_> {
    /// The parameters of `connect`, signed for this challenge.
    fn params(&self, challenge: &Challenge) -> Value {
        let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        let mut params = params(&scopes, self.name);
        let shown = [("token", self.token), ("deviceToken", self.device_token), ("bootstrapToken", self.code)];
        let token = shown.iter().find_map(|(_, value)| *value).unwrap_or_default();
        for (key, value) in shown.iter().filter_map(|(key, value)| Some((*key, (*value)?))) {
            merge(&mut params, json!({"auth": {key: value}}));
        }
        let proof = Proof { nonce: &challenge.nonce, gateway_id: &challenge.gateway_id, scopes: &scopes, token };
        merge(&mut params, json!({"device": self.identity.prove(&proof)}));
        params
    }
}

/// The parameters of `connect` without anything secret.
fn params(scopes: &[&str], name: Option<&str>) -> Value {
    let mut params = json!({
        "minProtocol": PROTOCOLS.0,
        "maxProtocol": PROTOCOLS.1,
        "client": {"id": CLIENT_ID, "mode": "cli", "version": env!("CARGO_PKG_VERSION"), "platform": std::env::consts::OS},
        "role": ROLE,
        "scopes": scopes,
    });
    if let Some(name) = name {
        merge(&mut params, json!({"client": {"displayName": name}}));
    }
    params
}

/// Puts the keys of `more` into `base`, objects into objects.
fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}

/// One call, its answer shown as JSON or as `text` words it.
///
/// # Errors
/// The gateway cannot be reached or refuses, or the output cannot be written.
pub async fn ask(
    target: &Target,
    method: &str,
    params: &Value,
    as_json: bool,
    text: fn(&Value) -> String,
    out: &mut Output<'_>,
) -> Result<u8, CliError> {
    let answer = Client::connect(target).await?.call(method, params).await?;
    out.line(&if as_json { answer.to_string() } else { text(&answer) })?;
    Ok(OK)
}
