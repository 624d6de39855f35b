//! What a device signs, and what is taken for it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::KeyPair;
use serde_json::{Value, json};
use skykoi_gateway::auth::device::{device_id, text::Signed};

use super::code;
use crate::harness::device::{Form, nonce};
use crate::harness::{Client, Device, Gateway};

const BOTH: [&str; 2] = ["operator.read", "operator.write"];

/// Says `connect` with what `make` makes of the connection's nonce and the gateway's id.
async fn says(gateway: &Gateway, make: impl FnOnce(&str, &str) -> Value) -> Result<Client, Value> {
    let mut client = Client::open(gateway.port(), &[]).await;
    let nonce = nonce(&mut client).await;
    let gateway_id = client.events[0]["payload"]["gatewayId"].as_str().unwrap().to_owned();
    client.hello(make(&nonce, &gateway_id)).await.map(|()| client)
}

#[tokio::test]
async fn m55_a_proof_for_anything_else_than_this_connection_is_refused() {
    let gateway = Gateway::start();
    let device = Device::random();
    let (_, token) = device.pair(&gateway, &BOTH).await;
    let patch = json!({ "scopes": BOTH, "auth": { "deviceToken": token } });
    let good = |nonce: &str| device.params(nonce, &patch);
    let changed = |nonce: &str, path: &str, value: Value| {
        let mut params = good(nonce);
        *params.pointer_mut(path).unwrap() = value;
        params
    };
    let mut used = String::new();
    says(&gateway, |nonce, _| {
        used = nonce.to_owned();
        good(nonce)
    })
    .await
    .unwrap();
    let refusal = |answer: Result<Client, Value>| code(&answer.err().expect("it was let in")).to_owned();

    assert_eq!(refusal(says(&gateway, |_, _| good("made-up")).await), "DEVICE_AUTH_NONCE_MISMATCH");
    assert_eq!(refusal(says(&gateway, |_, _| good(&used)).await), "DEVICE_AUTH_NONCE_MISMATCH");
    assert_eq!(refusal(says(&gateway, |nonce, _| changed(nonce, "/device/nonce", json!(""))).await), "DEVICE_AUTH_NONCE_REQUIRED");
    for (path, value) in [
        ("/scopes", json!(["operator.write", "operator.read"])),
        ("/scopes", json!(["operator.admin"])),
        ("/role", json!("node")),
        ("/auth/deviceToken", json!("another")),
        ("/client/id", json!("cli")),
        ("/device/signedAt", json!(1)),
    ] {
        assert_eq!(refusal(says(&gateway, |nonce, _| changed(nonce, path, value)).await), "DEVICE_AUTH_SIGNATURE_INVALID", "{path}");
    }
    let der = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], device.pair.public_key().as_ref()].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
    assert_eq!(refusal(says(&gateway, |nonce, _| changed(nonce, "/device/publicKey", json!(pem))).await), "DEVICE_AUTH_DEVICE_ID_MISMATCH");

    // Keys for which anybody can sign, and keys with a second spelling.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut beyond = [0xff; 32];
    (beyond[0], beyond[31]) = (0xee, 0x7f);
    for key in [[0; 32], neutral, beyond] {
        let forged = |nonce: &str| {
            let mut params = good(nonce);
            params["device"]["id"] = json!(device_id(&key));
            params["device"]["publicKey"] = json!(URL_SAFE_NO_PAD.encode(key));
            params["device"]["signature"] = json!(URL_SAFE_NO_PAD.encode([neutral, [0; 32]].concat()));
            params
        };
        assert_eq!(refusal(says(&gateway, |nonce, _| forged(nonce)).await), "DEVICE_AUTH_PUBLIC_KEY_INVALID");
    }
    // The order of the group added to S: the same signature in another spelling.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0x10,
    ];
    let respelled = |nonce: &str| {
        let mut params = good(nonce);
        let mut signature = URL_SAFE_NO_PAD.decode(params["device"]["signature"].as_str().unwrap()).unwrap();
        let mut carry = 0;
        for (place, add) in signature[32..].iter_mut().zip(order) {
            let sum = u16::from(*place) + u16::from(add) + carry;
            *place = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        params["device"]["signature"] = json!(URL_SAFE_NO_PAD.encode(signature));
        params
    };
    assert_eq!(refusal(says(&gateway, |nonce, _| respelled(nonce)).await), "DEVICE_AUTH_SIGNATURE_INVALID");
    says(&gateway, |nonce, _| good(nonce)).await.unwrap();
}

#[tokio::test]
async fn m55_a_proof_that_names_its_gateway_is_good_for_no_other() {
    let (gateway, other) = (Gateway::start(), Gateway::start());
    let device = Device::random();
    let (_, token) = device.pair(&gateway, &BOTH).await;
    let proof = |nonce: &str, gateway_id: &str| {
        let mut params = device.params(nonce, &json!({ "scopes": BOTH, "auth": { "deviceToken": token } }));
        let signed = Signed { gateway_id, nonce, device_id: &device.id, role: "operator", scopes: &BOTH, token: &token, client_id: "test" };
        params["device"]["signature"] = json!(URL_SAFE_NO_PAD.encode(device.pair.sign(&signed.bytes())));
        params
    };
    says(&gateway, |nonce, id| proof(nonce, id)).await.unwrap();
    let mut others_id = String::new();
    let _ = says(&other, |nonce, id| {
        others_id = id.to_owned();
        proof(nonce, id)
    })
    .await;
    let refused = says(&gateway, |nonce, _| proof(nonce, &others_id)).await.err().unwrap();
    assert_eq!(code(&refused), "DEVICE_AUTH_SIGNATURE_INVALID");
}

#[tokio::test]
async fn m56_a_device_whose_clock_is_days_off_works_in_every_form() {
    let mut gateway = Gateway::prepared(&json!({}));
    let file = gateway.state_dir().join("clock");
    std::fs::write(&file, "0").unwrap();
    gateway.env("SKYKOI_CLOCK_SHIFT", file.to_str().unwrap());
    gateway.launch();
    let device = Device::random();
    let (_, token) = device.pair(&gateway, &BOTH).await;
    let patch = json!({ "scopes": BOTH, "auth": { "deviceToken": token } });
    let now = skykoi_gateway::clock::now_ms();
    let days = 3 * 86_400_000;
    for shift in [0, 3 * 86_400_000_i64, -3 * 86_400_000] {
        let beside = gateway.state_dir().join("clock.new");
        std::fs::write(&beside, shift.to_string()).unwrap();
        std::fs::rename(beside, &file).unwrap();
        for form in [Form::V2, Form::V3] {
            for at in [now, now + days, now - days, 0] {
                says(&gateway, |nonce, _| device.signed(nonce, &patch, form, at))
                    .await
                    .unwrap_or_else(|res| panic!("{form:?} {at}: {res}"));
            }
        }
    }
}
