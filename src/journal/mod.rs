//! One run's append-only event file: `<state>/runs/<yyyy-mm>/<file id>.ndjson`, one `agent` event payload per line.
//!
//! The journal *is* the run's event stream: `seq` counts 1, 2, 3 … without holes and the last line of a finished run is its only terminal line.
//! Whoever appends holds the file's flock: the shim from before its start to its end, the daemon only after the shim is gone ([`close`]).

pub mod close;
pub mod line;
pub mod reader;
pub mod scan;
pub mod writer;

use std::path::{Path, PathBuf};

/// Version of the journal's form, written in the first line.
pub const VERSION: u32 = 1;

/// Where the journal of a run lies: `file_id` is the server's own name for it, `accepted_ms` (ms since the epoch) decides the folder.
#[must_use]
pub fn path(state_dir: &Path, accepted_ms: u64, file_id: &str) -> PathBuf {
    state_dir.join("runs").join(crate::clock::month(accepted_ms)).join(format!("{file_id}.ndjson"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_lie_in_a_folder_per_month() {
        assert_eq!(path(Path::new("/s"), 1_795_132_800_000, "r1"), PathBuf::from("/s/runs/2026-11/r1.ndjson"));
    }
}
