//! Options of `config`; what its commands do is in `config.rs` beside this.

use clap::{Args, Subcommand};

use super::config::{self, ConfigCommand};
use super::config_edit;
use super::error::CliError;
use super::output::Output;
use super::start::PlaceArgs;

/// Check, explain, show and change the configuration
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigAction,
    /// Where configuration and state are.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// What to do with the configuration.
#[derive(Subcommand, Clone, Debug)]
pub enum ConfigAction {
    /// Say everything that is wrong with it, each with file, line and column; exit code 78 if a gateway would not start with it
    Check,
    /// Print its JSON Schema, for editors
    Schema,
    /// Print its reference as Markdown
    Reference,
    /// Say what a key is for, what it is now, and who set it
    Explain {
        /// The key, such as `gateway.port`
        key: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print all of it, with defaults filled in and secrets hidden
    Show,
    /// Print one value; a secret is hidden
    Get {
        /// The key, such as `gateway.port`
        key: String,
    },
    /// Change one key in the file as it is written; a running gateway takes it at once
    Set {
        /// The key, such as `gateway.port` or `agents.list[0].name`
        key: String,
        /// The value, JSON5 or a bare text; an object is merged into one that stands there; `-` reads it from stdin
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Take one key out of the file, so that its default applies
    Unset {
        /// The key
        key: String,
    },
}

/// Runs the command. Returns the exit code.
///
/// # Errors
/// The output cannot be written; a change is refused.
pub fn run(args: &ConfigArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let sources = args.place.sources();
    let command = match args.command.clone() {
        ConfigAction::Get { key } => return config_edit::get(&key, &sources, out),
        ConfigAction::Set { key, value } => return super::wait(config_edit::set(&key, &value, &sources, out)),
        ConfigAction::Unset { key } => return super::wait(config_edit::unset(&key, &sources, out)),
        ConfigAction::Check => ConfigCommand::Check,
        ConfigAction::Schema => ConfigCommand::Schema,
        ConfigAction::Reference => ConfigCommand::Reference,
        ConfigAction::Explain { key, json } => ConfigCommand::Explain { key, json },
        ConfigAction::Show => ConfigCommand::Show,
    };
    config::run(&command, &sources, &mut out.result).map_err(CliError::Output)
}
