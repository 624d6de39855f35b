//! A real daemon process.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::nginx::program;

/// The token of every gateway under test.
pub const TOKEN: &str = "test-token-7f3a91c2d84e5b60a1f2";

/// A gateway and its state directory; killed and removed when dropped.
pub struct Gateway {
    dir: TempDir,
    child: Option<Child>,
    port: u16,
    env: Vec<(String, String)>,
    wrapper: Vec<String>,
}

/// Objects merge, everything else replaces.
pub fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}

impl Gateway {
    /// A running gateway that runs shell work.
    pub fn start() -> Self {
        Self::with(&json!({}))
    }

    /// A running gateway whose configuration is the usual one with `patch` merged in.
    pub fn with(patch: &Value) -> Self {
        let mut gateway = Self::prepared(patch);
        gateway.launch();
        gateway
    }

    /// A configuration that is not started yet.
    pub fn prepared(patch: &Value) -> Self {
        Self::prepared_in(&std::env::temp_dir(), patch)
    }

    /// As [`Self::prepared`], with the state directory in this one.
    pub fn prepared_in(parent: &Path, patch: &Value) -> Self {
        super::tell_failures_at_once();
        let dir = tempfile::Builder::new().prefix("skykoi-it-").tempdir_in(parent).unwrap();
        let mut config = json!({
            "gateway": { "mode": "local", "port": 0, "auth": { "mode": "token", "token": TOKEN }, "limits": {
                // Tests kill daemons as often as they like; those of safe mode say so.
                "safeModeBoots": 1000,
                // And look after one client while another one waits, however slow the machine is; those of liveness say so.
                "pongTimeoutMs": 600_000,
            } },
            "agents": { "defaults": { "workspace": dir.path().join("work"), "shell": "/bin/bash", "graceMs": 500, "verboseDefault": "full" } },
            "exec": { "security": "full", "host": "gateway" },
            "logging": { "level": "debug" },
        });
        merge(&mut config, patch);
        let gateway = Self { dir, child: None, port: 0, env: Vec::new(), wrapper: Vec::new() };
        gateway.write_config(&config.to_string());
        gateway
    }

    /// Writes the configuration file, mode 0600.
    pub fn write_config(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.config_path(), text).unwrap();
        std::fs::set_permissions(self.config_path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A variable for the next starts.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Forgets the variables.
    pub fn clear_env(&mut self) {
        self.env.clear();
    }

    /// A command that the next starts go through; it must end in an exec of its arguments. Empty = none.
    pub fn wrapper(&mut self, words: &[&str]) {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Spawns the daemon without waiting for it.
    pub fn spawn(&mut self) -> &mut Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let words: Vec<&str> = self.wrapper.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_skykoi-gateway"), "start"]).collect();
        let mut command = program(words[0]);
        command.args(&words[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.dir.path());
        command.env("SKYKOI_STATE_DIR", self.state_dir()).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        self.child.insert(command.spawn().unwrap())
    }

    /// Starts the daemon and waits until it listens.
    pub fn launch(&mut self) {
        self.try_launch().unwrap_or_else(|status| panic!("the gateway did not start: {status}\n{}", self.log()));
    }

    /// Starts the daemon and waits until it listens or ends.
    pub fn try_launch(&mut self) -> Result<(), ExitStatus> {
        let stdout = self.spawn().stdout.take().unwrap();
        for line in BufReader::new(stdout).lines() {
            let line = line.unwrap();
            let Some((_, rest)) = ["127.0.0.1:", "0.0.0.0:"].iter().find_map(|address| line.split_once(address)) else { continue };
            self.port = rest.split('/').next().unwrap().parse().unwrap();
            return Ok(());
        }
        Err(self.child.take().unwrap().wait().unwrap())
    }

    /// Whether a daemon was started and its end was not taken note of.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Whether the daemon ends by itself within this time.
    pub fn ends_within(&self, limit: Duration) -> bool {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::try_from(limit).unwrap())).unwrap() > 0
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap(), signal).unwrap();
    }

    /// SIGKILL, and waits for the end. At a crash point it may have ended by itself, even before it listened.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        child.wait().unwrap();
    }

    /// Kills the daemon and starts it again on the same state.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end of the daemon, at most 30 s.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.ends_within(Duration::from_secs(30));
        let mut child = self.child.take().unwrap();
        if !ended {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the gateway did not end\n{}", self.log());
        }
        let status = child.wait().unwrap();
        assert_ne!(status.signal(), Some(11), "the gateway crashed\n{}", self.log());
        status
    }

    /// The port of both loopback addresses.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("skykoi.json")
    }

    /// The local socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("gateway.sock")
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// What the daemon holds of its own in bytes: without pages of files, which the kernel and the daemon itself take away and bring back.
    pub fn own_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        let pages: Vec<u64> = statm.split_whitespace().map(|pages| pages.parse().unwrap()).collect();
        (pages[1] - pages[2]) * 4096
    }

    /// Largest resident set that the daemon has had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("daemon.log")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the gateway ---\n{}", self.log());
        }
        self.end_runs();
    }
}

impl Gateway {
    /// Ends the runs that the daemon left: nothing is to outlive its test.
    fn end_runs(&self) {
        for (_, shim) in self.shims() {
            let tree = skykoi_gateway::exec::proc::descendants(shim);
            super::kill_9(shim);
            tree.iter().for_each(|process| super::kill_9(process.pid));
        }
    }
}
