//! The handshake: from a connection's first message to hello, or to the refusal that ends it.
//!
//! Order of checks: frame, method, schema, protocol range, role, scopes, the device's proof, credentials. Every refusal is a [`Refusal`]: the answer, if one is sent, and the close frame behind it. What the client says of itself (id, mode, platform) decides nothing.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::audited;
use super::credentials::{authenticate, mismatch};
use super::devices::{Admitted, Claims};
use super::feeds::{Audience, Feeds};
use super::wire::Peer;
use crate::approvals::desk::Approver;
use crate::auth::device::{self, Expected, Unproven};
use crate::clock::now_ms;
use crate::gateway::access::Counted;
use crate::gateway::devices::Issued;
use crate::gateway::portal::Home;
use crate::gateway::{Gateway, VERSION, presence};
use crate::protocol::connect::{
    AttachmentPolicy, Challenge, ClientMode, ConnectParams, Features, Granted, HelloOk, PROTOCOLS, Policy, ServerInfo, SessionDefaults,
    Snapshot, known_client_id,
};
use crate::protocol::error::RpcError;
use crate::protocol::event::EVENTS;
use crate::protocol::event::presence::PresenceEntry;
use crate::protocol::frame::{self, Request};
use crate::protocol::ids::ConnId;
use crate::protocol::ready::Ready;
use crate::protocol::scope::{Scope, ScopeSet};
use crate::protocol::strict;
use crate::rpc::call::Caller;
use crate::rpc::committed;
use crate::rpc::dispatch::Router;
use crate::rpc::validate::Checker;
use crate::runs::inside::Place;
use crate::sessions::key;

/// Scopes that clients of protocol 4 ask for and that have no meaning here; they are not granted.
const FOREIGN_SCOPES: [&str; 3] = ["operator.talk.secrets", "operator.questions", "operator.sessions."];

/// A connection's first message and what is known of the connection.
pub struct Arrival<'a> {
    /// The gateway.
    pub gateway: &'a Arc<Gateway>,
    /// Who is at the other end.
    pub peer: &'a Peer,
    /// The challenge's nonce.
    pub nonce: &'a str,
    /// Cancelled when the connection ends.
    pub closed: &'a CancellationToken,
}

/// A connection that was let in.
pub struct Welcome {
    /// Who it is.
    pub caller: Arc<Caller>,
    /// The `res` frame with hello.
    pub hello: Vec<u8>,
    /// What it listens to.
    pub feeds: Feeds,
    /// Its presence.
    pub presence: presence::Guard,
    /// Its place among those who may decide about commands, if it may.
    pub approver: Option<Approver>,
    /// Its place in the count of connections.
    pub counted: Counted,
}

/// A connection that was not.
#[derive(Debug)]
pub struct Refusal {
    /// The `res` frame, if one is sent.
    pub answer: Option<Vec<u8>>,
    /// Close code.
    pub code: u16,
    /// Close reason.
    pub reason: String,
}

impl Refusal {
    fn silent(code: u16, reason: &str) -> Self {
        Self { answer: None, code, reason: reason.to_owned() }
    }

    fn answered(id: &str, code: u16, error: &RpcError) -> Self {
        Self { answer: Some(frame::res_error(id, error)), code, reason: error.message.clone().into_owned() }
    }
}

/// The `connect.challenge` frame.
#[must_use]
pub fn challenge(gateway: &Gateway, nonce: &str) -> Vec<u8> {
    let challenge = Challenge { nonce: nonce.to_owned(), ts: now_ms(), gateway_id: gateway.id.clone() };
    let mut event = frame::event_start("connect.challenge", &challenge);
    frame::event_end(None, None, &mut event);
    event
}

static CHECKER: LazyLock<Option<Checker>> = LazyLock::new(|| committed::checker("connect").ok());

