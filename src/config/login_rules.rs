//! Rules that join the keys of `gateway.auth`: secrets that are none, names that stand twice, assertions that cannot be checked.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use super::Config;
use super::cross::is_agent_id;
use super::init::is_mistyped;
use super::key_path::{KeyPath, Step};
use super::login::{Auth, AuthMode, Jwt, JwtAlg, NamedToken};
use super::problem::Problem;
use crate::clock::from_iso;
use crate::protocol::scope::Scope;

/// Fewest characters of the shared token.
pub const MIN_TOKEN: usize = 16;
/// Fewest characters of a named token.
pub const MIN_NAMED_TOKEN: usize = 32;
/// Fewest characters of a password.
pub const MIN_PASSWORD: usize = 12;
/// Fewest bytes of the secret that assertions are signed with.
pub const MIN_JWT_SECRET: usize = 32;
/// What a hash of a token begins with.
pub const HASH_PREFIX: &str = "sha256:";
/// What a hash of a password begins with.
pub const PASSWORD_HASH_PREFIX: &str = "$argon2";
/// Most memory that the check of a password may take, KiB, and most passes over it.
const MAX_PASSWORD_COST: (u32, u32) = (262_144, 16);

/// Texts that stand in examples; whoever kept one has no secret.
const PLACEHOLDERS: [&str; 12] = [
    "changeme",
    "change_me",
    "change-me",
    "your-token",
    "your_token",
    "yourtoken",
    "your-secret",
    "placeholder",
    "example",
    "replace_me",
    "replace-me",
    "xxxxxxxx",
];

const MAKE_ONE: &str = "make one with `skykoi-gateway token new`";

/// What is wrong whatever the config is used for.
pub fn wrong(auth: &Auth, problems: &mut Vec<Problem>) {
    let at = KeyPath::parse("gateway.auth");
    let mut refuse = |path: KeyPath, reason: Option<String>| problems.extend(reason.map(|reason| Problem::value(path, reason)));
    if let Some(token) = &auth.token {
        refuse(at.key("token"), weak(token.expose(), MIN_TOKEN, false));
    }
    if let Some(password) = &auth.password {
        let text = password.expose();
        let hash = text.starts_with(PASSWORD_HASH_PREFIX);
        refuse(at.key("password"), if hash { no_hash_of_password(text) } else { weak(text, MIN_PASSWORD, true) });
    }
    let mut names = BTreeMap::new();
    for (index, token) in auth.tokens.iter().enumerate() {
        let path = at.key("tokens").join(Step::Index(index));
        if let Some(first) = names.insert(token.name.to_lowercase(), index) {
            refuse(path.key("name"), Some(format!("is the name of gateway.auth.tokens[{first}] too")));
        }
        named(token, &path, &mut refuse);
    }
    if let Some(jwt) = &auth.jwt {
        assertions(jwt, &at.key("jwt"), &mut refuse);
    }
}

/// Why a secret is none.
fn weak(text: &str, least: usize, spaces: bool) -> Option<String> {
    let lower = text.to_lowercase();
    if PLACEHOLDERS.iter().any(|word| lower.contains(word)) {
        Some(format!("is the placeholder of an example; {MAKE_ONE}"))
    } else if text.chars().count() < least {
        Some(format!("must have at least {least} characters; {MAKE_ONE}"))
    } else if !spaces && text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some("must not contain spaces or control characters".to_owned())
    } else if text.chars().all(|c| text.starts_with(c)) {
        Some("must not be one character over and over".to_owned())
    } else if is_mistyped(text) {
        Some("was changed on the way here: its last four letters do not fit the others; copy it again".to_owned())
    } else {
        None
    }
}

fn no_hash_of_password(text: &str) -> Option<String> {
    let wrong = "is no argon2id hash that can be checked here; make one with `skykoi-gateway token password`";
    let Ok(hash) = argon2::password_hash::PasswordHash::new(text) else { return Some(wrong.to_owned()) };
    let cost = argon2::Params::try_from(&hash).ok();
    let bounded =
        cost.is_some_and(|cost| cost.m_cost() <= MAX_PASSWORD_COST.0 && cost.t_cost() <= MAX_PASSWORD_COST.1 && cost.p_cost() <= 16);
    let whole = hash.algorithm == argon2::ARGON2ID_IDENT && hash.salt.is_some() && hash.hash.is_some_and(|hash| hash.len() >= 16);
    (!(bounded && whole)).then(|| wrong.to_owned())
}

