//! `presence`: who is connected.

use std::borrow::Cow;

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
    pub mode: Option<Cow<'static, str>>,
    /// Seconds since somebody used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_input_seconds: Option<u64>,
    /// Why the entry is there: `connect`, `self`, or what the client reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// Marks that the client reported.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
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

impl PresenceEntry {
    /// Takes over from `older` what this one does not say.
    pub fn fill_from(&mut self, older: &Self) {
        fn fill<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
            if own.is_none() {
                own.clone_from(other);
            }
        }
        fill(&mut self.host, &older.host);
        fill(&mut self.ip, &older.ip);
        fill(&mut self.version, &older.version);
        fill(&mut self.platform, &older.platform);
        fill(&mut self.device_family, &older.device_family);
        fill(&mut self.model_identifier, &older.model_identifier);
        fill(&mut self.mode, &older.mode);
        fill(&mut self.last_input_seconds, &older.last_input_seconds);
        fill(&mut self.reason, &older.reason);
        fill(&mut self.text, &older.text);
        fill(&mut self.device_id, &older.device_id);
        fill(&mut self.instance_id, &older.instance_id);
        if self.tags.is_empty() {
            self.tags.clone_from(&older.tags);
        }
        self.roles = union(std::mem::take(&mut self.roles), &older.roles);
        self.scopes = union(std::mem::take(&mut self.scopes), &older.scopes);
    }
}

fn union(mut names: Vec<&'static str>, more: &[&'static str]) -> Vec<&'static str> {
    for name in more {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names
}