/// Judges the first message. `subscribe` makes the feeds of a connection that may or may not read.
///
/// # Errors
/// The refusal.
pub async fn connect(arrival: &Arrival<'_>, text: &str, subscribe: impl FnOnce(Audience) -> Feeds) -> Result<Welcome, Refusal> {
    // Both versions' frames are read here: the version is not agreed on yet.
    let request = frame::parse(text, PROTOCOLS.1).map_err(|malformed| {
        if malformed.not_an_object && serde_json::from_str::<Value>(text).is_err() {
            Refusal::silent(1000, "")
        } else {
            Refusal::silent(1008, "invalid request frame")
        }
    })?;
    let refuse = |code, error: RpcError| Refusal::answered(&request.id, code, &error);
    if request.method != "connect" {
        let text = "invalid handshake: first request must be connect";
        return Err(refuse(1008, RpcError::invalid(text).with_code("CONNECT_FIRST")));
    }
    let params = parse_params(&request).map_err(|error| refuse(1008, error))?;
    let protocol = negotiate(&params).map_err(|error| refuse(1002, error))?;
    let role = role_of(&params).map_err(|error| refuse(1008, error))?;
    let wanted = wanted_scopes(&params).map_err(|error| refuse(1008, error))?;
    let turned_away = |error: RpcError| {
        audited::turned_away(arrival, &params, &error);
        refuse(1008, error)
    };
    let device = prove_device(arrival, &params).map_err(|unproven| turned_away(unproven.into()))?;
    let claims = Claims { device, role, wanted };
    let Admitted { mut verified, issued } = authenticate(arrival.gateway, arrival.peer, &params, claims).await.map_err(turned_away)?;
    if let Peer::Local { pid, .. } = arrival.peer
        && let Place::Inside(run_id) = arrival.gateway.runs.place_of(*pid)
    {
        // A command of a run is nobody's hand: what it may decide about is what it was started for.
        verified.principal = run_id.map_or_else(|| "run".into(), |run_id| format!("run:{run_id}").into());
        verified.granted = ScopeSet::of(&[Scope::Read, Scope::Write]);
    }
    let lease = verified.lease(now_ms(), Instant::now());
    let home = verified.confined.then(|| Home::of(arrival.gateway, &verified.credential)).flatten();
    // The record of the credential says how much of what is asked for is given; a node role has no scopes.
    let scopes = if role == "operator" { wanted.granted_by(verified.granted) } else { ScopeSet::NONE };
    let caller = Arc::new(Caller {
        conn_id: ConnId::fresh(),
        sees_all: verified.granted.allows(Scope::Admin),
        home,
        principal: verified.principal,
        credential: verified.credential,
        address: audited::address(arrival.peer),
        expires_at: verified.expires_at,
        lease: lease.clone(),
        device: device.map(Arc::from),
        role,
        scopes,
        protocol,
        tool_events: params.caps.as_ref().is_some_and(|caps| caps.iter().any(|cap| cap == "tool-events")),
        watching: Arc::default(),
        order: tokio::sync::Mutex::default(),
        closed: arrival.closed.child_token(),
    });
    let only = (!caller.sees_all).then(|| Arc::clone(&caller.principal));
    let feeds = subscribe(Audience { scopes, only, confined: caller.home.is_some(), lease });
    // Whose credential was taken back just before this may have missed the signal.
    if caller.lease.ended(Instant::now()).is_some() {
        return Err(refuse(1008, mismatch(arrival.gateway, &params)));
    }
    audited::let_in(arrival, &params, &caller, device);
    let counted = arrival.gateway.access.count();
    let decides = scopes.allows(Scope::Approvals).then(|| arrival.gateway.approvals.join(&caller.conn_id.0, Arc::clone(&caller.principal)));
    // Commands come and go too fast to be worth showing.
    let shown = (params.client.mode != ClientMode::Cli).then(|| entry_of(&params, &caller, arrival.peer, device));
    let presence = arrival.gateway.presence.join(&caller.conn_id, shown);
    let hello = hello(arrival.gateway, &caller, issued);
    let body = serde_json::to_vec(&hello).unwrap_or_default();
    Ok(Welcome { hello: frame::res_ok(&request.id, &body), caller, feeds, presence, approver: decides, counted })
}

fn parse_params(request: &Request<'_>) -> Result<ConnectParams, RpcError> {
    let invalid = |problem: String| RpcError::invalid(format!("invalid connect params: {problem}")).with_code("INVALID_PARAMS");
    let value = match request.params {
        None => json!({}),
        Some(raw) => strict::from_json(raw.get()).map_err(|error| invalid(error.to_string()))?,
    };
    let checker = CHECKER.as_ref().ok_or_else(|| RpcError::unavailable("internal error", "the connect schema does not compile"))?;
    checker.check(&value).map_err(invalid)?;
    let params: ConnectParams = serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
    if !known_client_id(&params.client.id) {
        return Err(invalid("at /client/id: must be a known client id such as \"SKYKOI-control-ui\", \"webchat-ui\", \"cli\", \"gateway-client\" or \"test\"".to_owned()));
    }
    Ok(params)
}

/// The highest version that both sides speak.
fn negotiate(params: &ConnectParams) -> Result<u32, RpcError> {
    let (lowest, highest) = PROTOCOLS;
    let version = params.max_protocol.min(highest);
    if version >= params.min_protocol && version >= lowest {
        return Ok(version);
    }
    Err(RpcError::invalid("protocol mismatch")
        .with_code("PROTOCOL_MISMATCH")
        .with_detail("expectedProtocol", json!(if params.max_protocol < lowest { lowest } else { highest }))
        .with_detail("minimumProtocol", json!(lowest))
        .with_detail("clientMinProtocol", json!(params.min_protocol))
        .with_detail("clientMaxProtocol", json!(params.max_protocol)))
}

fn role_of(params: &ConnectParams) -> Result<&'static str, RpcError> {
    match params.role.as_deref() {
        None | Some("operator") => Ok("operator"),
        Some("node") => Ok("node"),
        Some(_) => Err(RpcError::invalid("invalid role").with_code("INVALID_ROLE")),
    }
}

