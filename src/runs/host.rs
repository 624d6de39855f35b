//! Asks a process of its own what this machine can give to isolated runs.

use std::io;
use std::path::Path;
use std::process::Command;

use super::oneshot;
use super::orphans::Children;
use crate::protocol::isolation::{Abilities, Ability};

/// What `program probe` says. A trial that cannot be made counts as one that failed: nothing is promised that was not seen.
#[must_use]
pub fn abilities(program: &Path, children: &Children) -> Abilities {
    ask(program, children).unwrap_or_else(|cause| {
        let failed = Ability::of(Err(format!("the trial could not be made: {cause}")));
        Abilities { workspace: failed.clone(), strict: failed.clone(), filtered_network: failed, ..Abilities::default() }
    })
}

fn ask(program: &Path, children: &Children) -> io::Result<Abilities> {
    #[expect(clippy::disallowed_methods, reason = "it only tries what this machine can do, and is no run")]
    let mut command = Command::new(program);
    let (status, said) = oneshot::output(command.arg("probe").env_clear(), children)?;
    serde_json::from_slice(&said).map_err(|_| io::Error::other(format!("it ended with {status} and without an answer")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_cannot_be_made_promises_nothing() {
        for program in ["/no/such/program", "/bin/true"] {
            let found = abilities(Path::new(program), &Children::default());
            assert!(!found.workspace.available && !found.strict.available && !found.filtered_network.available, "{program}");
            assert!(found.strict.missing.is_some_and(|missing| missing.starts_with("the trial could not be made")));
        }
    }
}
