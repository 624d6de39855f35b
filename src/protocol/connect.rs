//! The handshake: challenge, `connect` parameters, `hello-ok`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::health::HealthSummary;
use super::event::presence::PresenceEntry;
use super::frame::StateVersion;
use super::ids::{AgentId, ConnId, SessionKey};
use super::ready::Ready;

/// Protocol versions this server speaks, lowest and highest.
pub const PROTOCOLS: (u32, u32) = (3, 4);

/// Payload of the `connect.challenge` event, the first frame on every connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// Unique to the connection; a device signs it.
    pub nonce: String,
    /// Server time in ms since the epoch.
    pub ts: u64,
    /// The gateway's id, the same for as long as it keeps its key. A device that signs it too proves itself to this gateway only.
    pub gateway_id: String,
}

/// Open a connection. Must be the first request.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectParams {
    /// Lowest protocol version the client speaks.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_protocol: u32,
    /// Highest protocol version the client speaks.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_protocol: u32,
    /// What the client says it is; decides no right.
    pub client: ClientInfo,
    /// Capabilities; `tool-events` has a meaning.
    #[serde(default)]
    pub caps: Option<Vec<String>>,
    /// Commands of a node.
    #[serde(default)]
    pub commands: Option<Vec<String>>,
    /// Permissions of a node.
    #[serde(default)]
    pub permissions: Option<std::collections::BTreeMap<String, bool>>,
    /// Search path of a node.
    #[serde(default)]
    pub path_env: Option<String>,
    /// `operator` (default) or `node`.
    #[serde(default)]
    pub role: Option<String>,
    /// Wanted scopes; absent means read and write, an empty list means read.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Identity of the device.
    #[serde(default)]
    pub device: Option<DeviceIdentity>,
    /// Credentials.
    #[serde(default)]
    pub auth: Option<Credentials>,
    /// Language tag.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub locale: Option<String>,
    /// Browser's user agent.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub user_agent: Option<String>,
}

/// What a client says it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientInfo {
    /// One of the known client ids, in any case and with any brand prefix.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// One of the known modes.
    pub mode: ClientMode,
    /// Version of the client.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// Operating system or browser.
    #[schemars(length(min = 1, max = 128))]
    pub platform: String,
    /// Name to show.
    #[serde(default)]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,
    /// Kind of device.
    #[serde(default)]
    #[schemars(length(min = 1, max = 128))]
    pub device_family: Option<String>,
    /// Model of device.
    #[serde(default)]
    #[schemars(length(min = 1, max = 128))]
    pub model_identifier: Option<String>,
    /// Unique to the installation.
    #[serde(default)]
    #[schemars(length(min = 1, max = 128))]
    pub instance_id: Option<String>,
    /// Build of the client (protocol 4).
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub build_id: Option<String>,
    /// Time zone of the client (protocol 4).
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub time_zone: Option<String>,
}

/// How a client works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientMode {
    /// A web page with a chat.
    Webchat,
    /// A command line.
    Cli,
    /// A user interface.
    Ui,
    /// Another server.
    Backend,
    /// A node.
    Node,
    /// A health check.
    Probe,
    /// A test.
    Test,
    /// The same as `ui`.
    Operator,
    /// A worker (protocol 4).
    Worker,
}

impl ClientMode {
    /// The name under which the mode is shown: the two names of `ui` are one.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self == Self::Operator { "ui" } else { self.as_sent() }
    }

    /// The name on the wire, which a device signs.
    #[must_use]
    pub fn as_sent(self) -> &'static str {
        match self {
            Self::Webchat => "webchat",
            Self::Cli => "cli",
            Self::Ui => "ui",
            Self::Operator => "operator",
            Self::Backend => "backend",
            Self::Node => "node",
            Self::Probe => "probe",
            Self::Test => "test",
            Self::Worker => "worker",
        }
    }
}

/// Client ids that stand alone.
const PLAIN_IDS: [&str; 7] = ["webchat-ui", "webchat", "cli", "gateway-client", "node-host", "test", "fingerprint"];
/// Client ids that follow a brand prefix.
const BRANDED_IDS: [&str; 10] = ["control-ui", "macos", "ios", "android", "probe", "tui", "linux", "watchos", "worker", "browser-copilot"];
/// The brand prefixes.
const BRANDS: [&str; 2] = ["skykoi-", "openclaw-"];

/// Whether `id` is a known client id, in any case.
#[must_use]
pub fn known_client_id(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    let bare = BRANDS.iter().find_map(|brand| id.strip_prefix(brand));
    PLAIN_IDS.contains(&id.as_str()) || bare.is_some_and(|bare| BRANDED_IDS.contains(&bare))
}

