//! `presence`: who is connected.

use schemars::JsonSchema;
use serde::Serialize;

/// Payload of the `presence` event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PresenceEvent {
    /// Newest first, at most 200; the gateway's own entry is always among them.
    pub presence: Vec<PresenceEntry>,
}

/// One connected client, or the gateway itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PresenceEntry {
    /// Since when, ms since the epoch.
    pub ts: u64,
    /// Host name or name to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Network address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Version of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Operating system or browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Kind of device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    /// Model of device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_identifier: Option<String>,
    /// How the client works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// Why the entry is there: `connect` or `self`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// One line for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Roles of its connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<&'static str>,
    /// Scopes of its connections.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<&'static str>,
    /// The installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}
