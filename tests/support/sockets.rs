//! Listeners with an echo server behind them, and a client that writes raw bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skykoi_gateway::auth::origin::HostPolicy;
use skykoi_gateway::tasks::Tasks;
use skykoi_gateway::transport::admission::Caps;
use skykoi_gateway::transport::http::Rules;
use skykoi_gateway::transport::listener::{Bind, ListenSettings, Listeners, bind};
use skykoi_gateway::transport::wire::ReadLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::echo::Echo;

/// Nothing in these tests takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running echo server.
pub struct Server {
    pub listeners: Listeners,
    pub echo: Arc<Echo>,
    pub tasks: Tasks,
}

/// Settings on a free port with the gateway's own limits before a handshake.
pub fn settings() -> ListenSettings {
    let hosts = HostPolicy::new(&["https://vm.example.com".to_owned()], &[], &[]).unwrap();
    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let (_, rules) = watch::channel(Arc::new(Rules { hosts, trusted_proxies }));
    ListenSettings {
        bind: Bind::Loopback,
        port: 0,
        tls: None,
        local: None,
        limits: ReadLimits { max_message_bytes: 64 * 1024, max_fragments: 64, message_timeout: Duration::from_secs(10) },
        caps: Caps::default(),
        rules,
    }
}

/// Starts an echo server.
pub async fn start(settings: ListenSettings) -> Server {
    let tasks = Tasks::new();
    let echo = Arc::new(Echo::default());
    let listeners = bind(settings).await.unwrap().serve(Arc::clone(&echo) as Arc<_>, &tasks);
    Server { listeners, echo, tasks }
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.listeners.addresses()[0]
    }

    /// Opens a TCP connection.
    pub async fn connect(&self) -> Raw {
        Raw { stream: TcpStream::connect(self.address()).await.unwrap(), port: self.address().port() }
    }

    /// Opens a WebSocket.
    pub async fn websocket(&self) -> Raw {
        let mut raw = self.connect().await;
        let answer = raw.request(&raw.upgrade("/ws", "")).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        raw
    }

    /// Sends one request on a connection of its own and returns the whole answer.
    pub async fn ask(&self, request: &str) -> String {
        let mut raw = self.connect().await;
        raw.send(request.replace("{port}", &raw.port.to_string()).as_bytes()).await;
        raw.rest().await
    }

    /// Waits until the counts of connections (at work, newcomers) are these.
    pub async fn counts_become(&self, expected: (usize, usize)) {
        let wait = async {
            while self.listeners.connections() != expected {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, wait).await;
        assert!(in_time.is_ok(), "counts stay {:?}", self.listeners.connections());
    }
}

/// A client that knows no rules.
pub struct Raw {
    pub stream: TcpStream,
    pub port: u16,
}

impl Raw {
    /// An upgrade request with further header lines.
    pub fn upgrade(&self, target: &str, headers: &str) -> String {
        let port = self.port;
        format!(
            "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        )
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a request and reads the head of its answer.
    pub async fn request(&mut self, request: &str) -> String {
        self.send(request.as_bytes()).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(PATIENCE, self.stream.read_u8()).await.expect("an answer");
            match byte {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(head).unwrap()
    }

    /// Everything until the server closes; a reset counts as closing.
    pub async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut all)).await.expect("the server to close");
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Sends a masked frame.
    pub async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.send(&masked(first, payload)).await;
    }

    /// Reads a frame: its first byte and its payload. `None` when the server closed.
    pub async fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        tokio::time::timeout(PATIENCE, self.try_frame()).await.expect("a frame or the end")
    }

    async fn try_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let length = match self.stream.read_u8().await.ok()? {
            126 => usize::from(self.stream.read_u16().await.ok()?),
            127 => usize::try_from(self.stream.read_u64().await.ok()?).unwrap(),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((first, payload))
    }

    /// Expects this text next.
    pub async fn expect_text(&mut self, expected: &str) {
        let (first, payload) = self.read_frame().await.expect("a text");
        assert_eq!((first, String::from_utf8(payload).unwrap().as_str()), (0x81, expected));
    }

    /// Expects a close frame with this code next, and then the end of the connection.
    pub async fn expect_close(&mut self, code: u16) {
        let (first, payload) = self.read_frame().await.expect("a close frame");
        assert_eq!(first, 0x88, "not a close frame: {payload:?}");
        let got = u16::from_be_bytes([payload[0], payload[1]]);
        assert_eq!(got, code, "{}", String::from_utf8_lossy(&payload[2..]));
        assert_eq!(self.read_frame().await, None, "after the close frame comes the end");
    }
}

/// A masked frame of any length, with the shortest length field.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..65_536 => {
            out.push(0xFE);
            out.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            out.push(0xFF);
            out.extend(u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// A request that closes behind itself.
pub fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{{port}}\r\nConnection: close\r\n{headers}\r\n")
}

/// The status of an answer.
pub fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}
