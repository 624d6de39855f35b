//! `device.pair.requested` and `device.pair.resolved`: a device wants in, and what became of that. The rows of lists are here too, since one of them is a payload.

use schemars::JsonSchema;
use serde::Serialize;

/// A device that waits for an approval; the payload of the `device.pair.requested` event. What it says of itself proves nothing: compare the code or the fingerprint with what its screen shows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairRequestRow {
    /// Names the request in `device.pair.approve` and `device.pair.reject`.
    pub request_id: String,
    /// The request as two words, which the device shows too. Both compute them from the request's id and the device's key.
    pub code: String,
    /// Lower-case hex SHA-256 of its key.
    pub device_id: String,
    /// Its Ed25519 key, base64url.
    pub public_key: String,
    /// Its key as four words.
    pub fingerprint: String,
    /// What it calls itself; hidden characters are written out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its operating system or browser, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its kind, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    /// Its client's id, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its client's mode, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<String>,
    /// The role that it wants.
    pub role: &'static str,
    /// The same as a list.
    pub roles: Vec<&'static str>,
    /// The scopes that it wants.
    pub scopes: Vec<&'static str>,
    /// The address from which it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    /// Whether a device with this key was paired before.
    pub is_repair: bool,
    /// Why it must ask: `not-paired`, `role-upgrade`, `scope-upgrade`, `token-lost` or `revoked`.
    pub reason: String,
    /// When it asked, ms since the epoch.
    pub ts: u64,
    /// Until when it can be decided, ms since the epoch.
    pub expires_at_ms: u64,
}

/// Payload of the `device.pair.resolved` event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevicePairResolved {
    /// The request.
    pub request_id: String,
    /// Whose it was.
    pub device_id: String,
    /// `approved`, `rejected` or `expired`.
    pub decision: &'static str,
    /// When this was sent, ms since the epoch.
    pub ts: u64,
}

/// A paired device.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairedDeviceRow {
    /// Lower-case hex SHA-256 of its key.
    pub device_id: String,
    /// Its Ed25519 key, base64url.
    pub public_key: String,
    /// Its key as four words.
    pub fingerprint: String,
    /// What it calls itself; hidden characters are written out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its operating system or browser, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its kind, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    /// Its client's id, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its client's mode, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<String>,
    /// The first of its roles; absent if all were taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// The roles that were approved and not taken back.
    pub roles: Vec<&'static str>,
    /// The scopes that were approved and not taken back.
    pub scopes: Vec<&'static str>,
    /// The address from which it asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    /// Its tokens, without the secret.
    pub tokens: Vec<TokenRow>,
    /// When it was paired first, ms since the epoch.
    pub created_at_ms: u64,
    /// When it was approved last, ms since the epoch.
    pub approved_at_ms: u64,
}

/// A device's token, without the secret. Times are ms since the epoch.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenRow {
    /// The role that it is for.
    pub role: &'static str,
    /// What was approved.
    pub scopes: Vec<&'static str>,
    /// When it was granted first.
    pub created_at_ms: u64,
    /// When it was made anew last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated_at_ms: Option<u64>,
    /// When it was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<u64>,
    /// When it was used last, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at_ms: Option<u64>,
}
