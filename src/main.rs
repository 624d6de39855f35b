//! The program: the host process of a run, or the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A run's host process must be small and quick to start, so it goes its own way before anything else is set up.
    let first = std::env::args_os().nth(1);
    match first.as_ref().and_then(|arg| arg.to_str()) {
        Some("shim") => return ExitCode::from(skykoi_gateway::shim::main()),
        // So must be what stands before the command of a run that is shut in.
        Some("confine") => return ExitCode::from(skykoi_gateway::exec::confine::main()),
        Some("mcp") => return ExitCode::from(skykoi_gateway::shim::relay::main()),
        Some("probe") => return ExitCode::from(skykoi_gateway::exec::probe::main()),
        _ => {}
    }
    ExitCode::from(skykoi_gateway::cli::main())
}
