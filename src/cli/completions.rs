//! `completions`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::error::CliError;
use super::output::Output;

/// Print a completion script for a shell
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  skykoi-gateway completions bash > /etc/bash_completion.d/skykoi-gateway\n  skykoi-gateway completions zsh --name skg > ~/.zfunc/_skg"
)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
    /// Name under which the program is called
    #[arg(long, value_name = "NAME", default_value = "skykoi-gateway")]
    pub name: String,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &CompletionsArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    // Into memory first, because the generator panics on a pipe whose reader has left.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), &args.name, &mut script);
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(super::error::OK)
}
