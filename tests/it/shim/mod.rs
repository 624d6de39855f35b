//! The shim as a real process, started by the real launcher.

mod control;
mod exits;
mod floods;
mod leaks;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use skykoi_gateway::exec::proc;
use skykoi_gateway::journal::scan::{Scan, scan_path};
use skykoi_gateway::protocol::run::Outcome;
use skykoi_gateway::runs::control::{OutputLimits, RunSpec, ToShim, VERSION, send};
use skykoi_gateway::runs::launcher::{Launcher, Started, create_journal, is_locked};
use skykoi_gateway::runs::orphans::Children;

/// Nothing in these tests may take longer; a test that would wait for ever fails instead.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A place for one run.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub spec: RunSpec,
    pub launcher: Launcher,
}

/// A run that has ended.
pub struct Ended {
    pub outcome: Outcome,
    pub lines: Vec<Value>,
    pub took: Duration,
}

impl Bench {
    /// A run of `script` by `/bin/bash` in a folder of its own.
    pub fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file_id = format!("t{}", uuid::Uuid::new_v4().simple());
        let mut env = BTreeMap::from([("SKYKOI_RUN".to_owned(), file_id.clone())]);
        env.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
        let spec = RunSpec {
            v: VERSION,
            run_id: "run-1".into(),
            session_key: "agent:main:main".into(),
            agent_id: "main".into(),
            runner: "shell".to_owned(),
            message: script.to_owned(),
            shell: "/bin/bash".to_owned(),
            plan: None,
            cwd: dir.path().to_owned(),
            env,
            timeout_ms: None,
            grace_ms: 5000,
            output: OutputLimits::default(),
            socket_path: Some(dir.path().join("run").join(format!("{file_id}.sock"))),
            tool_call_id: "call_1".to_owned(),
            confinement: None,
            cgroup: None,
            program: None,
            agent: None,
            file_id,
        };
        let launcher = Launcher {
            program: env!("CARGO_BIN_EXE_skykoi-gateway").into(),
            log: dir.path().join("logs/shim.log"),
            children: Children::default(),
        };
        Self { dir, spec, launcher }
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("runs/2026-11").join(format!("{}.ndjson", self.spec.file_id))
    }

    pub async fn start(&self) -> Started {
        let journal = create_journal(&self.journal()).unwrap();
        self.launcher.start(&self.spec, journal, std::future::ready(Ok(()))).await.unwrap()
    }

    /// Starts the run and follows it to its end.
    pub async fn run(&self) -> Ended {
        let started = self.start().await;
        self.finish(started).await
    }

    /// Waits for the shim's end and checks what holds for every run: dense numbers, one terminal line at the end, the lock free, no process left, no socket left.
    pub async fn finish(&self, mut started: Started) -> Ended {
        let begun = Instant::now();
        let status = tokio::time::timeout(PATIENCE, started.child.wait()).await.expect("the shim ends").unwrap();
        let took = begun.elapsed();
        assert!(status.success(), "{status}: {}", std::fs::read_to_string(&self.launcher.log).unwrap_or_default());
        // A program that another test was just starting had every open file of this process, the lock too, until its exec.
        until("the lock is free", || !is_locked(&self.journal()).unwrap()).await;
        // What was killed ends when it gets a processor.
        until("nothing of the run is left", || self.survivors().is_empty()).await;
        assert!(!self.spec.socket_path.as_ref().unwrap().exists());
        let scan = self.scan();
        assert_eq!(scan.len, scan.file_len);
        let lines = self.lines();
        assert_eq!(lines.len() as u64, scan.head);
        Ended { outcome: scan.outcome.expect("a terminal line"), lines, took }
    }

    pub fn scan(&self) -> Scan {
        scan_path(&self.journal(), &self.spec.run_id).unwrap()
    }

    pub fn lines(&self) -> Vec<Value> {
        let file = BufReader::new(std::fs::File::open(self.journal()).unwrap());
        file.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    /// Living processes with a mark of this run: the environment, or `mark` (the folder) in the command line.
    pub fn survivors(&self) -> Vec<String> {
        let mark = format!("SKYKOI_RUN={}", self.spec.file_id);
        let folder = self.dir.path().to_str().unwrap();
        let command =
            |pid: u32| String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ");
        let ours = |pid: &u32| proc::has_env(*pid, &mark) || command(*pid).contains(folder);
        let living = |pid: &u32| proc::stat(*pid).is_some_and(|stat| !stat.is_dead());
        proc::all().into_iter().filter(living).filter(ours).map(|pid| format!("{pid} {}", command(pid))).collect()
    }

    pub async fn abort(&self, started: &mut Started, reason: &str) {
        send(&mut started.control, &ToShim::Abort { reason: reason.to_owned() }).await.unwrap();
    }
}

impl Ended {
    /// The text of one pipe, in order.
    pub fn text(&self, source: &str) -> String {
        let chunks = self.lines.iter().filter(|line| line["stream"] == "exec" && line["data"]["source"] == source);
        chunks.map(|line| line["text"].as_str().unwrap()).collect()
    }

    /// The `stream:phase` of every line, output as `exec`.
    pub fn shape(&self) -> Vec<String> {
        let mut shape: Vec<String> = self
            .lines
            .iter()
            .map(|line| match line["data"]["phase"].as_str() {
                Some(phase) => format!("{}:{phase}", line["stream"].as_str().unwrap()),
                None => line["stream"].as_str().unwrap().to_owned(),
            })
            .collect();
        shape.dedup();
        shape
    }
}

/// Waits until `holds`, by asking again; fails after [`PATIENCE`].
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the file is there and not empty, and returns its text.
pub async fn file_text(path: &Path) -> String {
    until(&format!("{} has text", path.display()), || std::fs::metadata(path).is_ok_and(|found| found.len() > 0)).await;
    std::fs::read_to_string(path).unwrap()
}
