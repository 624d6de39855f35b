//! `token new`: a random token for a gateway or a script.

use clap::{Args, Subcommand};

use super::error::CliError;
use super::output::Output;
use crate::config::init::new_token;

/// Make tokens
#[derive(Args, Clone, Debug)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do with tokens.
#[derive(Subcommand, Clone, Debug)]
pub enum TokenCommand {
    /// Print a new random token of 256 bits; it is stored nowhere
    New,
}

/// Runs the command.
///
/// # Errors
/// The system has no randomness.
pub fn run(args: &TokenArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    match args.command {
        TokenCommand::New => {
            let token = new_token().map_err(|error| CliError::Local(error.to_string()))?;
            out.line(&token)?;
        }
    }
    Ok(super::error::OK)
}
