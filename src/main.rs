//! The program: the host process of a run, or the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A run's host process must be small and quick to start, so it goes its own way before anything else is set up.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "shim") {
        return ExitCode::from(skykoi_gateway::shim::main());
    }
    ExitCode::from(skykoi_gateway::cli::main())
}
