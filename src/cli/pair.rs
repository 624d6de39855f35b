//! `pair`: make this machine a device of a gateway. It shows a code, somebody approves it there, and from then on commands with the same `--url` come in by themselves.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Client, Shown};
use super::error::{CliError, OK, Refusal};
use super::identity::{Home, Known};
use super::output::Output;
use super::table::plain;
use super::target::{Remote, Target, TargetArgs};
use crate::auth::pairing::{REQUEST_LIFE_MS, words};

/// How often the gateway is asked whether somebody has decided.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// Pair this machine with a gateway: one command here, one approval there
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  skykoi-gateway pair --url wss://vm.example.com\n  skykoi-gateway pair --url wss://vm.example.com --scope operator.admin --name laptop\n  skykoi-gateway pair --url wss://vm.example.com --setup-code -   (reads the code of `devices setup-code` from stdin)"
)]
pub struct PairArgs {
    /// What this machine is called in lists [default: its host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A scope to ask for, such as operator.admin; may be repeated [default: operator.read and operator.write]
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// File with a setup code, `-` for stdin: then nobody has to approve
    #[arg(long, value_name = "FILE")]
    pub setup_code: Option<std::path::PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Runs the command.
///
/// # Errors
/// The gateway cannot be reached, nobody approves in time, or it is refused.
pub async fn run(args: PairArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let Target::Remote(remote) = args.target.resolve()? else {
        return Err(CliError::Usage(
            "pair needs the gateway's address: --url wss://HOST[:PORT] (the local gateway needs no pairing)".to_owned(),
        ));
    };
    remote.refuse_plaintext()?;
    let home = Home::find()?;
    let identity = home.key_or_new()?;
    let code = args.setup_code.as_deref().map(read_code).transpose()?;
    let scopes = if args.scopes.is_empty() { vec!["operator.read".to_owned(), "operator.write".to_owned()] } else { args.scopes.clone() };
    let name = args.name.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let shown = Shown {
        identity: &identity,
        scopes: &scopes,
        name: Some(&name),
        token: remote.token.as_deref(),
        device_token: None,
        code: code.as_deref(),
    };
    let until = Instant::now() + Duration::from_millis(REQUEST_LIFE_MS);
    let mut request: Option<String> = None;
    loop {
        match Client::connect_device(&Target::Remote(std::sync::Arc::clone(&remote)), &shown).await {
            Ok((hello, gateway_id)) => return paired(&remote, &home, &hello, gateway_id, args.json, out),
            Err(CliError::Refused(refusal)) if refusal.detail_code() == "PAIRING_REQUIRED" => {
                let id = detail(&refusal, "requestId").unwrap_or_default().to_owned();
                match &request {
                    None => tell(&id, &identity.device_id, out),
                    Some(first) if *first != id => return Err(over()),
                    Some(_) => {}
                }
                request = Some(id);
            }
            // The gateway restarts, or the line is down for a moment: somebody may be about to approve.
            Err(CliError::Unreachable(_)) if request.is_some() => {}
            Err(error) => return Err(error),
        }
        if Instant::now() + ASK_AGAIN > until {
            return Err(over());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn tell(request_id: &str, device_id: &str, out: &mut Output<'_>) {
    // Computed here: a code that somebody else's screen shows would not be this machine's.
    let code = words::code(request_id, device_id);
    out.say(&format!(
        "the code of this machine is\n\n    {code}\n\nits key is {}\nApprove it within 5 minutes, on the gateway: skykoi-gateway devices approve {code}",
        words::fingerprint(device_id)
    ));
}

fn over() -> CliError {
    let text = "the request is over: nobody has approved it in time; run this command again to ask again".to_owned();
    CliError::Refused(Box::new(Refusal { code: "NOT_PAIRED".to_owned(), message: text, details: None, retryable: false }))
}

fn paired(remote: &Remote, home: &Home, hello: &Value, gateway_id: String, as_json: bool, out: &mut Output<'_>) -> Result<u8, CliError> {
    let Some(token) = hello.pointer("/auth/deviceToken").and_then(Value::as_str) else {
        return Err(CliError::Local(
            "the gateway let this machine in without pairing it: its secret was shown, and that is enough there".to_owned(),
        ));
    };
    let scopes = hello.pointer("/auth/scopes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let scopes: Vec<String> = scopes.map(str::to_owned).collect();
    let fingerprint = remote.fingerprint.clone();
    home.keep(
        &remote.name(),
        Known { device_token: token.to_owned(), gateway_id: gateway_id.clone(), fingerprint, scopes: scopes.clone() },
    )?;
    let host = hello.pointer("/server/host").and_then(Value::as_str).unwrap_or("-");
    let told = if as_json {
        json!({"paired": true, "url": remote.name(), "gatewayId": gateway_id, "host": host, "scopes": scopes}).to_string()
    } else {
        let granted = scopes.iter().map(|scope| plain(scope, 40)).collect::<Vec<_>>().join(", ");
        format!(
            "paired with {} ({}): {granted}\nCommands with --url {} come in by themselves now.",
            plain(host, 64),
            remote.name(),
            remote.name()
        )
    };
    out.line(&told)?;
    Ok(OK)
}

fn detail<'r>(refusal: &'r Refusal, key: &str) -> Option<&'r str> {
    refusal.details.as_ref()?.get(key)?.as_str()
}

fn read_code(path: &std::path::Path) -> Result<String, CliError> {
    use std::io::Read;
    let wrong = |error: std::io::Error| CliError::Usage(format!("--setup-code {}: {error}", path.display()));
    let mut text = String::new();
    if path == std::path::Path::new("-") {
        std::io::stdin().take(1024).read_to_string(&mut text).map_err(wrong)?;
    } else {
        std::fs::File::open(path).map_err(wrong)?.take(1024).read_to_string(&mut text).map_err(wrong)?;
    }
    let code = words::plain_code(&text);
    if code.is_empty() {
        Err(CliError::Usage("--setup-code: expected the five words of `devices setup-code`".to_owned()))
    } else {
        Ok(code)
    }
}