/// Absent = read and write; an empty list = read.
fn wanted_scopes(params: &ConnectParams) -> Result<ScopeSet, RpcError> {
    let Some(names) = &params.scopes else { return Ok(ScopeSet::of(&[Scope::Read, Scope::Write])) };
    if names.is_empty() {
        return Ok(ScopeSet::of(&[Scope::Read]));
    }
    let mut scopes = Vec::new();
    for name in names {
        match Scope::parse(name) {
            Some(scope) => scopes.push(scope),
            None if FOREIGN_SCOPES.iter().any(|foreign| name.starts_with(foreign)) => {}
            None => {
                let text = format!("invalid connect params: at /scopes: unknown scope '{}'", frame::short(name));
                return Err(RpcError::invalid(text).with_code("UNKNOWN_SCOPE"));
            }
        }
    }
    Ok(ScopeSet::of(&scopes))
}

/// The id of the device that the client has proved to be, if it says to be one.
fn prove_device<'p>(arrival: &Arrival<'_>, params: &'p ConnectParams) -> Result<Option<&'p str>, Unproven> {
    let without_nonce = arrival.gateway.loaded().config.gateway.auth.legacy_device_payload;
    device::verify(params, &Expected { nonce: arrival.nonce, gateway_id: &arrival.gateway.id, now_ms: now_ms(), without_nonce })
}

fn entry_of(params: &ConnectParams, caller: &Caller, peer: &Peer, device: Option<&str>) -> PresenceEntry {
    let client = &params.client;
    let ip = match peer {
        Peer::Tcp { addr, .. } => Some(addr.to_string()),
        Peer::Local { .. } => None,
    };
    let name = client.display_name.clone().unwrap_or_else(|| client.id.clone());
    PresenceEntry {
        ts: now_ms(),
        text: Some(format!("{name} · app {} · mode {}", client.version, client.mode.name())),
        host: Some(name),
        ip,
        version: Some(client.version.clone()),
        platform: Some(client.platform.clone()),
        device_family: client.device_family.clone(),
        model_identifier: client.model_identifier.clone(),
        mode: Some(client.mode.name().into()),
        reason: Some("connect".into()),
        last_input_seconds: None,
        tags: Vec::new(),
        device_id: device.map(str::to_owned),
        roles: vec![caller.role],
        scopes: caller.scopes.names(),
        instance_id: client.instance_id.clone(),
    }
}

fn hello(gateway: &Gateway, caller: &Caller, issued: Option<Issued>) -> HelloOk {
    let loaded = gateway.loaded();
    let config = &loaded.config;
    let limits = &config.gateway.limits;
    let attachments = crate::chat::attachments::Limits::of_payload(limits.max_payload);
    let home = caller.home.as_ref();
    let default_agent_id = home.map_or_else(|| gateway.agents().default_id().clone(), |home| home.agent.clone());
    // A user of a portal is told of its own session and nothing of the machine.
    let path = |path: &std::path::Path| if home.is_some() { String::new() } else { path.display().to_string() };
    let model_configured = gateway.default_model(&default_agent_id).model.is_some();
    HelloOk {
        kind: "hello-ok",
        protocol: caller.protocol,
        server: ServerInfo {
            version: VERSION.to_owned(),
            host: gateway.host.clone(),
            conn_id: caller.conn_id.clone(),
            boot_id: gateway.boot_id.clone(),
        },
        features: Features { methods: Router::names(), events: EVENTS.iter().map(|event| event.name).collect() },
        snapshot: Snapshot {
            presence: if home.is_some() { Vec::new() } else { gateway.presence.snapshot() },
            health: if home.is_some() { Ready::withheld() } else { gateway.health_summary() },
            state_version: gateway.hub.versions(),
            uptime_ms: gateway.uptime_ms(),
            config_path: path(&loaded.path),
            state_dir: path(&loaded.paths.state_dir),
            session_defaults: SessionDefaults {
                main_session_key: home.map_or_else(|| gateway.sessions.settings().main_key(&default_agent_id), |home| home.session.clone()),
                default_agent_id,
                main_key: key::MAIN,
                scope: config.session.scope.name(),
                model_configured: (caller.protocol >= 4).then_some(model_configured),
            },
            auth_mode: gateway.access.mode(),
            applied_config_hash: loaded.hash.clone().filter(|_| caller.protocol >= 4),
        },
        // Clients of protocol 3 know the block only with a token in it.
        auth: (caller.protocol >= 4 || issued.is_some()).then(|| Granted {
            role: caller.role,
            scopes: caller.scopes.names(),
            issued_at_ms: issued.is_some().then(now_ms),
            device_token: issued.map(|issued| issued.token),
        }),
        policy: Policy {
            max_payload: limits.max_payload,
            max_buffered_bytes: limits.max_buffered_bytes,
            tick_interval_ms: limits.tick_interval_ms,
            max_preauth_payload: limits.max_preauth_payload,
            handshake_timeout_ms: limits.handshake_timeout_ms,
            ping_interval_ms: limits.ping_interval_ms,
            pong_timeout_ms: limits.pong_timeout_ms,
            max_in_flight: limits.max_calls_per_connection,
            attachments: AttachmentPolicy { max_bytes: attachments.max_bytes, max_image_bytes: attachments.max_image_bytes },
        },
        safe_mode: gateway.in_safe_mode(),
    }
}
