//! `system-event`: a client tells of itself, or leaves a note for the main session.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::presence_line::{self, PREFIX};
use crate::protocol::error::RpcError;
use crate::protocol::event::presence::PresenceEntry;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::{Method, Rate};

/// Longest note, bytes.
pub(super) const MAX_TEXT: usize = 8 * 1024;

/// Leave a note for the default agent's main session, or report a device: a text that begins with `Node:`, or one with `deviceId`, `instanceId` or `host`, is shown in presence for as long as this connection lasts. A `Node:` line becomes a note only when it says something new.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventParams {
    /// The note. Required.
    #[serde(default)]
    pub text: Option<String>,
    /// The device.
    #[serde(default)]
    pub device_id: Option<String>,
    /// The installation.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// Its name.
    #[serde(default)]
    pub host: Option<String>,
    /// Its address.
    #[serde(default)]
    pub ip: Option<String>,
    /// How it works.
    #[serde(default)]
    pub mode: Option<String>,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// Its operating system.
    #[serde(default)]
    pub platform: Option<String>,
    /// Kind of device.
    #[serde(default)]
    pub device_family: Option<String>,
    /// Model of device.
    #[serde(default)]
    pub model_identifier: Option<String>,
    /// Seconds since somebody used it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub last_input_seconds: Option<f64>,
    /// Why it reports.
    #[serde(default)]
    pub reason: Option<String>,
    /// Accepted for existing clients; roles are those of the connection.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// Accepted for existing clients; scopes are those of the connection.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Marks to show.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub tags: Option<Vec<String>>,
}

/// It was taken.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventReply {
    /// Always true.
    pub ok: bool,
}

/// `system-event`.
pub struct SystemEvent;

impl Method for SystemEvent {
    const NAME: &'static str = "system-event";
    const SCOPE: Scope = Scope::Admin;
    const RATE: Rate = Rate::Write;
    const LOOSE: bool = true;
    type Params = EventParams;
    type Output = EventReply;

    async fn call(cx: Call, params: EventParams) -> Result<EventReply, RpcError> {
        let text = params.text.as_deref().map(str::trim).unwrap_or_default().to_owned();
        if text.is_empty() {
            return Err(RpcError::invalid("text required"));
        }
        if text.len() > MAX_TEXT {
            return Err(RpcError::invalid(format!("invalid system-event params: at /text: must not be longer than {MAX_TEXT} bytes")));
        }
        let gateway = &cx.gateway;
        let main = gateway.sessions.settings().main_key(gateway.agents().default_id());
        let is_node = text.starts_with(PREFIX);
        let report = report_of(&text, is_node, params, gateway.now());
        let device = [&report.device_id, &report.instance_id, &report.host, &report.ip].into_iter().flatten().next().cloned();
        let seen = device.as_ref().and_then(|device| gateway.presence.report(&cx.caller.conn_id, device, report));
        if !is_node {
            gateway.system_events.push(&main, &text, None);
        } else if let (Some(device), Some((before, after))) = (device, seen) {
            let again = gateway.system_events.is_about_another(&main, &device);
            if let Some(news) = presence_line::news(&before, &after, again) {
                gateway.system_events.push(&main, &news, Some(&device));
            }
        }
        Ok(EventReply { ok: true })
    }
}

/// What a client reports: its parameters, and what only the line says.
fn report_of(text: &str, is_node: bool, params: EventParams, now: u64) -> PresenceEntry {
    let named = |value: Option<String>| value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let mut report = PresenceEntry {
        ts: now,
        host: named(params.host),
        ip: named(params.ip),
        version: named(params.version),
        platform: named(params.platform),
        device_family: named(params.device_family),
        model_identifier: named(params.model_identifier),
        mode: named(params.mode).map(Into::into),
        last_input_seconds: params.last_input_seconds.map(|seconds| seconds as u64),
        reason: named(params.reason).map(Into::into),
        text: Some(text.to_owned()),
        device_id: named(params.device_id),
        instance_id: named(params.instance_id),
        tags: params.tags.unwrap_or_default(),
        ..PresenceEntry::default()
    };
    if is_node {
        report.fill_from(&presence_line::parse(text));
    }
    report
}
