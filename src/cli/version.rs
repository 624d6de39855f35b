//! `version`: what this program is.

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::output::Output;
use crate::protocol::connect::PROTOCOLS;

/// Print the version of this program and of the protocols it speaks
#[derive(Args, Clone, Debug)]
pub struct VersionArgs {
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &VersionArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let (lowest, highest) = PROTOCOLS;
    out.line(&if args.json {
        json!({"name": "skykoi-gateway", "version": version, "minProtocol": lowest, "maxProtocol": highest}).to_string()
    } else {
        format!("skykoi-gateway {version} (protocol {lowest} to {highest})")
    })?;
    Ok(super::error::OK)
}
