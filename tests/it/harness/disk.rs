//! What a gateway under test has left on disk and among the processes.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skykoi_gateway::exec::proc;
use skykoi_gateway::journal::scan::{Scan, scan_path};
use skykoi_gateway::protocol::event::agent::HostProcess;

use super::Gateway;
use super::model::is_terminal;

/// A journal as it stands on disk.
pub struct Journal {
    /// The file.
    pub path: PathBuf,
    /// The wire id of its run.
    pub run_id: String,
    /// What the gateway's own reader finds in it.
    pub scan: Scan,
    /// Its lines.
    pub lines: Vec<Value>,
}

impl Journal {
    fn read(path: PathBuf) -> Option<Self> {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line.strip_suffix('\n')?).ok()).collect();
        let run_id = lines.first()?["runId"].as_str().unwrap().to_owned();
        let scan = scan_path(&path, &run_id.as_str().into()).unwrap();
        Some(Self { path, run_id, scan, lines })
    }

    /// Name of the run on disk.
    pub fn file_id(&self) -> String {
        self.path.file_stem().unwrap().to_string_lossy().into_owned()
    }

    /// Fails unless the run is over and its journal is whole: every byte valid, seqs from 1, one terminal line at the end.
    pub fn assert_whole(&self) {
        let place = self.path.display();
        assert_eq!(self.scan.len, self.scan.file_len, "{place} has a tail");
        assert!(self.scan.outcome.is_some(), "{place} has no end");
        let seqs: Vec<u64> = self.lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=self.scan.head).collect::<Vec<_>>(), "{place}");
        assert_eq!(self.lines.iter().filter(|line| is_terminal(line)).count(), 1, "{place}");
    }
}

impl Gateway {
    /// Every journal that has a line.
    pub fn journals(&self) -> Vec<Journal> {
        self.journal_paths().into_iter().filter_map(Journal::read).collect()
    }

    fn journal_paths(&self) -> Vec<PathBuf> {
        let months = std::fs::read_dir(self.state_dir().join("runs")).into_iter().flatten().flatten();
        let files = months.flat_map(|month| std::fs::read_dir(month.path()).unwrap().flatten());
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|ext| ext == "ndjson")).collect()
    }

    /// The journal of a run.
    pub fn journal(&self, run_id: &str) -> Journal {
        self.journals().into_iter().find(|journal| journal.run_id == run_id).unwrap_or_else(|| panic!("{run_id} has no journal"))
    }

    /// Living shims: run ids and process ids. A shim says who it is in the first line of its journal, before it does anything that can be seen; its socket comes later.
    pub fn shims(&self) -> Vec<(String, u32)> {
        let lives = |host: &HostProcess| proc::stat(host.pid).is_some_and(|stat| stat.start_ticks == host.start_ticks && !stat.is_dead());
        let hosts = self.journal_paths().into_iter().filter_map(|path| host(&path));
        hosts.filter(|(_, host)| lives(host)).map(|(run_id, host)| (run_id, host.pid)).collect()
    }

    /// Waits until no process of any run is left. A shim that has told its run's end is there for a moment more.
    pub async fn is_clean(&self) {
        crate::shim::until("nothing of the runs is left", || self.survivors().is_empty()).await;
    }

    /// Living processes of any run of this gateway: shims, and what carries a run's mark.
    pub fn survivors(&self) -> Vec<String> {
        let marks: Vec<String> = self.journals().iter().map(|journal| format!("SKYKOI_RUN={}", journal.file_id())).collect();
        let mut found: Vec<String> = self.shims().into_iter().map(|(run_id, pid)| format!("shim {pid} of {run_id}")).collect();
        for pid in proc::all() {
            let Ok(environ) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
            let environ = String::from_utf8_lossy(&environ);
            if let Some(mark) = environ.split('\0').find(|var| marks.iter().any(|mark| mark == var))
                && proc::stat(pid).is_some_and(|stat| !stat.is_dead())
            {
                found.push(format!("{pid} with {mark}"));
            }
        }
        found
    }
}

/// A run and the process that hosts it, as the first line of its journal says. None if that is not written yet.
fn host(journal: &Path) -> Option<(String, HostProcess)> {
    let mut line = String::new();
    BufReader::new(File::open(journal).ok()?).read_line(&mut line).ok()?;
    let mut line: Value = serde_json::from_str(line.strip_suffix('\n')?).ok()?;
    let host = serde_json::from_value(line["data"]["host"].take()).ok()?;
    Some((line["runId"].as_str()?.to_owned(), host))
}

/// SIGKILL to any process; one that is gone is as good as killed.
pub fn kill_9(pid: u32) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
}
