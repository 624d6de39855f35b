//! A proof in every form, and everything that is almost one.

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_700_000_000_000;
const EXPECTED: Expected<'static> = Expected { nonce: "n-1", gateway_id: "g-1", now_ms: NOW, without_nonce: false };

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn key() -> [u8; 32] {
    pair().public_key().as_ref().try_into().unwrap()
}

/// `connect` parameters whose device signs `text`, where `{id}` stands for its id.
fn params(text: &str, signed_at: u64, nonce: Option<&str>) -> Value {
    let id = device_id(&key());
    let signature = pair().sign(text.replace("{id}", &id).as_bytes());
    let mut params = json!({
        "minProtocol": 3, "maxProtocol": 4, "role": "operator", "scopes": ["operator.read", "operator.write"],
        "client": { "id": "SKYKOI-control-ui", "mode": "operator", "version": "1", "platform": " MacIntel ", "deviceFamily": "Mac" },
        "auth": { "token": "secret" },
        "device": { "id": id, "publicKey": URL_SAFE_NO_PAD.encode(key()), "signature": URL_SAFE_NO_PAD.encode(signature), "signedAt": signed_at },
    });
    if let Some(nonce) = nonce {
        params["device"]["nonce"] = json!(nonce);
    }
    params
}

fn verdict(params: &Value, expected: &Expected<'_>) -> Result<Option<String>, Unproven> {
    let params: ConnectParams = serde_json::from_value(params.clone()).unwrap();
    verify(&params, expected).map(|id| id.map(str::to_owned))
}

const COMMON: &str = "{id}|SKYKOI-control-ui|operator|operator|operator.read,operator.write|1700000000000|secret";

fn v2() -> Value {
    params(&format!("v2|{COMMON}|n-1"), NOW, Some("n-1"))
}

#[test]
fn both_forms_of_the_text_prove_the_device() {
    let id = Some(device_id(&key()));
    assert_eq!(verdict(&v2(), &EXPECTED), Ok(id.clone()));
    assert_eq!(verdict(&params(&format!("v3|{COMMON}|n-1|macintel|mac"), NOW, Some("n-1")), &EXPECTED), Ok(id));
    assert_eq!(verdict(&json!({"minProtocol": 3, "maxProtocol": 3, "client": v2()["client"]}), &EXPECTED), Ok(None));
}

#[test]
fn a_signature_is_read_in_every_spelling_of_base64() {
    let mut spelled = v2();
    let signature = decode(spelled["device"]["signature"].as_str().unwrap()).unwrap();
    spelled["device"]["signature"] = json!(STANDARD.encode(signature));
    assert!(verdict(&spelled, &EXPECTED).is_ok());
}

#[test]
fn m55_a_key_in_a_container_is_no_key() {
    const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let der = [&SPKI_PREFIX[..], &key()].concat();
    for text in [
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der)),
        STANDARD.encode(&der),
        format!(" {}", URL_SAFE_NO_PAD.encode(key())),
    ] {
        let mut changed = v2();
        changed["device"]["publicKey"] = json!(text);
        assert_eq!(verdict(&changed, &EXPECTED), Err(Unproven::Id), "{text}");
    }
}

/// What our own clients sign: every field with its length.
fn canonical(gateway_id: &str, nonce: &str) -> Value {
    let id = device_id(&key());
    let mut params = v2();
    params["device"]["nonce"] = json!(nonce);
    let scopes = ["operator.write", "operator.read"];
    let signed = text::Signed {
        gateway_id,
        nonce,
        device_id: &id,
        role: "operator",
        scopes: &scopes,
        token: "secret",
        client_id: "SKYKOI-control-ui",
    };
    params["device"]["signature"] = json!(URL_SAFE_NO_PAD.encode(pair().sign(&signed.bytes())));
    params
}

#[test]
fn m55_a_proof_for_another_gateway_is_none_here() {
    assert!(verdict(&canonical("g-1", "n-1"), &EXPECTED).is_ok());
    assert_eq!(verdict(&canonical("g-2", "n-1"), &EXPECTED), Err(Unproven::Signature));
    assert_eq!(verdict(&canonical("g-1", "n-2"), &EXPECTED), Err(Unproven::Nonce));
    let mut changed = canonical("g-1", "n-1");
    changed["scopes"] = json!(["operator.admin"]);
    assert_eq!(verdict(&changed, &EXPECTED), Err(Unproven::Signature));
}

#[test]
fn the_token_that_is_signed_is_any_that_is_shown() {
    let mut params = v2();
    params["auth"] = json!({"deviceToken": "secret"});
    assert!(verdict(&params, &EXPECTED).is_ok());
    params["auth"] = json!({"token": "other", "bootstrapToken": "secret"});
    assert!(verdict(&params, &EXPECTED).is_ok());
    params["auth"] = json!({"password": "secret"});
    assert_eq!(verdict(&params, &EXPECTED), Err(Unproven::Signature));
}

