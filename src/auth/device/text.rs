//! The texts that a device signs. Existing clients join the fields by `|`; our own put the length before each of them, and say for which gateway it is meant.

use ring::digest::{SHA256, digest};

use crate::protocol::connect::{ConnectParams, DeviceIdentity};

/// What stands before the fields in the form with lengths.
const DOMAIN: &[u8] = b"skykoi-device-v3";

/// The fields of the form with lengths.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The gateway's id, from its challenge.
    pub gateway_id: &'a str,
    /// The challenge's nonce.
    pub nonce: &'a str,
    /// The device's id.
    pub device_id: &'a str,
    /// The role that it asks for.
    pub role: &'a str,
    /// The scopes that it asks for, in any order.
    pub scopes: &'a [&'a str],
    /// The token that it shows, or an empty text.
    pub token: &'a str,
    /// The client's id.
    pub client_id: &'a str,
}

impl Signed<'_> {
    /// The bytes to sign: the domain, then each field behind its length in four bytes, the highest first; scopes are sorted and counted, of the token there is the SHA-256.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut scopes = self.scopes.to_vec();
        scopes.sort_unstable();
        let mut bytes = DOMAIN.to_vec();
        for field in [self.gateway_id, self.nonce, self.device_id, self.role] {
            put(field.as_bytes(), &mut bytes);
        }
        bytes.extend_from_slice(&length(scopes.len()));
        for scope in scopes {
            put(scope.as_bytes(), &mut bytes);
        }
        put(digest(&SHA256, self.token.as_bytes()).as_ref(), &mut bytes);
        put(self.client_id.as_bytes(), &mut bytes);
        bytes
    }
}

fn put(field: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&length(field.len()));
    bytes.extend_from_slice(field);
}

pub(super) fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// Every text that the device may have signed, the newest form first. Without a nonce there is only the oldest one.
pub(super) fn forms<'a>(
    params: &'a ConnectParams,
    device: &'a DeviceIdentity,
    nonce: Option<&'a str>,
    gateway_id: &'a str,
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let auth = params.auth.as_ref();
    let shown = [
        auth.and_then(|auth| auth.token.as_deref()),
        auth.and_then(|auth| auth.device_token.as_deref()),
        auth.and_then(|auth| auth.bootstrap_token.as_deref()),
    ];
    let mut tokens: Vec<&str> = shown.into_iter().flatten().filter(|token| !token.is_empty()).collect();
    if tokens.is_empty() {
        tokens.push("");
    }
    tokens.into_iter().flat_map(move |token| {
        let common = common(params, device, token);
        match nonce {
            None => vec![format!("v1|{common}").into_bytes()],
            Some(nonce) => {
                let scopes: Vec<&str> = params.scopes.iter().flatten().map(String::as_str).collect();
                let role = role_of(params);
                let signed =
                    Signed { gateway_id, nonce, device_id: &device.id, role, scopes: &scopes, token, client_id: &params.client.id };
                vec![signed.bytes(), with_platform(params, &common, nonce), format!("v2|{common}|{nonce}").into_bytes()]
            }
        }
    })
}

fn role_of(params: &ConnectParams) -> &str {
    params.role.as_deref().unwrap_or("operator")
}

/// What every joined form says, between its version and the nonce.
fn common(params: &ConnectParams, device: &DeviceIdentity, token: &str) -> String {
    let scopes = params.scopes.as_deref().unwrap_or_default().join(",");
    let (client, mode, role) = (&params.client.id, params.client.mode.as_sent(), role_of(params));
    format!("{}|{client}|{mode}|{role}|{scopes}|{}|{token}", device.id, device.signed_at)
}

/// The joined form that says the platform too.
fn with_platform(params: &ConnectParams, common: &str, nonce: &str) -> Vec<u8> {
    let plain = |text: &str| text.trim().to_ascii_lowercase();
    let family = params.client.device_family.as_deref().map(plain).unwrap_or_default();
    format!("v3|{common}|{nonce}|{}|{family}", plain(&params.client.platform)).into_bytes()
}
