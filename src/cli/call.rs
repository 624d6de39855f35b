//! `call`: any method of the gateway, for what has no command of its own.

use std::io::Read;

use clap::Args;
use serde_json::Value;

use super::client::{Client, Incoming};
use super::error::CliError;
use super::output::Output;
use super::target::TargetArgs;

/// Longest parameters from stdin.
const MAX_PARAMS_BYTES: u64 = 24 << 20;

/// Call a method and print its answer as JSON
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  skykoi-gateway call health\n  skykoi-gateway call runs.list --params '{\"limit\": 5}'\n  skykoi-gateway call agent --params '{\"message\": \"date\"}' --final"
)]
pub struct CallArgs {
    /// The method, such as `health`
    pub method: String,
    /// Its parameters, a JSON object; `-` reads them from stdin
    #[arg(long, value_name = "JSON", default_value = "{}", allow_hyphen_values = true)]
    pub params: String,
    /// Wait for the second answer of a method that first says `accepted`
    #[arg(long = "final")]
    pub wait: bool,
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Runs the command. An answer of nothing is printed as `null`, a refusal on stderr as JSON.
///
/// # Errors
/// The gateway refuses or stays away.
pub async fn run(args: CallArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let target = args.target.resolve()?;
    let params = params(&args.params, &mut std::io::stdin())?;
    let mut client = Client::connect(&target).await?;
    let id = client.send(&args.method, &params).await?;
    loop {
        let Incoming::Answer(answer) = client.next().await? else { continue };
        if answer.id != id {
            continue;
        }
        let first = matches!(answer.payload.get("status").and_then(Value::as_str), Some("accepted" | "in_flight"));
        if args.wait && first && answer.refusal.is_none() {
            continue;
        }
        if answer.refusal.is_none() || !answer.payload.is_null() {
            out.line(&serde_json::to_string_pretty(&answer.payload).unwrap_or_default())?;
        }
        return match answer.refusal {
            None => Ok(0),
            Some(refusal) => {
                if let Some(details) = &refusal.details {
                    out.say(&details.to_string());
                }
                Err(CliError::Refused(Box::new(refusal)))
            }
        };
    }
}

fn params(text: &str, stdin: &mut dyn Read) -> Result<Value, CliError> {
    let mut from_stdin = String::new();
    let text = if text == "-" {
        let read = stdin.take(MAX_PARAMS_BYTES).read_to_string(&mut from_stdin);
        read.map_err(|error| CliError::Usage(format!("cannot read the parameters from stdin: {error}")))?;
        &from_stdin
    } else {
        text
    };
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(CliError::Usage("--params: must be a JSON object, such as '{\"limit\": 5}'".to_owned())),
        Err(error) => Err(CliError::Usage(format!("--params: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_an_object_from_the_command_line_or_stdin() {
        assert!(params("{\"a\": 1}", &mut std::io::empty()).is_ok());
        assert_eq!(params("-", &mut "{\"a\": 2}".as_bytes()).unwrap()["a"], 2);
        for wrong in ["[1]", "3", "", "{a: 1}", "{} {}"] {
            assert!(matches!(params(wrong, &mut std::io::empty()), Err(CliError::Usage(_))), "{wrong}");
        }
    }
}
