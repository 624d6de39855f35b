//! The daemon under measurement: a state directory of its own, its process, and what the kernel says of its memory.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::Error;
use crate::client::Client;

/// The token of every daemon that is measured.
const TOKEN: &str = "skg_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
/// Nothing here takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A state directory with a configuration. It lies in the build directory, because the system's own directory for temporary files may be memory, where a sync costs nothing.
pub struct Home {
    dir: TempDir,
}

impl Home {
    /// A fresh one.
    pub fn new() -> Result<Self, Error> {
        Self::with(&serde_json::json!({}))
    }

    /// A fresh one with these `gateway.limits`.
    pub fn with(limits: &serde_json::Value) -> Result<Self, Error> {
        Self::made(limits, None)
    }

    /// A fresh one whose agent asks the model server at this address.
    pub fn minded(url: &str) -> Result<Self, Error> {
        Self::made(&serde_json::json!({}), Some(url))
    }

    fn made(limits: &serde_json::Value, model_url: Option<&str>) -> Result<Self, Error> {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700))?;
        let workspace = dir.path().join("workspace");
        let mut config = serde_json::json!({
            "gateway": { "mode": "local", "port": 0, "auth": { "mode": "token", "token": TOKEN }, "limits": limits },
            "agents": { "defaults": { "workspace": workspace, "shell": "/bin/bash", "maxConcurrent": 32 } },
            "exec": { "security": "full" },
            "logging": { "level": "warn" },
        });
        if let Some(url) = model_url {
            config["agents"]["defaults"]["model"] = "fake/mind".into();
            config["models"] = serde_json::json!({ "providers": { "fake": {
                "baseUrl": url, "apiKey": "no key is needed", "api": "anthropic-messages",
                "models": [{ "id": "mind", "name": "Mind", "contextWindow": 100_000, "maxTokens": 4000 }],
            } } });
        }
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.path().join("skykoi.json"))?;
        serde_json::to_writer(file, &config)?;
        Ok(Self { dir })
    }

    /// The state directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The directory in which runs work.
    pub fn workspace(&self) -> PathBuf {
        self.path().join("workspace")
    }
}

/// A running daemon. Dropping it kills it.
pub struct Daemon {
    child: Child,
    pid: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// When its process was asked for.
    pub spawned: Instant,
    /// Kept, so that what it still prints has a reader.
    _stdout: BufReader<ChildStdout>,
}

impl Daemon {
    /// Starts the daemon of `home` and waits until it says where it listens.
    pub async fn start(home: &Home) -> Result<Self, Error> {
        let spawned = Instant::now();
        let mut child = command(env!("CARGO_BIN_EXE_skykoi-gateway"))
            .arg("start")
            .env("SKYKOI_STATE_DIR", home.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let pid = child.id().ok_or("the daemon ended at once")?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("the daemon has no stdout")?);
        let address = tokio::time::timeout(PATIENCE, address_of(&mut stdout)).await??;
        Ok(Self { child, pid, address, spawned, _stdout: stdout })
    }

    /// Opens a connection, to the end of its handshake.
    pub async fn connect(&self) -> Result<Client, Error> {
        connect_to(self.address).await
    }

    /// As [`Self::connect`], with every scope.
    pub async fn connect_as_admin(&self) -> Result<Client, Error> {
        let more = serde_json::json!({ "auth": { "token": TOKEN }, "scopes": ["operator.admin"] });
        tokio::time::timeout(PATIENCE, Client::hello_with(self.address, more)).await?
    }

    /// Bytes of the daemon's memory that are resident.
    pub fn rss(&self) -> Result<f64, Error> {
        memory(self.pid, "Rss:")
    }

    /// Bytes of resident memory that are the daemon's alone: what it keeps, without pages of its program that come and go.
    pub fn own_memory(&self) -> Result<f64, Error> {
        memory(self.pid, "Anonymous:")
    }

    /// Time that the daemon's threads have spent on processors, in ms. None of them ends while it is measured.
    pub fn cpu_ms(&self) -> Result<f64, Error> {
        let mut ns = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let account = fs::read_to_string(task?.path().join("schedstat"))?;
            ns += account.split_whitespace().next().ok_or("no account of processor time")?.parse::<f64>()?;
        }
        Ok(ns / 1e6)
    }

    /// Process ids of the shims that it started.
    pub fn shims(&self) -> Result<Vec<u32>, Error> {
        let mut shims = Vec::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            shims.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        Ok(shims)
    }

    /// Ends it as a crash does.
    pub async fn kill(mut self) -> Result<(), Error> {
        Ok(self.child.kill().await?)
    }

    /// Lets it end in order.
    pub async fn stop(mut self) -> Result<(), Error> {
        let pid = rustix::process::Pid::from_raw(self.pid.try_into()?).ok_or("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        Ok(())
    }
}

/// Opens a connection to the daemon at this place, to the end of its handshake.
pub async fn connect_to(address: SocketAddr) -> Result<Client, Error> {
    tokio::time::timeout(PATIENCE, Client::hello(address, TOKEN)).await?
}

/// A command that is killed when its handle is dropped.
pub fn command(program: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the bench starts what it measures")]
    let mut command = Command::new(program);
    command.kill_on_drop(true);
    command
}

async fn address_of(stdout: &mut BufReader<ChildStdout>) -> Result<SocketAddr, Error> {
    let mut line = String::new();
    while stdout.read_line(&mut line).await? > 0 {
        if let Some((_, url)) = line.split_once("ws://") {
            return Ok(url.split('/').next().unwrap_or_default().parse()?);
        }
        line.clear();
    }
    Err("the daemon did not say where it listens".into())
}

/// One line of a process's memory account, in bytes.
pub fn memory(pid: u32, key: &str) -> Result<f64, Error> {
    let account = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = account.lines().find_map(|line| line.strip_prefix(key)).ok_or_else(|| format!("no {key} in the account"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}