/// A device's proof of who it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceIdentity {
    /// Lower-case hex SHA-256 of the raw public key.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// Ed25519 public key, base64url or PEM.
    #[schemars(length(min = 1, max = 1024))]
    pub public_key: String,
    /// Signature, base64url.
    #[schemars(length(min = 1, max = 1024))]
    pub signature: String,
    /// When it was signed, ms since the epoch.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991u64))]
    pub signed_at: u64,
    /// The challenge's nonce.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub nonce: Option<String>,
}

/// Secrets of a client. They are compared and forgotten.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// The gateway's token.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    pub token: Option<String>,
    /// The gateway's secret in the other field that existing clients use.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    pub password: Option<String>,
    /// Token of a paired device, as hello gave it.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    pub device_token: Option<String>,
    /// A setup code, as `device.pair.setup` gave it: lets the first device in that shows it.
    #[serde(default)]
    #[schemars(length(max = 8192))]
    pub bootstrap_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Answer to `connect`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HelloOk {
    /// Always `hello-ok`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The protocol version spoken from here on.
    pub protocol: u32,
    /// The server.
    pub server: ServerInfo,
    /// What the server can do.
    pub features: Features,
    /// State at this moment.
    pub snapshot: Snapshot,
    /// What was granted; always on protocol 4, and on protocol 3 with a new token of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Granted>,
    /// Limits to keep.
    pub policy: Policy,
    /// `true` in safe mode: earlier daemons crashed, so runs that were found queued are held for a while. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub safe_mode: bool,
}

/// The server's identity.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// Version of the program.
    pub version: String,
    /// Host name.
    pub host: String,
    /// This connection.
    pub conn_id: ConnId,
    /// Changes with every start of the daemon.
    pub boot_id: String,
}

/// Methods and events that work.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Features {
    /// Method names.
    pub methods: Vec<&'static str>,
    /// Event names.
    pub events: Vec<&'static str>,
}

/// State at the time of hello.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Who is connected, newest first; the newcomer included.
    pub presence: Vec<PresenceEntry>,
    /// Health of the gateway.
    pub health: Ready<HealthSummary>,
    /// Versions of the two.
    pub state_version: StateVersion,
    /// How long the daemon has been up.
    pub uptime_ms: u64,
    /// The configuration file.
    pub config_path: String,
    /// The state directory.
    pub state_dir: String,
    /// How short session keys are completed.
    pub session_defaults: SessionDefaults,
    /// How clients authenticate.
    pub auth_mode: &'static str,
    /// Hash of the configuration in effect, as `config.get` gives it; from protocol 4 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_config_hash: Option<String>,
}

/// How the server completes a session key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionDefaults {
    /// The agent of keys that name none.
    pub default_agent_id: AgentId,
    /// The short key of an agent's main session.
    pub main_key: &'static str,
    /// The default agent's main session.
    pub main_session_key: SessionKey,
    /// `per-sender` or `global`.
    pub scope: String,
    /// Whether the default agent has a model; from protocol 4 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_configured: Option<bool>,
}

/// What a connection may do.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    /// The role.
    pub role: &'static str,
    /// Effective scopes.
    pub scopes: Vec<&'static str>,
    /// A new token of this device, to be kept and shown as `auth.deviceToken` (or `auth.token`) from now on. Good only with the device's signature; the gateway cannot show it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
    /// When it was made, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at_ms: Option<u64>,
}

/// Without the token.
impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Granted").field("role", &self.role).field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// Limits of a connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Largest message that is read, in bytes.
    pub max_payload: usize,
    /// Unsent bytes after which a connection counts as slow.
    pub max_buffered_bytes: usize,
    /// Time between ticks.
    pub tick_interval_ms: u64,
    /// Largest message before hello, in bytes.
    pub max_preauth_payload: usize,
    /// Time to complete the handshake.
    pub handshake_timeout_ms: u64,
    /// Time between pings.
    pub ping_interval_ms: u64,
    /// Time in which a ping must be answered.
    pub pong_timeout_ms: u64,
    /// Requests served at once on one connection.
    pub max_in_flight: usize,
    /// Limits of attachments.
    pub attachments: AttachmentPolicy,
}

/// Limits of attachments, in bytes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentPolicy {
    /// All together.
    pub max_bytes: usize,
    /// One image.
    pub max_image_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_match_in_any_case_and_brand() {
        for id in ["SKYKOI-control-ui", "skykoi-control-ui", "openclaw-control-ui", "cli", "WebChat-UI", "openclaw-browser-copilot"] {
            assert!(known_client_id(id), "{id}");
        }
        for id in ["control-ui", "evil", "", "skykoi-", "skykoi-cli"] {
            assert!(!known_client_id(id), "{id}");
        }
    }

    #[test]
    fn credentials_never_print() {
        let credentials: Credentials = serde_json::from_str(r#"{"token":"hunter2"}"#).unwrap();
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
