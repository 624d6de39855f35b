//! The command line: one file per command, each with its options and a function that runs it.
//!
//! Results go to stdout, everything said to a person to stderr. The exit codes below are part of the interface.

pub mod agent;
pub mod approvals;
pub mod audit;
pub mod call;
pub mod client;
pub mod completions;
pub mod config;
mod config_edit;
pub mod configs;
pub mod conformance;
pub mod devices;
pub mod doctor;
pub mod error;
#[cfg(test)]
mod fake;
#[cfg(debug_assertions)]
pub mod generate;
pub mod identity;
pub mod init;
pub mod interrupt;
#[cfg(debug_assertions)]
pub mod matrix;
pub mod output;
pub mod pair;
pub mod runs;
pub mod sessions;
mod shown;
pub mod start;
pub mod status;
pub mod table;
pub mod target;
pub mod token;
pub mod version;
pub mod watch;
#[cfg(test)]
mod watch_tests;
pub mod wire;

use std::io::{self, Write};

use clap::{Parser, Subcommand};

use self::error::{CliError, OK, USAGE};
use self::output::Output;

const AFTER_HELP: &str = "\
Five minutes:
  skykoi-gateway init                      write a configuration with a token of its own
  skykoi-gateway start                     run the gateway (systemctl start skykoi-gateway, once installed)
  skykoi-gateway agent 'uname -a; df -h'   run a script and see its output
  skykoi-gateway runs list                 what ran; `runs follow RUN` shows it again, also live
  skykoi-gateway sessions list             the conversations; `sessions reset KEY` starts one afresh
  skykoi-gateway approvals list            commands that wait for a decision; `approvals allow ID`
  skykoi-gateway status                    how the gateway is
  skykoi-gateway doctor --security         what is wrong with it and its machine, and how to mend it

Commands talk to the gateway of this machine through its socket. For another one add
  --url wss://vm.example.com --token-file token.txt
or pair this machine with it once (`pair --url …`) and leave the token out; and, if its certificate is its own, --fingerprint SHA256 or --ca FILE.

Exit codes:
   0  all went well               70  a defect of the program
  64  wrong command line          73  a file cannot be made
  65  the audit log has a bad     75  try again later
      record                      77  not allowed
  69  no gateway answers          78  the configuration is wrong
`doctor` exits with 1 for a warning and 2 for something critical.
`agent` and `runs follow` exit as the run did: its exit code, 128 + n after signal n,
124 when its time was up, 130 when it was aborted.";

/// Run shell work and agents on this machine, durably, and stream what they do
///
/// One daemon (`start`) takes requests over WebSocket and a local socket; each run of work has a process of its own, outlives connections and restarts, and can be followed from its first line at any time.
#[derive(Parser, Clone, Debug)]
#[command(name = "skykoi-gateway", version, after_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Clone, Debug)]
#[expect(missing_docs, reason = "a command is described at its options; a text here would replace that one in the help")]
pub enum Command {
    Start(start::StartArgs),
    Init(start::InitArgs),
    Status(status::StatusArgs),
    Doctor(doctor::DoctorArgs),
    Agent(agent::AgentArgs),
    Runs(runs::RunsArgs),
    Sessions(sessions::SessionsArgs),
    Approvals(approvals::ApprovalsArgs),
    Devices(devices::DevicesArgs),
    Pair(pair::PairArgs),
    Call(call::CallArgs),
    Config(configs::ConfigArgs),
    Audit(audit::AuditArgs),
    Token(token::TokenArgs),
    Conformance(conformance::ConformanceArgs),
    Version(version::VersionArgs),
    Completions(completions::CompletionsArgs),
    #[cfg(debug_assertions)]
    #[command(hide = true)]
    Gen(generate::GenArgs),
}

/// Reads the command line of this process and runs the command. Returns the exit code.
#[must_use]
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are what was asked for; everything else is a wrong command line.
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { OK };
        }
    };
    let (mut result, mut talk) = (io::stdout(), io::stderr());
    match run(cli.command, &mut Output { result: &mut result, talk: &mut talk }) {
        Ok(code) => code,
        Err(error) => {
            // Nobody is there to read why nobody is there.
            if error.exit_code() != error::BROKEN_PIPE {
                let _ = writeln!(talk, "skykoi-gateway: {error}");
            }
            error.exit_code()
        }
    }
}

