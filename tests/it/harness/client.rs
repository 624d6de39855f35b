//! A client that keeps a model of what it was told and checks what must always hold.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload};
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::Instant;

use super::Gateway;
use super::gateway::TOKEN;
use super::model::{ChatView, RunView};

/// Longest wait for a frame that must come; those that come whatever happens do not count.
const PATIENCE: Duration = Duration::from_secs(60);

enum Wire {
    WebSocket(Box<FragmentCollector<TokioIo<Upgraded>>>),
    Lines(BufReader<UnixStream>),
}

/// Since when nothing has come that says anything.
struct Silence(Instant);

impl Default for Silence {
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Close code; none when the stream just ended.
    pub code: Option<u16>,
    /// Close reason.
    pub reason: String,
}

/// One connection.
pub struct Client {
    wire: Wire,
    next_id: u64,
    waiting: VecDeque<Value>,
    /// Seq of the last event of this connection.
    pub seq: u64,
    /// What it was told about runs.
    pub runs: HashMap<String, RunView>,
    /// What it was told in chats, by run.
    pub chats: HashMap<String, ChatView>,
    /// Events by name, newest last.
    pub events: Vec<Value>,
    /// The payload of hello.
    pub hello: Value,
    /// How the connection ended.
    pub closed: Option<Closed>,
}

impl Client {
    /// A WebSocket that has said `connect` with every scope.
    pub async fn connect(gateway: &Gateway) -> Self {
        let mut client = Self::open(gateway.port(), &[]).await;
        client.hello(connect_params()).await.unwrap();
        client
    }

    /// As [`Self::connect`], for a gateway that may be gone or go at any moment.
    pub async fn try_connect(port: u16) -> Result<Self, Closed> {
        Self::try_connect_as(port, connect_params()).await
    }