fn named(token: &NamedToken, path: &KeyPath, refuse: &mut impl FnMut(KeyPath, Option<String>)) {
    if !is_agent_id(&token.name) {
        refuse(path.key("name"), Some("must be a letter or digit, then up to 63 letters, digits, `-` or `_`".to_owned()));
    }
    match (&token.token, &token.hash) {
        (Some(token), None) => refuse(path.key("token"), weak(token.expose(), MIN_NAMED_TOKEN, false)),
        (None, Some(hash)) if digest_of(hash.expose()).is_none() => {
            refuse(path.key("hash"), Some(format!("must be `{HASH_PREFIX}` and 64 hex digits; `skykoi-gateway token new NAME` writes it")));
        }
        (None, Some(_)) => {}
        (Some(_), Some(_)) => refuse(path.key("hash"), Some("cannot stand beside `token`; keep the hash".to_owned())),
        (None, None) => refuse(path.clone(), Some("has neither `hash` nor `token`, so nobody could come with it".to_owned())),
    }
    if token.scopes.is_empty() {
        refuse(path.key("scopes"), Some("is empty, so the token would permit nothing; name at least one scope".to_owned()));
    }
    if token.confined && token.scopes.iter().any(|scope| !matches!(scope, Scope::Read | Scope::Write)) {
        let text =
            "cannot be true for a token with more than the scopes operator.read and operator.write, which say nothing about one session";
        refuse(path.key("confined"), Some(text.to_owned()));
    }
    if token.expires_at.as_deref().is_some_and(|time| from_iso(time).is_none()) {
        refuse(path.key("expiresAt"), Some("must be a time such as 2027-01-01T00:00:00Z".to_owned()));
    }
}

