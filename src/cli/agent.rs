//! `agent`: give an agent a message and show what comes of it.

use std::io::Read;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::CliError;
use super::interrupt::Interrupts;
use super::output::Output;
use super::target::TargetArgs;
use super::watch::{Watch, conclude};

/// Longest message from stdin; the gateway takes no larger frame.
const MAX_MESSAGE_BYTES: u64 = 24 << 20;

/// Run a message: without a model it is a shell script, with one the agent works on it
///
/// Output appears as it is produced: what the command writes to stdout on stdout, the rest on stderr. Of an agent the words go to stdout, its tools and what they print to stderr. The exit code is the command's own; 128 + n when signal n ended it, 124 when its time was up, 130 when it was aborted.
///
/// Ctrl-C aborts the run; a second Ctrl-C leaves without waiting for its end. When the connection is lost, the run goes on and the output is continued without a gap, for up to 60 s without a gateway.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  skykoi-gateway agent 'uname -a && df -h /'\n  skykoi-gateway agent --timeout 60 --session build 'make -j2' > log\n  cat script.sh | skykoi-gateway agent -"
)]
pub struct AgentArgs {
    /// The message; `-` reads it from stdin
    #[arg(value_name = "MESSAGE", allow_hyphen_values = true)]
    pub message: String,
    /// Session that the run belongs to; runs of one session take turns [default: the agent's main session]
    #[arg(long, value_name = "KEY")]
    pub session: Option<String>,
    /// The agent [default: the default agent]
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
    /// Time limit in seconds [default: what the configuration says]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Print the run's events as lines of JSON; the last one has the outcome
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Runs the command. Returns the exit code.
///
/// # Errors
/// The gateway refuses or stays away.
pub async fn run(args: AgentArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let target = args.target.resolve()?;
    let request = request(&args, &mut std::io::stdin())?;
    let mut interrupts = Interrupts::take().map_err(|error| CliError::Local(format!("cannot take Ctrl-C: {error}")))?;
    let mut watch = Watch::start(&target, request, args.json, out, &mut interrupts);
    let ended = watch.to_end().await;
    let run_id = watch.run_id().map(str::to_owned);
    if let (Err(CliError::Output(_) | CliError::Interrupted), Some(run_id)) = (&ended, &run_id) {
        out.say(&format!("left the run; it can be followed with: skykoi-gateway runs follow {run_id}"));
    }
    Ok(conclude(out, run_id.as_deref(), &ended?))
}

fn request(args: &AgentArgs, stdin: &mut dyn Read) -> Result<Value, CliError> {
    let message = if args.message == "-" { read_message(stdin)? } else { args.message.clone() };
    if message.trim().is_empty() {
        return Err(CliError::Usage("the message is empty".to_owned()));
    }
    Ok(json!(Request {
        message,
        // The key makes it safe to ask again when the answer was lost.
        idempotency_key: Uuid::now_v7().to_string(),
        session_key: args.session.as_deref(),
        agent_id: args.agent.as_deref(),
        timeout: args.timeout,
    }))
}

/// Parameters of the method `agent`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    message: String,
    idempotency_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
}

fn read_message(stdin: &mut dyn Read) -> Result<String, CliError> {
    let mut message = String::new();
    let n = stdin.take(MAX_MESSAGE_BYTES + 1).read_to_string(&mut message);
    let n = n.map_err(|error| CliError::Usage(format!("cannot read the message from stdin: {error}")))?;
    if n as u64 > MAX_MESSAGE_BYTES {
        return Err(CliError::Usage(format!("the message on stdin is longer than {MAX_MESSAGE_BYTES} bytes")));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(message: &str) -> AgentArgs {
        AgentArgs { message: message.to_owned(), session: None, agent: None, timeout: None, json: false, target: TargetArgs::default() }
    }

    #[test]
    fn each_request_has_a_key_of_its_own_and_only_what_was_given() {
        let first = request(&args("ls"), &mut std::io::empty()).unwrap();
        let second = request(&args("ls"), &mut std::io::empty()).unwrap();
        assert_ne!(first["idempotencyKey"], second["idempotencyKey"]);
        assert_eq!(first.as_object().unwrap().len(), 2);
        let full = AgentArgs { session: Some("s".into()), agent: Some("a".into()), timeout: Some(5), ..args("ls") };
        let full = request(&full, &mut std::io::empty()).unwrap();
        assert_eq!((full["sessionKey"].as_str(), full["agentId"].as_str(), full["timeout"].as_u64()), (Some("s"), Some("a"), Some(5)));
    }

    #[test]
    fn a_dash_reads_the_message_from_stdin() {
        let request = request(&args("-"), &mut "echo a\necho b\n".as_bytes()).unwrap();
        assert_eq!(request["message"], "echo a\necho b\n");
    }

    #[test]
    fn an_empty_message_and_one_that_is_no_text_are_refused() {
        assert!(request(&args(" \n"), &mut std::io::empty()).is_err());
        assert!(request(&args("-"), &mut std::io::empty()).is_err());
        assert!(request(&args("-"), &mut &[0xff_u8, 0xfe][..]).is_err());
    }
}
