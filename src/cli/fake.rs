//! A gateway for tests of the command line: a local socket whose other end the test plays.

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use super::target::Target;

/// A socket to connect to.
pub struct Fake {
    dir: TempDir,
    listener: UnixListener,
}

/// One connection of a client.
pub struct Conn {
    lines: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Fake {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("gateway.sock")).unwrap();
        Self { dir, listener }
    }

    pub fn target(&self) -> Target {
        Target::Local { socket: self.dir.path().join("gateway.sock"), state_dir: self.dir.path().to_owned() }
    }

    /// Takes a connection and shakes hands.
    pub async fn accept(&self) -> Conn {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut conn = Conn::over(stream);
        conn.write(&json!({"type": "event", "event": "connect.challenge", "payload": {"nonce": "n", "ts": 1}})).await;
        let (id, params) = conn.expect("connect").await;
        assert_eq!((params["minProtocol"].as_u64(), params["maxProtocol"].as_u64()), (Some(3), Some(4)));
        assert_eq!((params["client"]["id"].as_str(), params["role"].as_str()), (Some("cli"), Some("operator")));
        conn.answer(&id, json!({"type": "hello-ok", "protocol": 4, "policy": {"tickIntervalMs": 30_000}})).await;
        conn
    }
}

impl Conn {
    fn over(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { lines: BufReader::new(reader), writer }
    }

    /// The next request, which must be of this method: its id and its parameters.
    pub async fn expect(&mut self, method: &str) -> (String, Value) {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).await.unwrap() > 0, "the client left instead of asking for {method}");
        let frame: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(frame["method"], method, "{frame}");
        (frame["id"].as_str().unwrap().to_owned(), frame["params"].clone())
    }

    pub async fn answer(&mut self, id: &str, payload: Value) {
        self.write(&json!({"type": "res", "id": id, "ok": true, "payload": payload})).await;
    }

    pub async fn refuse(&mut self, id: &str, error: Value) {
        self.write(&json!({"type": "res", "id": id, "ok": false, "error": error})).await;
    }

    /// A piece of output of the run.
    pub async fn output(&mut self, run_id: &str, seq: u64, source: &str, text: &str) {
        self.event(run_id, seq, "exec", Some(text), json!({"source": source, "toolCallId": "exec-1"})).await;
    }

    /// The run's last event.
    pub async fn end(&mut self, run_id: &str, seq: u64, exit_code: i32) {
        let mut data = outcome(exit_code);
        data["phase"] = json!("end");
        self.event(run_id, seq, "lifecycle", None, data).await;
    }

    /// Takes the requests that follow a known run: subscribe (and what it asked to be after) and, unless `agent` itself is waited for, wait.
    pub async fn followed(&mut self, with_wait: bool) -> u64 {
        let (id, params) = self.expect("runs.subscribe").await;
        self.answer(&id, json!({"runId": params["runId"], "status": "running", "head": 9})).await;
        if with_wait {
            self.expect("agent.wait").await;
        }
        params["after"].as_u64().unwrap()
    }

    async fn event(&mut self, run_id: &str, seq: u64, stream: &str, text: Option<&str>, data: Value) {
        let mut payload = json!({"runId": run_id, "seq": seq, "stream": stream, "ts": 1, "sessionKey": "agent:main:main", "data": data});
        if let Some(text) = text {
            payload["text"] = json!(text);
        }
        self.write(&json!({"type": "event", "event": "agent", "payload": payload, "seq": seq})).await;
    }

    async fn write(&mut self, frame: &Value) {
        // A client that has what it wants may be gone.
        let _ = self.writer.write_all(format!("{frame}\n").as_bytes()).await;
    }
}

/// The outcome of a command that exited with this code.
pub fn outcome(exit_code: i32) -> Value {
    let status = if exit_code == 0 { "ok" } else { "error" };
    json!({
        "status": status, "summary": format!("exit code {exit_code}"), "exitCode": exit_code, "endedAt": 2, "durationMs": 1,
        "stdoutBytes": 0, "stderrBytes": 0, "droppedBytes": 0, "truncated": false, "cpuMs": 0, "peakRssBytes": 0,
    })
}
