//! `devices list|approve|reject|revoke|remove|rotate|setup-code`: who may come in by a key of its own.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ask};
use super::error::CliError;
use super::output::Output;
use super::table::{columns, duration, plain};
use super::target::TargetArgs;
use crate::clock;

/// See, approve and revoke devices
#[derive(Args, Clone, Debug)]
pub struct DevicesArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DevicesCommand,
    /// Print the gateway's answer as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// What to do with devices.
#[derive(Subcommand, Clone, Debug)]
pub enum DevicesCommand {
    /// List the devices that wait for an approval and those that are paired
    List,
    /// Let a device in; compare the code or the key with what its screen shows
    Approve {
        /// The code that the device shows, or the request's id
        request: String,
        /// Grant only this scope of those that it asks for; may be repeated
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
    },
    /// Send a device away
    Reject {
        /// The code that the device shows, or the request's id
        request: String,
    },
    /// Take back what a device was granted; its connections end at once
    Revoke {
        /// The device: its id, the beginning of it, or its key in words
        device: String,
        /// For which role
        #[arg(long, default_value = "operator", value_parser = ["operator", "node"])]
        role: String,
    },
    /// Forget a device with everything that it was granted
    Remove {
        /// The device: its id, the beginning of it, or its key in words
        device: String,
    },
    /// Replace a device's token; it fetches the new one by itself
    Rotate {
        /// The device: its id, the beginning of it, or its key in words
        device: String,
        /// For which role
        #[arg(long, default_value = "operator", value_parser = ["operator", "node"])]
        role: String,
    },
    /// Make a code with which one device comes in without an approval, within ten minutes
    SetupCode {
        /// A scope to grant; may be repeated [default: operator.read and operator.write]
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// The gateway cannot be reached or refuses.
pub async fn run(args: DevicesArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let target = args.target.resolve()?;
    let (method, mut params, text): (_, _, fn(&Value) -> String) = match &args.command {
        DevicesCommand::List => return ask(&target, "device.pair.list", &json!({}), args.json, list, out).await,
        DevicesCommand::SetupCode { .. } => ("device.pair.setup", json!({}), setup_code),
        DevicesCommand::Approve { .. } => ("device.pair.approve", json!({}), approved),
        DevicesCommand::Reject { .. } => ("device.pair.reject", json!({}), |_| "rejected".to_owned()),
        DevicesCommand::Revoke { role, .. } => {
            ("device.token.revoke", json!({"role": role}), |_| "revoked; its connections end now".to_owned())
        }
        DevicesCommand::Rotate { role, .. } => {
            ("device.token.rotate", json!({"role": role}), |_| "rotated; the device fetches its new token when it connects".to_owned())
        }
        DevicesCommand::Remove { .. } => ("device.pair.remove", json!({}), |_| "removed; its connections end now".to_owned()),
    };
    let mut client = Client::connect(&target).await?;
    let object = |params: &mut Value, key: &str, value: Value| {
        if let Some(params) = params.as_object_mut() {
            params.insert(key.to_owned(), value);
        }
    };
    match &args.command {
        DevicesCommand::Approve { request, .. } | DevicesCommand::Reject { request } => {
            let listed = client.call("device.pair.list", &json!({})).await?;
            object(&mut params, "requestId", request_id(&listed, request)?.into());
        }
        DevicesCommand::Revoke { device, .. } | DevicesCommand::Rotate { device, .. } | DevicesCommand::Remove { device } => {
            let listed = client.call("device.pair.list", &json!({})).await?;
            object(&mut params, "deviceId", device_id(&listed, device)?.into());
        }
        DevicesCommand::List | DevicesCommand::SetupCode { .. } => {}
    }
    if let DevicesCommand::Approve { scopes, .. } | DevicesCommand::SetupCode { scopes } = &args.command
        && !scopes.is_empty()
    {
        object(&mut params, "scopes", json!(scopes));
    }
    let answer = client.call(method, &params).await?;
    out.line(&if args.json { answer.to_string() } else { text(&answer) })?;
    Ok(0)
}

fn field<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn rows<'v>(listed: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    listed.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The one request of this code or id. What is not listed goes to the gateway as it is, which knows what became of it.
fn request_id(listed: &Value, named: &str) -> Result<String, CliError> {
    let code = crate::auth::pairing::words::plain_code(named);
    let found: Vec<_> = rows(listed, "pending").filter(|row| field(row, "code") == code || field(row, "requestId") == named).collect();
    match found.as_slice() {
        [] if named.len() < 32 => {
            Err(CliError::Usage(format!("no device waits with the code {}; `devices list` shows those that do", plain(named, 64))))
        }
        [] => Ok(named.to_owned()),
        [one] => Ok(field(one, "requestId").to_owned()),
        _ => Err(CliError::Usage(format!("several requests have the code {}; name one by its id", plain(named, 64)))),
    }
}

fn device_id(listed: &Value, named: &str) -> Result<String, CliError> {
    let known = |row: &&Value| field(row, "fingerprint") == named || (named.len() >= 6 && field(row, "deviceId").starts_with(named));
    let found: Vec<_> = rows(listed, "paired").filter(known).collect();
    match found.as_slice() {
        [] => Err(CliError::Usage(format!("no paired device is {}; `devices list` shows them", plain(named, 64)))),
        [one] => Ok(field(one, "deviceId").to_owned()),
        _ => Err(CliError::Usage(format!("several devices begin with {}; write more of the id", plain(named, 64)))),
    }
}

fn scopes(row: &Value) -> String {
    let names = row.get("scopes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let names: Vec<_> = names.map(|name| plain(name.trim_start_matches("operator."), 16)).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

fn name(row: &Value) -> String {
    let name = [field(row, "displayName"), field(row, "clientId")].into_iter().find(|name| !name.is_empty()).unwrap_or("-");
    plain(name, 40)
}

fn list(answer: &Value) -> String {
    let now = clock::now_ms();
    let time = |row: &Value, key: &str| row.get(key).and_then(Value::as_u64);
    let ago = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), |at| duration(now.saturating_sub(at)));
    let cell = |row: &Value, key: &str| if field(row, key).is_empty() { "-".to_owned() } else { plain(field(row, key), 48) };
    let mut waiting = vec![["WAITING", "NAME", "FROM", "SCOPES", "WHY", "LEFT", "KEY"].map(str::to_owned).to_vec()];
    waiting.extend(rows(answer, "pending").map(|row| {
        let left = time(row, "expiresAtMs").unwrap_or(0).saturating_sub(now);
        vec![
            cell(row, "code"),
            name(row),
            cell(row, "remoteIp"),
            scopes(row),
            cell(row, "reason"),
            duration(left),
            cell(row, "fingerprint"),
        ]
    }));
    let mut paired = vec![["DEVICE", "NAME", "SCOPES", "USED", "PAIRED", "KEY"].map(str::to_owned).to_vec()];
    paired.extend(rows(answer, "paired").map(|row| {
        let used = rows(row, "tokens").filter_map(|token| time(token, "lastUsedAtMs")).max();
        let revoked = row.get("roles").and_then(Value::as_array).is_none_or(Vec::is_empty);
        let granted = if revoked { "revoked".to_owned() } else { scopes(row) };
        vec![plain(field(row, "deviceId"), 12), name(row), granted, ago(used), ago(time(row, "approvedAtMs")), cell(row, "fingerprint")]
    }));
    let tables: Vec<_> = [waiting, paired].iter().filter(|table| table.len() > 1).map(|table| columns(table)).collect();
    if tables.is_empty() { "no devices".to_owned() } else { tables.join("\n\n") }
}

fn approved(answer: &Value) -> String {
    let device = answer.get("device").cloned().unwrap_or_default();
    format!("approved {} ({}): {}", name(&device), plain(field(&device, "fingerprint"), 32), scopes(&device))
}

fn setup_code(answer: &Value) -> String {
    let left = answer.get("expiresAtMs").and_then(Value::as_u64).unwrap_or(0).saturating_sub(clock::now_ms());
    format!("{}\ngood for one device and {} from now: {}", plain(field(answer, "code"), 64), duration(left), scopes(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Value {
        json!({
            "pending": [{"requestId": "0b9a5a52-6d0e-4a5c-9a07-1b8a0f0a7c11", "code": "lusab-babad", "fingerprint": "a", "displayName": "x\u{1b}[2J", "scopes": ["operator.read"], "reason": "not-paired", "expiresAtMs": 1}],
            "paired": [
                {"deviceId": "aabbccddeeff00112233", "fingerprint": "gutih-tugad", "roles": ["operator"], "scopes": ["operator.admin"], "tokens": [], "approvedAtMs": 1},
                {"deviceId": "aabbcc9999", "fingerprint": "mudof-sakat", "roles": [], "scopes": [], "tokens": [], "approvedAtMs": 1},
            ],
        })
    }

    #[test]
    fn a_request_is_named_by_its_code_as_people_type_it_or_by_its_id() {
        let id = "0b9a5a52-6d0e-4a5c-9a07-1b8a0f0a7c11";
        for named in ["lusab-babad", "LUSAB BABAD", id] {
            assert_eq!(request_id(&listed(), named).unwrap(), id);
        }
        assert!(request_id(&listed(), "lusab-babar").is_err());
        let gone = "11111111-6d0e-4a5c-9a07-1b8a0f0a7c11";
        assert_eq!(request_id(&listed(), gone).unwrap(), gone);
    }

    #[test]
    fn a_device_is_named_by_its_key_in_words_or_by_enough_of_its_id() {
        assert_eq!(device_id(&listed(), "gutih-tugad").unwrap(), "aabbccddeeff00112233");
        assert_eq!(device_id(&listed(), "aabbccdd").unwrap(), "aabbccddeeff00112233");
        assert!(device_id(&listed(), "aabbcc").unwrap_err().to_string().contains("several"));
        assert!(device_id(&listed(), "aab").is_err() && device_id(&listed(), "ffffff").is_err());
    }

    #[test]
    fn lists_show_who_waits_and_who_is_paired_without_tricks() {
        let text = list(&listed());
        assert!(text.contains("lusab-babad") && text.contains("x [2J") && text.contains("revoked") && text.contains("admin"), "{text}");
        assert_eq!(list(&json!({"pending": [], "paired": []})), "no devices");
    }
}
