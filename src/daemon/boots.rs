//! How the last daemons of this state directory ended. Three that were started within five minutes and did not stop in order make the next one careful: it starts in safe mode.
//!
//! The list is a small file of its own and not in the store, because the store may be what they died of. It is written before the store is opened, and emptied by an orderly stop. Nothing depends on it: a list that cannot be read or written counts as empty.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock::now_ms;
use crate::exec::proc;

/// Name of the file in the state directory.
const NAME: &str = "boots.json";

/// When a daemon was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    /// The boot of the kernel.
    machine_boot: String,
    /// How old that boot was, in ms. Within one boot, times are told apart by this, because nobody can set it.
    machine_up_ms: u64,
    /// Wall clock in ms, for starts of different boots.
    wall_ms: u64,
}

impl Start {
    fn now() -> Self {
        Self { machine_boot: proc::boot_id(), machine_up_ms: proc::uptime_ms().unwrap_or(0), wall_ms: now_ms() }
    }

    /// How long before `now` it was, in ms. A clock that went backwards across a boot says nothing; then it was just now.
    fn age(&self, now: &Self) -> u64 {
        if self.machine_boot == now.machine_boot {
            now.machine_up_ms.saturating_sub(self.machine_up_ms)
        } else {
            now.wall_ms.saturating_sub(self.wall_ms)
        }
    }
}

/// The list, while this daemon runs.
#[derive(Debug)]
pub struct Boots {
    path: PathBuf,
    crashed: usize,
}

impl Boots {
    /// Adds the start of this daemon to the list. `window_ms` is how far back earlier ones count.
    #[must_use]
    pub fn begin(state_dir: &Path, window_ms: u64) -> Self {
        let path = state_dir.join(NAME);
        let now = Start::now();
        let mut starts = read(&path);
        starts.retain(|start| start.age(&now) <= window_ms);
        let crashed = starts.len();
        starts.push(now);
        if let Err(cause) = write(&path, &starts) {
            warn!(path = %path.display(), %cause, "this start cannot be noted; it will not count towards safe mode");
        }
        Self { path, crashed }
    }

    /// How many daemons before this one did not stop in order, of those started within the window.
    #[must_use]
    pub fn crashed(&self) -> usize {
        self.crashed
    }

    /// This daemon stops in order, or is refused in order: nothing before it counts any more.
    pub fn end(&self) {
        if let Err(cause) = std::fs::remove_file(&self.path)
            && cause.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %self.path.display(), %cause, "the orderly stop cannot be noted; it will count towards safe mode");
        }
    }
}

fn read(path: &Path) -> Vec<Start> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|cause| {
            warn!(path = %path.display(), %cause, "the list of starts is damaged and begun anew");
            Vec::new()
        }),
        Err(_) => Vec::new(),
    }
}

/// Beside it first, so that a crash in between leaves the old list.
fn write(path: &Path, starts: &[Start]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = path.with_extension("json.new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(starts)?)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 300_000;

    #[test]
    fn m99_starts_without_an_orderly_stop_are_counted_and_an_orderly_stop_forgets_them() {
        let dir = tempfile::tempdir().unwrap();
        for crashed in 0..4 {
            assert_eq!(Boots::begin(dir.path(), WINDOW).crashed(), crashed);
        }
        Boots::begin(dir.path(), WINDOW).end();
        assert_eq!(Boots::begin(dir.path(), WINDOW).crashed(), 0);
    }

    #[test]
    fn m99_only_starts_within_the_window_count_whatever_the_wall_clock_says() {
        let now = Start { machine_boot: "b".into(), machine_up_ms: 1_000_000, wall_ms: 5_000_000 };
        let at = |boot: &str, up, wall| Start { machine_boot: boot.into(), machine_up_ms: up, wall_ms: wall }.age(&now);
        assert_eq!(at("b", 900_000, 9_999_999), 100_000, "the wall clock was set in between");
        assert_eq!(at("a", 0, 4_900_000), 100_000);
        assert_eq!(at("a", 0, 6_000_000), 0, "the clock went back across a boot");
    }

    #[test]
    fn a_list_that_is_damaged_or_cannot_be_written_does_not_keep_a_daemon_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), "[{").unwrap();
        assert_eq!(Boots::begin(dir.path(), WINDOW).crashed(), 0);
        let nowhere = Boots::begin(Path::new("/nonexistent"), WINDOW);
        nowhere.end();
        assert_eq!(nowhere.crashed(), 0);
    }
}
