//! A device's proof of who it is: an Ed25519 signature over what the client says in `connect`, with the server's nonce in it.
//!
//! A proof adds an identity and takes nothing away: who sends a `device` must be able to prove it, and only then is its id shown anywhere. The nonce makes a proof good for one connection; the time in it is only looked at where the form of the signed text is an old one.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::protocol::connect::{ConnectParams, DeviceIdentity};
use crate::protocol::error::RpcError;

/// How far the time of a proof of an old form may be from ours, in ms.
const MAX_SKEW_MS: u64 = 600_000;
/// What stands before the raw key in the DER form (SPKI) of an Ed25519 key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The y coordinates of the points of small order as they are encoded, without the sign bit: 0, 1, -1, the first two again in a spelling beyond the size of the field, and the two of order eight. With such a key one signature fits every text.
const SMALL_ORDER: [[u8; 32]; 7] = [
    little(0, 0, 0),
    little(1, 0, 0),
    little(0xec, 0xff, 0x7f),
    little(0xed, 0xff, 0x7f),
    little(0xee, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
        0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
        0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn little(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    let [low, .., high] = &mut bytes;
    *low = first;
    *high = last;
    bytes
}

/// What the server knows when a proof arrives.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The nonce of this connection's challenge.
    pub nonce: &'a str,
    /// Wall-clock time in ms since the epoch.
    pub now_ms: u64,
    /// Whether a proof without a nonce is taken, `gateway.auth.legacyDevicePayload`.
    pub without_nonce: bool,
}

/// Why a proof is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// The id is not the digest of the key, or the key cannot be read.
    #[error("device identity mismatch")]
    Id,
    /// The signature's time is too far from ours.
    #[error("device signature expired")]
    Expired,
    /// It says no nonce.
    #[error("device nonce required")]
    NonceMissing,
    /// It says another nonce than ours.
    #[error("device nonce mismatch")]
    Nonce,
    /// The signature fits no form of the text.
    #[error("device signature invalid")]
    Signature,
    /// The key is one for which anybody can sign.
    #[error("device public key invalid")]
    Key,
}

impl Unproven {
    /// The stable `details.code`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Id => "DEVICE_AUTH_DEVICE_ID_MISMATCH",
            Self::Expired => "DEVICE_AUTH_SIGNATURE_EXPIRED",
            Self::NonceMissing => "DEVICE_AUTH_NONCE_REQUIRED",
            Self::Nonce => "DEVICE_AUTH_NONCE_MISMATCH",
            Self::Signature => "DEVICE_AUTH_SIGNATURE_INVALID",
            Self::Key => "DEVICE_AUTH_PUBLIC_KEY_INVALID",
        }
    }
}

impl From<Unproven> for RpcError {
    fn from(unproven: Unproven) -> Self {
        Self::invalid(unproven.to_string()).with_code(unproven.code())
    }
}

/// Checks the proof in `params`, if there is one; gives the device's id.
///
/// # Errors
/// The first thing that is wrong, in the order that clients know.
pub fn verify<'p>(params: &'p ConnectParams, expected: &Expected<'_>) -> Result<Option<&'p str>, Unproven> {
    let Some(device) = &params.device else { return Ok(None) };
    let key = raw_key(&device.public_key).ok_or(Unproven::Id)?;
    if device_id(&key) != device.id {
        return Err(Unproven::Id);
    }
    let signature = decode(&device.signature).unwrap_or_default();
    let signs = |text: &str| UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &signature).is_ok();
    let nonce = device.nonce.as_deref().filter(|nonce| !nonce.is_empty());
    let newest = nonce.is_some_and(|nonce| signs(&with_platform(params, device, nonce)));
    if !newest && device.signed_at.abs_diff(expected.now_ms) > MAX_SKEW_MS {
        return Err(Unproven::Expired);
    }
    let older = match nonce {
        Some(nonce) if nonce != expected.nonce => return Err(Unproven::Nonce),
        Some(nonce) => format!("v2|{}|{nonce}", common(params, device)),
        None if expected.without_nonce => format!("v1|{}", common(params, device)),
        None => return Err(Unproven::NonceMissing),
    };
    if !newest && !signs(&older) {
        return Err(Unproven::Signature);
    }
    if is_small_order(key) {
        return Err(Unproven::Key);
    }
    Ok(Some(&device.id))
}

