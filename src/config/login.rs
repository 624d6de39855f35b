//! Section `gateway.auth`: who may connect, and with what. The rules that join its keys are in `login_rules.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::section::{section, words};
use crate::protocol::scope::Scope;

words! {
    /// Which shared secret opens the gateway.
    enum AuthMode {
        /// `gateway.auth.token`.
        Token,
        /// `gateway.auth.password`.
        Password,
    }
}

section! {
    /// Who may connect.
    struct Auth {
        /// Which secret is asked for; when absent, `password` if only a password is set, else `token`.
        mode: Option<AuthMode>,
        /// The shared token, at least 16 characters; it grants every scope. Flag `--token-file`, environment `SKYKOI_GATEWAY_TOKEN`.
        token: Option<Secret<String>>,
        /// The shared password: at least 12 characters, or the hash of one that `token password` prints (argon2id). Environment `SKYKOI_GATEWAY_PASSWORD`.
        password: Option<Secret<String>>,
        /// Tokens with a name and scopes of their own. `token new NAME` adds one.
        tokens: Vec<NamedToken>,
        /// Users of a portal come with assertions that it signs.
        jwt: Option<Jwt>,
        /// Tailscale identities as a login; only `false` starts.
        allow_tailscale: Option<bool>,
        /// Limits failed logins per address. Loopback is limited like any other address, since a reverse proxy stands there.
        rate_limit: RateLimit,
        /// Accepts device signatures made without the server's nonce. They can be replayed; only for old clients.
        legacy_device_payload: bool = false,
    }
}

/// A token with a name and scopes of its own. Who comes with it sees and aborts its own runs only, unless it has the scope `operator.admin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedToken {
    /// Its name: a letter or digit, then up to 63 letters, digits, `-` or `_`. Runs belong to it.
    pub name: String,
    /// Its hash: `sha256:` and 64 hex digits. Either this or `token`.
    pub hash: Option<Secret<String>>,
    /// The token itself, at least 32 characters.
    pub token: Option<Secret<String>>,
    /// What it grants at most.
    pub scopes: Vec<Scope>,
    /// When it ends, such as `2027-01-01T00:00:00Z`; never when absent.
    pub expires_at: Option<String>,
    /// Whether its holder has one session and one directory of its own and hears of nothing else, as a user of a portal does. Without it, who has the scope `operator.read` reads the conversations of all sessions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confined: bool,
}

/// How an assertion is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlg {
    /// Ed25519, with the portal's public key.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// HMAC with SHA-256 and a secret that both sides know.
    #[serde(rename = "HS256")]
    Hs256,
}

section! {
    /// Users of a portal: assertions (JWT) in `auth.token`. The session and the directory of a user follow from `sub`; a request chooses neither.
    struct Jwt {
        /// The one way of signing that is accepted.
        alg: Option<JwtAlg>,
        /// With `EdDSA`: the portal's public key, its 32 bytes in base64url.
        public_key: Option<String>,
        /// With `HS256`: the secret, at least 32 bytes.
        secret: Option<Secret<String>>,
        /// What `iss` must be.
        issuer: Option<String>,
        /// What `aud` must be or hold.
        audience: Option<String>,
        /// What an assertion grants at most.
        scopes: Vec<Scope> = vec![Scope::Read, Scope::Write],
        /// The agent that works for the users; the default agent when absent.
        agent: Option<String>,
        /// How far the portal's clock may be ahead of ours, s.
        #[schemars(range(max = 300))]
        leeway_sec: u64 = 60,
    }
}

section! {
    /// Limits failed logins per address.
    struct RateLimit {
        /// Failures within the window before an address is locked out.
        #[schemars(range(min = 1, max = 1000))]
        max_attempts: u32 = 10,
        /// The window, ms.
        #[schemars(range(min = 1000, max = 86_400_000))]
        window_ms: u64 = 60_000,
        /// How long an address stays locked out, ms. Each further lock lasts twice as long, up to an hour or to this if it is more.
        #[schemars(range(min = 1000, max = 86_400_000))]
        lockout_ms: u64 = 300_000,
    }
}
