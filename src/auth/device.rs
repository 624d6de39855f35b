//! A device's proof of who it is: an Ed25519 signature over what the client says in `connect`, with the server's nonce in it.
//!
//! A proof is an identity and not yet a right: who sends a `device` must be able to prove it, and only then is its id looked up or shown anywhere. The nonce makes a proof good for one connection; the time in it counts for nothing, unless the operator takes proofs without a nonce.
//! Signatures are judged as strictly as there are rules for it: a key or a signature that has a second spelling, or that fits more than one text, is none.

pub mod text;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::protocol::connect::ConnectParams;
use crate::protocol::error::RpcError;

/// How far the time of a proof of an old form may be from ours, in ms.
const MAX_SKEW_MS: u64 = 600_000;
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
    /// The gateway's id, which stands in the same challenge.
    pub gateway_id: &'a str,
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
    if !is_canonical(key) || is_small_order(key) {
        return Err(Unproven::Key);
    }
    let nonce = device.nonce.as_deref().filter(|nonce| !nonce.is_empty());
    match nonce {
        Some(nonce) if nonce != expected.nonce => return Err(Unproven::Nonce),
        None if !expected.without_nonce => return Err(Unproven::NonceMissing),
        // Without a nonce only the time keeps a proof from being used for ever.
        None if device.signed_at.abs_diff(expected.now_ms) > MAX_SKEW_MS => return Err(Unproven::Expired),
        _ => {}
    }
    let signature = decode(&device.signature).unwrap_or_default();
    // Whoever sees such a first half has a signature that was made to fit.
    if signature.first_chunk().is_some_and(|point| !is_canonical(*point) || is_small_order(*point)) {
        return Err(Unproven::Signature);
    }
    let key = UnparsedPublicKey::new(&ED25519, key);
    let signs = |text: Vec<u8>| key.verify(&text, &signature).is_ok();
    if text::forms(params, device, nonce, expected.gateway_id).any(signs) { Ok(Some(&device.id)) } else { Err(Unproven::Signature) }
}

/// The id of the device with this key: the lower-case hex SHA-256 of its 32 bytes.
#[must_use]
pub fn device_id(key: &[u8; 32]) -> String {
    digest(&SHA256, key).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key's 32 bytes. Other containers, such as PEM, are more ways to say the same and are not read.
fn raw_key(text: &str) -> Option<[u8; 32]> {
    decode(text)?.try_into().ok()
}

/// Decodes base64url or plain base64, padded or not.
fn decode(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&URL_SAFE, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    LENIENT.decode(text.replace('+', "-").replace('/', "_")).ok()
}

/// Whether the encoded y lies below the size of the field, 2^255 - 19. Another spelling of the same point would be another device id.
fn is_canonical(point: [u8; 32]) -> bool {
    let [low, middle @ .., high] = point;
    !(low >= 0xed && middle.iter().all(|byte| *byte == 0xff) && high & 0x7f == 0x7f)
}

fn is_small_order(key: [u8; 32]) -> bool {
    let mut y = key;
    let [.., high] = &mut y;
    *high &= 0x7f;
    SMALL_ORDER.contains(&y)
}

#[cfg(test)]
mod tests;