/// What every form of the signed text says, between its version and the nonce.
fn common(params: &ConnectParams, device: &DeviceIdentity) -> String {
    let scopes = params.scopes.as_deref().unwrap_or_default().join(",");
    let token = params.auth.as_ref().and_then(|auth| auth.token.as_deref()).unwrap_or_default();
    format!(
        "{}|{}|{}|{}|{scopes}|{}|{token}",
        device.id,
        params.client.id,
        params.client.mode.as_sent(),
        params.role.as_deref().unwrap_or("operator"),
        device.signed_at
    )
}

/// The text of the newest form, which says the platform too.
fn with_platform(params: &ConnectParams, device: &DeviceIdentity, nonce: &str) -> String {
    let plain = |text: &str| text.trim().to_ascii_lowercase();
    let family = params.client.device_family.as_deref().map(plain).unwrap_or_default();
    format!("v3|{}|{nonce}|{}|{family}", common(params, device), plain(&params.client.platform))
}

/// The id of the device with this key: the lower-case hex SHA-256 of its 32 bytes.
fn device_id(key: &[u8; 32]) -> String {
    digest(&SHA256, key).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key's 32 bytes, from base64url or from PEM.
fn raw_key(text: &str) -> Option<[u8; 32]> {
    let Some(pem) = text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----") else {
        return decode(text.trim())?.try_into().ok();
    };
    let body: String = pem.strip_suffix("-----END PUBLIC KEY-----")?.split_ascii_whitespace().collect();
    STANDARD.decode(body).ok()?.strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

/// Decodes base64url or plain base64, padded or not.
fn decode(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&URL_SAFE, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    LENIENT.decode(text.replace('+', "-").replace('/', "_")).ok()
}

fn is_small_order(key: [u8; 32]) -> bool {
    let mut y = key;
    let [.., high] = &mut y;
    *high &= 0x7f;
    SMALL_ORDER.contains(&y)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    const EXPECTED: Expected<'static> = Expected { nonce: "n-1", now_ms: NOW, without_nonce: false };

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
    fn key_and_signature_are_read_in_every_spelling_clients_use() {
        let mut spelled = v2();
        let der = [&SPKI_PREFIX[..], &key()].concat();
        spelled["device"]["publicKey"] = json!(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der)));
        let signature = decode(spelled["device"]["signature"].as_str().unwrap()).unwrap();
        spelled["device"]["signature"] = json!(STANDARD.encode(signature));
        assert!(verdict(&spelled, &EXPECTED).is_ok());
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
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0x10,
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
    fn m56_the_clock_matters_only_to_the_old_form() {
        let days = 3 * 24 * 3600 * 1000;
        let at = |text: &str, signed_at: u64| {
            let text = text.replace("1700000000000", &signed_at.to_string());
            verdict(&params(&text, signed_at, Some("n-1")), &EXPECTED)
        };
        let (v2, v3) = (format!("v2|{COMMON}|n-1"), format!("v3|{COMMON}|n-1|macintel|mac"));
        for signed_at in [NOW + days, NOW - days, 0] {
            assert_eq!(at(&v2, signed_at), Err(Unproven::Expired));
            assert!(at(&v3, signed_at).is_ok());
        }
        assert!(at(&v2, NOW + MAX_SKEW_MS).is_ok());
        assert!(at(&v2, NOW - MAX_SKEW_MS).is_ok());
    }

    #[test]
    fn a_proof_without_a_nonce_is_taken_only_where_the_operator_says_so() {
        let v1 = params(&format!("v1|{COMMON}"), NOW, None);
        assert_eq!(verdict(&v1, &EXPECTED), Err(Unproven::NonceMissing));
        assert!(verdict(&v1, &Expected { without_nonce: true, ..EXPECTED }).is_ok());
        let reused = params(&format!("v2|{COMMON}|n-0"), NOW, Some("n-0"));
        assert_eq!(verdict(&reused, &Expected { without_nonce: true, ..EXPECTED }), Err(Unproven::Nonce));
    }
}