    /// As [`Self::try_connect`], with these parameters.
    pub async fn try_connect_as(port: u16, params: Value) -> Result<Self, Closed> {
        let gone = |why: String| Closed { code: None, reason: why };
        let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| gone(error.to_string()))?;
        stream.set_nodelay(true).unwrap();
        let mut client = Self::upgrade(stream, &format!("127.0.0.1:{port}"), &[]).await.map_err(gone)?;
        client.send(&json!({"type": "req", "id": "connect", "method": "connect", "params": params})).await;
        loop {
            let frame = client.frame().await?;
            if frame["id"] == "connect" {
                assert_eq!(frame["ok"], true, "{frame}");
                client.hello = frame["payload"].clone();
                return Ok(client);
            }
        }
    }

    /// As [`Self::connect`], but dropping it resets the TCP connection instead of closing it.
    pub async fn connect_abruptly(gateway: &Gateway) -> Self {
        let port = gateway.port();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        let mut client = Self::upgrade(stream, &format!("127.0.0.1:{port}"), &[]).await.unwrap();
        client.hello(connect_params()).await.unwrap();
        client
    }

    /// A connection over the local socket that has said `connect`.
    pub async fn local(gateway: &Gateway) -> Self {
        let mut client = Self::open_local(gateway).await;
        client.hello(connect_params()).await.unwrap();
        client
    }

    /// A connection over the local socket that has said nothing yet.
    pub async fn open_local(gateway: &Gateway) -> Self {
        let stream = UnixStream::connect(gateway.socket()).await.unwrap();
        Self::over(Wire::Lines(BufReader::new(stream)))
    }

    /// A WebSocket that has said nothing yet.
    pub async fn open(port: u16, headers: &[(&str, &str)]) -> Self {
        Self::open_from([127, 0, 0, 1], port, headers).await
    }

    /// As [`Self::open`], from this address of the loopback network.
    pub async fn open_from(source: [u8; 4], port: u16, headers: &[(&str, &str)]) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::upgrade(stream, &format!("127.0.0.1:{port}"), headers).await.unwrap()
    }

    /// Upgrades an open stream (plain or TLS) to a WebSocket.
    pub async fn upgrade<S>(stream: S, host: &str, headers: &[(&str, &str)]) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut request = hyper::Request::get("/ws")
            .header(HOST, host)
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "upgrade")
            .header("Sec-WebSocket-Key", fastwebsockets::handshake::generate_key())
            .header("Sec-WebSocket-Version", "13");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let (mut socket, _) = fastwebsockets::handshake::client(&Executor, request, stream).await.map_err(|error| error.to_string())?;
        socket.set_auto_close(false);
        socket.set_auto_pong(true);
        socket.set_max_message_size(64 << 20);
        Ok(Self::over(Wire::WebSocket(Box::new(FragmentCollector::new(socket)))))
    }

    fn over(wire: Wire) -> Self {
        Self {
            wire,
            next_id: 0,
            waiting: VecDeque::new(),
            seq: 0,
            runs: HashMap::new(),
            chats: HashMap::new(),
            events: Vec::new(),
            hello: Value::Null,
            closed: None,
        }
    }

    /// Says `connect`; the error is the whole `res` frame.
    pub async fn hello(&mut self, params: Value) -> Result<(), Value> {
        self.send(&json!({"type": "req", "id": "connect", "method": "connect", "params": params})).await;
        let res = self.response("connect").await;
        if res["ok"] != true {
            return Err(res);
        }
        self.hello = res["payload"].clone();
        Ok(())
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string()).await;
    }

    /// Sends any text as one message. A peer that is gone is found out by the next read.
    pub async fn send_text(&mut self, text: &str) {
        match &mut self.wire {
            Wire::WebSocket(socket) => {
                let _ = socket.write_frame(Frame::text(Payload::Borrowed(text.as_bytes()))).await;
            }
            Wire::Lines(stream) => {
                let _ = stream.write_all(format!("{text}\n").as_bytes()).await;
            }
        }
    }

    /// Sends a request and gives its id.
    pub async fn request(&mut self, method: &str, params: Value) -> String {
        self.next_id += 1;
        let id = format!("q{}", self.next_id);
        self.send(&json!({"type": "req", "id": id, "method": method, "params": params})).await;
        id
    }

    /// Sends a request and gives its first `res` frame.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params).await;
        self.response(&id).await
    }

    /// As [`Self::call`], for a request that must succeed; gives the payload.
    pub async fn ok(&mut self, method: &str, params: Value) -> Value {
        let res = self.call(method, params).await;
        assert_eq!(res["ok"], true, "{method}: {res}");
        res["payload"].clone()
    }

    /// As [`Self::call`], for a request that must fail; gives the error.
    pub async fn err(&mut self, method: &str, params: Value) -> Value {
        let res = self.call(method, params).await;
        assert_eq!(res["ok"], false, "{method}: {res}");
        res["error"].clone()
    }

    /// Starts a run; gives the request's id and the acknowledgement.
    pub async fn agent(&mut self, params: Value) -> (String, Value) {
        let id = self.request("agent", params).await;
        let ack = self.response(&id).await;
        assert_eq!(ack["ok"], true, "{ack}");
        (id, ack["payload"].clone())
    }

    /// Runs a script to its end; gives the final `res` frame.
    pub async fn script(&mut self, script: &str) -> Value {
        let (id, _) = self.agent(json!({"message": script})).await;
        self.response(&id).await
    }

    /// The next `res` frame with this id; events before it go into the model.
    pub async fn response(&mut self, id: &str) -> Value {
        if let Some(at) = self.waiting.iter().position(|res| res["id"] == id) {
            return self.waiting.remove(at).unwrap();
        }
        let mut silence = Silence::default();
        loop {
            let frame = self.next(&mut silence).await.unwrap_or_else(|closed| panic!("closed while waiting for {id}: {closed:?}"));
            if frame["type"] == "res" {
                if frame["id"] == id {
                    return frame;
                }
                self.waiting.push_back(frame);
            }
        }
    }

    /// Reads frames until the model satisfies `wanted`.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let mut silence = Silence::default();
        while !wanted(self) {
            let frame = self.next(&mut silence).await.unwrap_or_else(|closed| panic!("closed while waiting for {what}: {closed:?}"));
            if frame["type"] == "res" {
                self.waiting.push_back(frame);
            }
        }
    }

    /// Reads frames until the terminal event of a run; gives its payload.
    pub async fn until_end(&mut self, run_id: &str) -> Value {
        self.until(&format!("the end of {run_id}"), |client| client.runs.get(run_id).is_some_and(|run| run.terminal().is_some())).await;
        self.runs[run_id].terminal().unwrap().clone()
    }

    /// Reads frames until the last `chat` event of a run; gives its payload.
    pub async fn until_said(&mut self, run_id: &str) -> Value {
        self.until(&format!("the last word of {run_id}"), |client| client.chats.get(run_id).is_some_and(|chat| chat.last.is_some())).await;
        self.chats[run_id].last.clone().unwrap()
    }

    /// Reads until the connection ends.
    pub async fn until_closed(&mut self) -> Closed {
        let mut silence = Silence::default();
        loop {
            if let Err(closed) = self.next(&mut silence).await {
                return closed;
            }
        }
    }

    /// Subscribes to a run from what this client has of it.
    pub async fn subscribe(&mut self, run_id: &str, after: u64) -> Value {
        self.runs.entry(run_id.to_owned()).or_default().subscribe(after);
        self.ok("runs.subscribe", json!({"runId": run_id, "after": after})).await
    }

    /// The next frame, taken into the model.
    pub async fn frame(&mut self) -> Result<Value, Closed> {
        self.next(&mut Silence::default()).await
    }

    async fn next(&mut self, silence: &mut Silence) -> Result<Value, Closed> {
        let Ok(text) = tokio::time::timeout_at(silence.0 + PATIENCE, self.text()).await else {
            panic!("no frame in time; runs: {:?}; waiting: {:?}", self.runs, self.waiting)
        };
        let text = match text {
            Ok(text) => text,
            Err(closed) => {
                self.closed = Some(closed.clone());
                return Err(closed);
            }
        };
        let frame: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        if frame["type"] == "event" {
            self.on_event(&frame);
        }
        if !["tick", "health"].iter().any(|name| frame["event"] == *name) {
            *silence = Silence::default();
        }
        Ok(frame)
    }

    fn on_event(&mut self, frame: &Value) {
        if frame["event"] == "connect.challenge" {
            assert!(frame.get("seq").is_none());
        } else {
            self.seq += 1;
            assert_eq!(frame["seq"], self.seq, "the connection's seq has a hole: {frame}");
        }
        if frame["event"] == "agent" {
            let payload = &frame["payload"];
            self.runs.entry(payload["runId"].as_str().unwrap().to_owned()).or_default().take(payload);
        }
        if frame["event"] == "chat" {
            let payload = &frame["payload"];
            let run_id = payload["runId"].as_str().unwrap().to_owned();
            let ended = self.runs.get(&run_id).is_none_or(|run| run.events.is_empty() || run.terminal().is_some());
            self.chats.entry(run_id).or_default().take(payload, ended);
        }
        self.events.push(frame.clone());
    }

    async fn text(&mut self) -> Result<String, Closed> {
        match &mut self.wire {
            Wire::Lines(stream) => {
                let mut line = String::new();
                match stream.read_line(&mut line).await {
                    Ok(n) if n > 0 => Ok(line),
                    _ => Err(Closed { code: None, reason: String::new() }),
                }
            }
            Wire::WebSocket(socket) => loop {
                let Ok(frame) = socket.read_frame().await else {
                    return Err(Closed { code: None, reason: String::new() });
                };
                match frame.opcode {
                    OpCode::Text => return Ok(String::from_utf8(frame.payload.to_vec()).unwrap()),
                    OpCode::Close => {
                        let code = frame.payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                        let reason = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default()).into_owned();
                        return Err(Closed { code, reason });
                    }
                    _ => {}
                }
            },
        }
    }
}

/// `connect` parameters with the right token and every scope, on the newest protocol, of a client that understands events of tools.
pub fn connect_params() -> Value {
    json!({
        "minProtocol": 3,
        "maxProtocol": 4,
        "client": { "id": "test", "mode": "test", "version": "1.0.0", "platform": "linux" },
        "role": "operator",
        "scopes": ["operator.admin"],
        "caps": ["tool-events"],
        "auth": { "token": TOKEN },
    })
}

struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "a test's connection ends with its runtime")]
    fn execute(&self, future: F) {
        tokio::spawn(async move {
            future.await;
        });
    }
}
