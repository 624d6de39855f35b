//! `start`: the daemon in the foreground. Also the options that it shares with `init` and `config`.

use std::path::PathBuf;

use clap::Args;

use super::error::{CliError, OK};
use super::output::Output;
use super::target::refuse_token;
use crate::config::host::Host;
use crate::config::layers::{FlagLayer, Sources};
use crate::daemon::{self, Ended, harden};
use crate::exec::probe;

/// Run the gateway in the foreground until SIGTERM or Ctrl-C
///
/// Options win over the environment, that over the configuration file, that over the defaults. Runs outlive the gateway: they go on while it is restarted.
#[derive(Args, Clone, Debug, Default)]
pub struct StartArgs {
    /// Where configuration and state are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// TCP port [default: 18789]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Where to listen: `loopback`, `lan`, another word of gateway.bind, or an IP address [default: loopback]
    #[arg(long, visible_alias = "host", value_name = "WHERE")]
    pub bind: Option<String>,
    /// File that holds the gateway's token and nothing else
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Refused: other users of this machine can read it in the process list
    #[arg(long, hide = true, value_name = "TOKEN", allow_hyphen_values = true)]
    pub token: Option<String>,
}

/// Where configuration and state are.
#[derive(Args, Clone, Debug, Default)]
pub struct PlaceArgs {
    /// Configuration file [default: $SKYKOI_CONFIG_PATH or <state directory>/skykoi.json]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State directory [default: $SKYKOI_STATE_DIR or ~/.skykoi]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Write a commented configuration file with a token of its own, unless there is one
#[derive(Args, Clone, Debug, Default)]
pub struct InitArgs {
    /// Where configuration and state are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Where the program of the runner `codex` is, an absolute path [default: `codex` in PATH]
    #[arg(long, value_name = "FILE")]
    pub codex_bin: Option<PathBuf>,
    /// Where the program of the runner `claude` is, an absolute path [default: `claude` in PATH]
    #[arg(long, value_name = "FILE")]
    pub claude_bin: Option<PathBuf>,
}

/// Runs the daemon until it is told to stop. Returns the exit code.
///
/// # Errors
/// A token was given where every user of the machine can read it.
pub fn run(args: &StartArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let mut sources = args.sources()?;
    let unread = |cause| CliError::Local(format!("the secrets that an earlier start of this process kept back cannot be read: {cause}"));
    harden::receive(&mut sources).map_err(unread)?;
    if let Err(cause) = harden::leave_environment(&sources) {
        out.say(&format!("the secrets in the environment stay there, where processes of this user can read them: {cause}"));
    }
    Ok(match daemon::run(&sources, &mut out.result) {
        Ok(Ended::Stopped) => OK,
        Ok(Ended::Restart) => {
            let cause = harden::start_again(&sources);
            out.say(&format!("the gateway cannot start itself again: {cause}"));
            daemon::exit::TRY_LATER
        }
        Err(error) => {
            out.say(&error.text);
            error.code
        }
    })
}

impl StartArgs {
    /// What the options and the environment say about the configuration.
    ///
    /// # Errors
    /// A token was given where every user of the machine can read it.
    pub fn sources(&self) -> Result<Sources, CliError> {
        refuse_token(self.token.as_deref())?;
        Ok(Sources::of_process(FlagLayer {
            port: self.port,
            bind: self.bind.clone(),
            token_file: self.token_file.clone(),
            ..self.place.flags()
        }))
    }
}

impl PlaceArgs {
    /// What the options and the environment say about the configuration.
    #[must_use]
    pub fn sources(&self) -> Sources {
        // Asked only when the configuration demands some isolation.
        Sources { host: Host::tried_by(probe::look), ..Sources::of_process(self.flags()) }
    }

    fn flags(&self) -> FlagLayer {
        FlagLayer { config: self.config.clone(), state_dir: self.state_dir.clone(), ..FlagLayer::default() }
    }
}
