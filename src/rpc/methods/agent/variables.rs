//! Variables that a request gives to the commands of its run: each is judged by its name, and a refusal says which one and why.

use std::collections::BTreeMap;

use crate::config::tools::ExecSecurity;
use crate::exec::env;
use crate::gateway::agents::Agent;
use crate::programs::spec::Kind;
use crate::protocol::error::RpcError;
use crate::protocol::frame::short;

/// Most bytes of all names and values together.
const MAX_BYTES: usize = 32 * 1024;

/// Refuses variables that a request may not give. Names are told, values never.
pub fn check(method: &str, agent: &Agent, variables: &BTreeMap<String, String>) -> Result<(), RpcError> {
    let refused = |text: String, code| Err(RpcError::invalid(format!("invalid {method} params: env: {text}")).with_code(code));
    for (name, value) in variables {
        if let Err(why) = env::check_requested(name, value) {
            return refused(format!("{} {why}", short(name)), "ENV_REFUSED");
        }
        if Kind::of_runner(&agent.runner).is_some_and(|kind| kind.known().is_its_own(name)) {
            let text = format!("{} says what the program of runner \"{}\" trusts and talks to", short(name), agent.runner);
            return refused(text, "ENV_REFUSED");
        }
    }
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_BYTES {
        return refused(format!("has {bytes} bytes, at most {MAX_BYTES} are taken"), "ENV_REFUSED");
    }
    if !variables.is_empty() && agent.exec != ExecSecurity::Full {
        return refused("needs exec.security \"full\": commands from a list run in a fixed environment".to_owned(), "ENV_REFUSED");
    }
    Ok(())
}
