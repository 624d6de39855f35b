//! A device's proof in `connect`: what was signed is proven, and nothing that differs from it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;
use skykoi_gateway::auth::device::{Expected, verify};
use skykoi_gateway::protocol::connect::ConnectParams;

use super::{Target, outcome};

pub const TARGET: Target = Target {
    name: "device",
    words: &[
        "\"",
        ",",
        "|",
        ":",
        "{",
        "}",
        "[",
        "]",
        "\"nonce\":\"n-1\"",
        "\"nonce\":\"n-2\"",
        "\"signedAt\":1700000000000",
        "\"role\":\"node\"",
        "\"scopes\":[]",
        "operator.admin",
        "operator.read",
        "\"publicKey\":",
        "-----BEGIN PUBLIC KEY-----",
        "-----END PUBLIC KEY-----",
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "=",
        "+",
        "/",
        "_",
        "-",
        "\"token\":\"other\"",
        "\"platform\":\"x\"",
        "\"deviceFamily\":\"x\"",
        "\\n",
        " ",
    ],
    max: 8192,
    seeds: signed,
    run,
};

const NOW: u64 = 1_700_000_000_000;

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn id() -> String {
    digest(&SHA256, pair().public_key().as_ref()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One good proof of each form.
fn signed() -> Vec<Vec<u8>> {
    let common = format!("{}|cli|cli|operator|operator.read,operator.write|{NOW}|secret", id());
    let texts = [format!("v2|{common}|n-1"), format!("v3|{common}|n-1|linux|")];
    let params = texts.iter().map(|text| {
        json!({
            "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": ["operator.read", "operator.write"],
            "client": { "id": "cli", "mode": "cli", "version": "1", "platform": "linux" }, "auth": { "token": "secret" },
            "device": { "id": id(), "publicKey": URL_SAFE_NO_PAD.encode(pair().public_key().as_ref()),
                "signature": URL_SAFE_NO_PAD.encode(pair().sign(text.as_bytes())), "signedAt": NOW, "nonce": "n-1" },
        })
        .to_string()
        .into_bytes()
    });
    let params: Vec<_> = params.collect();
    let expected = Expected { nonce: "n-1", gateway_id: "g-1", now_ms: NOW, without_nonce: false };
    for proof in &params {
        assert!(verify(&serde_json::from_slice(proof).unwrap(), &expected).is_ok_and(|id| id.is_some()), "a good proof is refused");
    }
    params
}

fn run(input: &[u8]) -> u64 {
    let Ok(params) = serde_json::from_slice::<ConnectParams>(input) else { return 0 };
    let verdict = verify(&params, &Expected { nonce: "n-1", gateway_id: "g-1", now_ms: NOW, without_nonce: false });
    if let Ok(Some(proven)) = verdict {
        // Nobody has signed anything but the two texts, so what is proven says what they say.
        let device = params.device.as_ref().unwrap();
        assert_eq!((proven, device.nonce.as_deref(), device.signed_at), (id().as_str(), Some("n-1"), NOW));
        assert_eq!((params.client.id.as_str(), params.client.mode.as_sent()), ("cli", "cli"));
        assert_eq!(params.role.as_deref().unwrap_or("operator"), "operator");
        let auth = params.auth.as_ref().unwrap();
        assert!([&auth.token, &auth.device_token, &auth.bootstrap_token].into_iter().flatten().any(|token| token == "secret"));
        assert_eq!(params.scopes.as_deref().unwrap_or_default().join(","), "operator.read,operator.write");
    }
    outcome(verdict.map(|id| id.is_some()).map_err(|unproven| unproven.code()))
}