/// The hash of a token, as a config holds it.
#[must_use]
pub fn hash_of_token(token: &str) -> String {
    let hex: String = digest(&SHA256, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{HASH_PREFIX}{hex}")
}

/// The digest that a hash of a token says.
#[must_use]
pub fn digest_of(hash: &str) -> Option<[u8; 32]> {
    let hex = hash.strip_prefix(HASH_PREFIX)?;
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (place, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *place = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// The 32 bytes of a public key.
#[must_use]
pub fn public_key(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn assertions(jwt: &Jwt, path: &KeyPath, refuse: &mut impl FnMut(KeyPath, Option<String>)) {
    let alone = |other: bool, name: &str| other.then(|| format!("has no use with this `alg`; take `{name}` away"));
    match jwt.alg {
        None => refuse(path.key("alg"), Some("is missing; it must be \"EdDSA\" or \"HS256\"".to_owned())),
        Some(JwtAlg::EdDsa) => {
            let right = jwt.public_key.as_deref().is_some_and(|text| public_key(text).is_some());
            refuse(path.key("publicKey"), (!right).then(|| "must be the 32 bytes of an Ed25519 key in base64url".to_owned()));
            refuse(path.key("secret"), alone(jwt.secret.is_some(), "secret"));
        }
        Some(JwtAlg::Hs256) => {
            let right = jwt.secret.as_ref().is_some_and(|secret| secret.expose().len() >= MIN_JWT_SECRET);
            let reason = if right {
                jwt.secret.as_ref().and_then(|secret| weak(secret.expose(), MIN_JWT_SECRET, true))
            } else {
                Some(format!("must have at least {MIN_JWT_SECRET} bytes; {MAKE_ONE}"))
            };
            refuse(path.key("secret"), reason);
            refuse(path.key("publicKey"), alone(jwt.public_key.is_some(), "publicKey"));
        }
    }
    for (key, value) in [("issuer", &jwt.issuer), ("audience", &jwt.audience)] {
        if value.as_deref().is_none_or(str::is_empty) {
            refuse(path.key(key), Some("is missing; an assertion for somebody else would be accepted".to_owned()));
        }
    }
    if jwt.scopes.is_empty() {
        refuse(path.key("scopes"), Some("is empty, so an assertion would permit nothing".to_owned()));
    }
}

/// What keeps a gateway from starting.
pub fn start_blockers(config: &Config, problems: &mut Vec<Problem>) {
    let auth = &config.gateway.auth;
    let at = KeyPath::parse;
    match config.auth_mode() {
        AuthMode::Token if auth.token.is_none() && auth.tokens.is_empty() => problems.push(Problem::value(
            at("gateway.auth.token"),
            "is missing: auth mode is token; make one with `skykoi-gateway token new`, or give SKYKOI_GATEWAY_TOKEN or --token-file",
        )),
        AuthMode::Password if auth.password.is_none() => {
            problems.push(Problem::value(
                at("gateway.auth.password"),
                "is missing: auth mode is password; set it or give SKYKOI_GATEWAY_PASSWORD",
            ));
        }
        AuthMode::Token | AuthMode::Password => {}
    }
    if let Some(agent) = auth.jwt.as_ref().and_then(|jwt| jwt.agent.as_deref())
        && config.agent(Some(agent)).is_none()
    {
        problems.push(Problem::value(at("gateway.auth.jwt.agent"), "names no agent of this config"));
    }
    for (path, set) in [
        ("gateway.auth.allowTailscale", auth.allow_tailscale == Some(true)),
        ("gateway.controlUi.allowInsecureAuth", config.gateway.control_ui.allow_insecure_auth),
        ("gateway.controlUi.dangerouslyDisableDeviceAuth", config.gateway.control_ui.dangerously_disable_device_auth),
    ] {
        if set {
            problems.push(Problem::value(
                at(path),
                "only false starts: this gateway does not let anybody in by other means than its secrets and devices",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(auth: Value) -> Vec<String> {
        let auth: Auth = serde_json::from_value(auth).unwrap();
        let mut problems = Vec::new();
        wrong(&auth, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    fn one(auth: Value, wanted: &str) {
        let found = found(auth);
        assert!(found.len() == 1 && found[0].contains(wanted), "{found:?}");
    }

    fn token(over: Value) -> Value {
        let mut token = json!({ "name": "ci", "hash": format!("sha256:{}", "0a".repeat(32)), "scopes": ["operator.read"] });
        for (key, value) in over.as_object().unwrap() {
            token[key] = value.clone();
        }
        token
    }

    #[test]
    fn m61_named_tokens_that_are_weak_double_or_without_scopes_are_refused() {
        assert_eq!(found(json!({ "tokens": [token(json!({})), token(json!({ "name": "lab" }))] })), Vec::<String>::new());
        one(
            json!({ "tokens": [token(json!({})), token(json!({ "name": "CI" }))] }),
            "tokens[1].name: is the name of gateway.auth.tokens[0]",
        );
        one(json!({ "tokens": [token(json!({ "name": "../x" }))] }), "tokens[0].name: must be a letter");
        one(json!({ "tokens": [token(json!({ "hash": "sha256:12" }))] }), "tokens[0].hash: must be `sha256:` and 64");
        one(json!({ "tokens": [token(json!({ "hash": null }))] }), "neither `hash` nor `token`");
        one(
            json!({ "tokens": [token(json!({ "hash": null, "token": "changeme-changeme-changeme-changeme" }))] }),
            "tokens[0].token: is the placeholder",
        );
        one(json!({ "tokens": [token(json!({ "hash": null, "token": "short-and-random-73kf02k" }))] }), "at least 32 characters");
        one(json!({ "tokens": [token(json!({ "token": "0123456789abcdef0123456789abcdef" }))] }), "cannot stand beside `token`");
        one(json!({ "tokens": [token(json!({ "scopes": [] }))] }), "tokens[0].scopes: is empty");
        one(json!({ "tokens": [token(json!({ "expiresAt": "tomorrow" }))] }), "must be a time such as");
        assert_eq!(found(json!({ "tokens": [token(json!({ "confined": true, "scopes": ["operator.read"] }))] })), Vec::<String>::new());
        one(
            json!({ "tokens": [token(json!({ "confined": true, "scopes": ["operator.read", "operator.admin"] }))] }),
            "tokens[0].confined: cannot be true for a token with more",
        );
        assert!(serde_json::from_value::<Auth>(json!({ "tokens": [token(json!({ "scopes": ["operator.*"] }))] })).is_err());
    }

    #[test]
    fn a_hash_of_a_password_must_be_one_that_can_be_checked() {
        let right = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
        assert_eq!(found(json!({ "password": right })), Vec::<String>::new());
        for wrong in [
            right.replace("argon2id", "argon2i"),
            right.replace("m=19456", "m=99999999"),
            right.replace("t=2", "t=200"),
            "$argon2id$".to_owned(),
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA".to_owned(),
        ] {
            one(json!({ "password": wrong }), "is no argon2id hash");
        }
    }

    #[test]
    fn assertions_need_one_key_an_issuer_and_an_audience() {
        let key = URL_SAFE_NO_PAD.encode([7; 32]);
        let right = json!({ "alg": "EdDSA", "publicKey": key, "issuer": "portal", "audience": "vm" });
        let with = |over: Value| {
            let mut jwt = right.clone();
            for (key, value) in over.as_object().unwrap() {
                jwt[key] = value.clone();
            }
            json!({ "jwt": jwt })
        };
        assert_eq!(found(json!({ "jwt": right })), Vec::<String>::new());
        one(with(json!({ "alg": null })), "jwt.alg: is missing");
        one(with(json!({ "publicKey": "AAAA" })), "jwt.publicKey: must be the 32 bytes");
        one(with(json!({ "secret": "0123456789abcdefghijklmnopqrstuv" })), "jwt.secret: has no use");
        one(with(json!({ "alg": "HS256", "publicKey": null, "secret": "0123456789abcdef0123456789abcde" })), "at least 32 bytes");
        one(with(json!({ "issuer": "" })), "jwt.issuer: is missing");
        one(with(json!({ "audience": null })), "jwt.audience: is missing");
        assert!(serde_json::from_value::<Auth>(with(json!({ "alg": "none" }))).is_err());
        assert!(serde_json::from_value::<Auth>(with(json!({ "alg": "RS256" }))).is_err());
    }
}
