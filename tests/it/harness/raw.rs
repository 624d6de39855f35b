//! Raw sockets to a gateway: clients that break rules, or do less than a client does.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::Gateway;
use super::client::connect_params;
use crate::sockets::Raw;

/// The end of a WebSocket: close code and reason; none when the stream just ended.
pub type End = Option<(u16, String)>;

impl Raw {
    /// A TCP connection to the gateway.
    pub async fn to(gateway: &Gateway) -> Self {
        let port = gateway.port();
        Self { stream: TcpStream::connect(("127.0.0.1", port)).await.unwrap(), port }
    }

    /// A WebSocket to the gateway that has read its challenge.
    pub async fn open(gateway: &Gateway) -> Self {
        let mut raw = Self::to(gateway).await;
        let head = raw.request(&raw.upgrade("/ws", "")).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let challenge = raw.next_json().await.unwrap();
        assert_eq!(challenge["event"], "connect.challenge");
        raw
    }

    /// A WebSocket that has said `connect`.
    pub async fn connected(gateway: &Gateway) -> Self {
        let mut raw = Self::open(gateway).await;
        raw.call(&connect_frame()).await;
        assert_eq!(raw.response("connect").await["ok"], true);
        raw
    }

    /// Sends a frame.
    pub async fn call(&mut self, frame: &Value) {
        self.frame(0x81, frame.to_string().as_bytes()).await;
    }

    /// Sends a request.
    pub async fn ask(&mut self, id: &str, method: &str, params: Value) {
        self.call(&json!({ "type": "req", "id": id, "method": method, "params": params })).await;
    }

    /// The next text as JSON, or how the connection ended. Pings are not answered.
    pub async fn next_json(&mut self) -> Result<Value, End> {
        loop {
            match self.read_frame().await {
                None => return Err(None),
                Some((0x81, text)) => return Ok(serde_json::from_slice(&text).unwrap()),
                Some((0x88, payload)) => {
                    let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code)).unwrap_or(1005);
                    return Err(Some((code, String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned())));
                }
                Some(_) => {}
            }
        }
    }

    /// The next answer to this request; events are passed over.
    pub async fn response(&mut self, id: &str) -> Value {
        loop {
            let frame = self.next_json().await.unwrap_or_else(|end| panic!("closed before {id}: {end:?}"));
            if frame["type"] == "res" && frame["id"] == id {
                return frame;
            }
        }
    }

    /// How the connection ends, whatever comes before.
    pub async fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.next_json().await {
                return end;
            }
        }
    }
}

/// The `connect` frame of a client with every scope.
pub fn connect_frame() -> Value {
    json!({ "type": "req", "id": "connect", "method": "connect", "params": connect_params() })
}

/// What `end` gives for this close frame.
#[expect(clippy::unnecessary_wraps, reason = "an end is optional, this one is there")]
pub fn closed(code: u16, reason: &str) -> End {
    Some((code, reason.to_owned()))
}