fn run(command: Command, out: &mut Output<'_>) -> Result<u8, CliError> {
    match command {
        Command::Start(args) => start::run(&args, out),
        Command::Init(args) => init::run(&args, out),
        Command::Config(args) => configs::run(&args, out),
        Command::Audit(args) => audit::run(&args, out),
        Command::Token(args) => token::run(&args, out),
        Command::Version(args) => version::run(&args, out),
        Command::Completions(args) => completions::run(&args, out),
        #[cfg(debug_assertions)]
        Command::Gen(args) => generate::run(&args, out),
        Command::Status(args) => wait(status::run(args, out)),
        Command::Doctor(args) => wait(doctor::run(args, out)),
        Command::Agent(args) => wait(agent::run(args, out)),
        Command::Runs(args) => wait(runs::run(args, out)),
        Command::Sessions(args) => wait(sessions::run(args, out)),
        Command::Approvals(args) => wait(approvals::run(args, out)),
        Command::Devices(args) => wait(devices::run(args, out)),
        Command::Pair(args) => wait(pair::run(args, out)),
        Command::Call(args) => wait(call::run(args, out)),
        Command::Conformance(args) => wait(conformance::run(args, out)),
    }
}

/// A client waits more than it works: one thread does.
fn wait(work: impl Future<Output = Result<u8, CliError>>) -> Result<u8, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::Local(format!("cannot start: {error}")))?.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_is_explained() {
        fn look(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
                assert!(!about.is_empty() && !about.starts_with("See ["), "{path}: {about}");
                for arg in sub.get_arguments().filter(|arg| !arg.is_hide_set()) {
                    assert!(arg.get_help().is_some(), "{path} {}", arg.get_id());
                }
                look(sub, &path);
            }
        }
        let mut command = Cli::command();
        command.build();
        look(&command, "skykoi-gateway");
    }

    #[test]
    fn the_documented_forms_are_understood() {
        for line in [
            "start --config c --port 1 --bind lan --token-file t --state-dir s",
            "start --host 127.0.0.1",
            "init --state-dir s",
            "doctor --security --json --state-dir s --config c",
            "status --json --url wss://h --token-file t --ca f",
            "agent ls --session s --agent a --timeout 5 --json",
            "agent -- -rf",
            "agent -",
            "runs list --limit 5 --url wss://h",
            "runs --url wss://h list",
            "runs show r --json",
            "runs follow r --after 3",
            "runs abort r",
            "sessions list --limit 5 --search x --active 60",
            "sessions show main --json",
            "sessions reset main",
            "sessions delete x --keep-transcript",
            "sessions import /x/sessions.json --agent koi",
            "approvals list --all --json",
            "approvals show 3f",
            "approvals allow 3f --always",
            "approvals deny 3f",
            "devices list --json",
            "devices approve lusab-babad --scope operator.read --scope operator.write",
            "devices reject lusab-babad",
            "devices revoke aabbccddeeff --role node",
            "devices remove aabbccddeeff",
            "devices rotate aabbccddeeff",
            "devices setup-code --scope operator.read",
            "pair --url wss://h --name n --scope operator.admin --setup-code - --json",
            "call health --params {}",
            "call x --params - --final",
            "config check",
            "config explain gateway.port --json --state-dir s",
            "config get gateway.port",
            "config set gateway.port 4000 --state-dir s",
            "config set gateway.auth.token -",
            "config unset gateway.port",
            "audit verify --state-dir s --key k --head 1:0 --json",
            "audit show --action auth. --actor a --since 2026-11-21T07:00:00Z --limit 5",
            "audit export --from 1 --to 5 --decision deny --dir d",
            "audit key",
            "token new",
            "token new ci --scopes read,write --expires 30d --state-dir s",
            "token list --json",
            "token revoke ci",
            "token rotate ci --expires 12h",
            "token password",
            "conformance --url ws://h --token-file t --filter agent --protocol 3 --json --allow-writes --no-shell --slow",
            "conformance --list --cases a.json5 --cases b.json5",
            "version --json",
            "completions fish --name skg",
        ] {
            let words = std::iter::once("skykoi-gateway").chain(line.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    /// One key of 64 does, which `audit key` prints and `audit verify` is given.
    #[test]
    fn values_that_machines_make_may_begin_with_a_hyphen() {
        for line in [
            "audit verify --key -Tq8_w --json",
            "audit verify --key --q8_w --key k",
            "audit show --actor -a --target -t",
            "sessions list --search -x",
            "status --token --secret",
            "start --token --secret",
        ] {
            let words = std::iter::once("skykoi-gateway").chain(line.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for line in ["", "frobnicate", "start --port 70000", "runs list --limit 0", "status --url u --state-dir s", "agent"] {
            let words = std::iter::once("skykoi-gateway").chain(line.split(' ').filter(|word| !word.is_empty()));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn completions_are_made_for_every_shell() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let (mut result, mut talk) = (Vec::new(), Vec::new());
            let args = completions::CompletionsArgs { shell, name: "skg".to_owned() };
            completions::run(&args, &mut Output { result: &mut result, talk: &mut talk }).unwrap();
            assert!(String::from_utf8(result).unwrap().contains("skg"));
        }
    }
}
