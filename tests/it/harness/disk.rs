//! What a gateway under test has left on disk and among the processes.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skykoi_gateway::exec::proc;
use skykoi_gateway::journal::scan::{Scan, scan_path};

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
        let months = std::fs::read_dir(self.state_dir().join("runs")).into_iter().flatten().flatten();
        let files = months.flat_map(|month| std::fs::read_dir(month.path()).unwrap().flatten());
        let paths = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|ext| ext == "ndjson"));
        paths.filter_map(Journal::read).collect()
    }

    /// The journal of a run.
    pub fn journal(&self, run_id: &str) -> Journal {
        self.journals().into_iter().find(|journal| journal.run_id == run_id).unwrap_or_else(|| panic!("{run_id} has no journal"))
    }

    /// Living shims: run ids and process ids. A shim is found by its socket, which stands beside those of its like.
    pub fn shims(&self) -> Vec<(String, u32)> {
        let sockets = std::fs::read_dir(self.state_dir().join("run")).into_iter().flatten().flatten();
        let ids: Vec<_> = sockets.filter_map(|entry| Some(entry.path().file_stem()?.to_owned())).collect();
        let months: Vec<_> =
            std::fs::read_dir(self.state_dir().join("runs")).into_iter().flatten().flatten().map(|month| month.path()).collect();
        let paths = ids.iter().flat_map(|id| months.iter().map(move |month| month.join(id).with_extension("ndjson")));
        let hosts =
            paths.filter(|path| path.exists()).filter_map(Journal::read).filter_map(|journal| Some((journal.run_id, journal.scan.host?)));
        let lives = |pid: u32, start: u64| proc::stat(pid).is_some_and(|stat| stat.start_ticks == start && !stat.is_dead());
        hosts.filter(|(_, host)| lives(host.pid, host.start_ticks)).map(|(run_id, host)| (run_id, host.pid)).collect()
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

/// SIGKILL to any process; one that is gone is as good as killed.
pub fn kill_9(pid: u32) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
}