#[test]
fn m55_whatever_is_not_exactly_what_was_signed_is_no_proof() {
    let table: [(&str, Value, Unproven); 9] = [
        ("/device/id", json!(device_id(&[1; 32])), Unproven::Id),
        ("/device/publicKey", json!("AAAA"), Unproven::Id),
        ("/device/publicKey", json!("*"), Unproven::Id),
        ("/device/nonce", json!("n-2"), Unproven::Nonce),
        ("/device/nonce", json!(""), Unproven::NonceMissing),
        ("/device/signature", json!("AAAA"), Unproven::Signature),
        ("/scopes", json!(["operator.write", "operator.read"]), Unproven::Signature),
        ("/auth/token", json!("other"), Unproven::Signature),
        ("/client/mode", json!("ui"), Unproven::Signature),
    ];
    for (path, value, expected) in table {
        let mut changed = v2();
        *changed.pointer_mut(path).unwrap() = value.clone();
        assert_eq!(verdict(&changed, &EXPECTED), Err(expected), "{path} = {value}");
    }
}

#[test]
fn m55_a_signature_that_is_not_in_canonical_form_is_no_proof() {
    // The order of the group, little endian: adding it to S gives another spelling of the same signature.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0x10,
    ];
    let mut changed = v2();
    let mut signature = decode(changed["device"]["signature"].as_str().unwrap()).unwrap();
    let mut carry = 0;
    for (place, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*place) + u16::from(add) + carry;
        *place = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    changed["device"]["signature"] = json!(URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(verdict(&changed, &EXPECTED), Err(Unproven::Signature));
}

#[test]
fn m55_a_key_for_which_anybody_can_sign_is_refused() {
    let mut changed = v2();
    let mut identity = [0; 32];
    identity[0] = 1;
    changed["device"]["publicKey"] = json!(URL_SAFE_NO_PAD.encode(identity));
    changed["device"]["id"] = json!(device_id(&identity));
    // R = the neutral element, S = 0.
    changed["device"]["signature"] = json!(URL_SAFE_NO_PAD.encode([identity, [0; 32]].concat()));
    assert_eq!(verdict(&changed, &EXPECTED), Err(Unproven::Key));
}

#[test]
fn m55_a_key_with_a_second_spelling_is_refused() {
    // y = 2^255 - 17, which is the point of y = 2 in a spelling beyond the size of the field.
    let mut beyond = [0xff; 32];
    (beyond[0], beyond[31]) = (0xef, 0x7f);
    assert!(!is_canonical(beyond) && is_canonical(key()));
    assert!(is_canonical([0xec; 32]) && !is_canonical([0xff; 32]));
    let mut changed = v2();
    changed["device"]["publicKey"] = json!(URL_SAFE_NO_PAD.encode(beyond));
    changed["device"]["id"] = json!(device_id(&beyond));
    assert_eq!(verdict(&changed, &EXPECTED), Err(Unproven::Key));
}

#[test]
fn m56_a_clock_that_is_days_off_keeps_nobody_out() {
    let days = 3 * 24 * 3600 * 1000;
    for form in [format!("v2|{COMMON}|n-1"), format!("v3|{COMMON}|n-1|macintel|mac")] {
        for signed_at in [NOW + days, NOW - days, 0] {
            let text = form.replace("1700000000000", &signed_at.to_string());
            assert!(verdict(&params(&text, signed_at, Some("n-1")), &EXPECTED).is_ok(), "{text}");
        }
    }
}

#[test]
fn a_proof_without_a_nonce_is_taken_only_where_the_operator_says_so() {
    let v1 = params(&format!("v1|{COMMON}"), NOW, None);
    assert_eq!(verdict(&v1, &EXPECTED), Err(Unproven::NonceMissing));
    assert!(verdict(&v1, &Expected { without_nonce: true, ..EXPECTED }).is_ok());
    let old = params(&format!("v1|{COMMON}").replace("1700000000000", "1699999399999"), NOW - MAX_SKEW_MS - 1, None);
    assert_eq!(verdict(&old, &Expected { without_nonce: true, ..EXPECTED }), Err(Unproven::Expired));
    let reused = params(&format!("v2|{COMMON}|n-0"), NOW, Some("n-0"));
    assert_eq!(verdict(&reused, &Expected { without_nonce: true, ..EXPECTED }), Err(Unproven::Nonce));
}

#[test]
fn each_field_of_what_is_signed_stands_behind_its_length() {
    assert_eq!(text::length(0x0102_0304), [1, 2, 3, 4]);
    assert_eq!(text::length(usize::MAX), [255; 4]);
}
