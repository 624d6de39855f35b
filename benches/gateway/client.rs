//! A WebSocket client that costs little: frames are cut out of one buffer, and nothing is parsed that is not asked for.
//!
//! It is the same for the gateway and for the bare server beside it, so that its own cost is in both.

use std::net::SocketAddr;
use std::ops::Range;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Error;

const READ_BYTES: usize = 64 * 1024;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
    next_id: u64,
}

impl Client {
    /// Opens a WebSocket.
    pub async fn open(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, buffer: Vec::new(), at: 0, next_id: 0 };
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        client.stream.write_all(request.as_bytes()).await?;
        loop {
            client.fill().await?;
            if let Some(end) = client.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                if !client.buffer.starts_with(b"HTTP/1.1 101 ") {
                    return Err(format!("no WebSocket: {}", String::from_utf8_lossy(&client.buffer)).into());
                }
                client.at = end + 4;
                return Ok(client);
            }
        }
    }

    /// Opens a connection of the gateway, to the end of its handshake, with the scopes that it gives to who asks for none.
    pub async fn hello(address: SocketAddr, token: &str) -> Result<Self, Error> {
        Self::hello_with(address, json!({ "auth": { "token": token } })).await
    }

    /// As [`Self::hello`], with these parameters beside the usual ones.
    pub async fn hello_with(address: SocketAddr, more: Value) -> Result<Self, Error> {
        let mut client = Self::open(address).await?;
        client.text().await?;
        let mut params = json!({
            "minProtocol": 3,
            "maxProtocol": 4,
            "client": { "id": "gateway-client", "mode": "backend", "version": "1.0.0", "platform": "linux" },
        });
        if let (Value::Object(params), Value::Object(more)) = (&mut params, more) {
            params.extend(more);
        }
        client.request("connect", &params).await?;
        let answer = client.text().await?;
        if !answer.starts_with(b"{\"type\":\"res\",\"id\":\"b1\",\"ok\":true") {
            return Err(format!("no hello: {}", String::from_utf8_lossy(answer)).into());
        }
        Ok(client)
    }

    /// Sends a request and waits for its first answer.
    pub async fn call(&mut self, method: &str, params: &Value) -> Result<Value, Error> {
        let id = self.request(method, params).await?;
        self.answer(&id).await
    }

    /// Sends a request and returns its id.
    pub async fn request(&mut self, method: &str, params: &Value) -> Result<String, Error> {
        self.next_id += 1;
        let id = format!("b{}", self.next_id);
        let frame = frame(&json!({ "type": "req", "id": id, "method": method, "params": params }).to_string());
        self.send(&frame).await?;
        Ok(id)
    }

    /// Waits for the next answer to the request `id`; everything else is passed over.
    pub async fn answer(&mut self, id: &str) -> Result<Value, Error> {
        loop {
            let message = self.message().await?;
            if message["type"] == "res" && message["id"] == id {
                return Ok(message);
            }
        }
    }

    /// Waits for the next answer, to whatever request.
    pub async fn any_answer(&mut self) -> Result<Value, Error> {
        loop {
            let message = self.message().await?;
            if message["type"] == "res" {
                return Ok(message);
            }
        }
    }

    /// Waits for a message that starts so; a refusal ends the wait.
    pub async fn starting_with(&mut self, start: &[u8]) -> Result<(), Error> {
        loop {
            let text = self.text().await?;
            if text.starts_with(start) {
                return Ok(());
            }
            if text.starts_with(b"{\"type\":\"res\"") {
                return Err(format!("refused: {}", String::from_utf8_lossy(text)).into());
            }
        }
    }

    /// The next message, parsed.
    pub async fn message(&mut self) -> Result<Value, Error> {
        Ok(serde_json::from_slice(self.text().await?)?)
    }

    /// The next message. Pings are answered.
    pub async fn text(&mut self) -> Result<&[u8], Error> {
        let payload = loop {
            let Some((kind, payload)) = self.cut()? else {
                self.fill().await?;
                continue;
            };
            match kind {
                0x81 => break payload,
                0x89 => self.send(&masked(0x8A, &[])).await?,
                _ => {
                    let reason = String::from_utf8_lossy(self.buffer.get(payload).unwrap_or_default()).into_owned();
                    return Err(format!("the server closed: {reason}").into());
                }
            }
        };
        Ok(self.buffer.get(payload).unwrap_or_default())
    }

    /// Takes every whole message that has come, waiting for the first, and counts those that start with `prefix`.
    pub async fn count(&mut self, prefix: &[u8]) -> Result<usize, Error> {
        let mut count = usize::from(self.text().await?.starts_with(prefix));
        while let Some((kind, payload)) = self.cut()? {
            if kind == 0x89 {
                self.send(&masked(0x8A, &[])).await?;
            }
            count += usize::from(self.buffer.get(payload).is_some_and(|payload| payload.starts_with(prefix)));
        }
        Ok(count)
    }

    /// Sends bytes that are frames already.
    pub async fn send(&mut self, frames: &[u8]) -> Result<(), Error> {
        Ok(self.stream.write_all(frames).await?)
    }

    /// Cuts the next whole frame out of what was read.
    fn cut(&mut self) -> Result<Option<(u8, Range<usize>)>, Error> {
        let ahead = self.buffer.get(self.at..).unwrap_or_default();
        let (kind, header, length) = match *ahead {
            [kind, length @ 0..=125, ..] => (kind, 2, usize::from(length)),
            [kind, 126, a, b, ..] => (kind, 4, usize::from(u16::from_be_bytes([a, b]))),
            [kind, 127, a, b, c, d, e, f, g, h, ..] => (kind, 10, usize::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h]))?),
            _ => return Ok(None),
        };
        if ahead.len() < header + length {
            return Ok(None);
        }
        let start = self.at + header;
        self.at = start + length;
        Ok(Some((kind, start..self.at)))
    }

    async fn fill(&mut self) -> Result<(), Error> {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server is gone".into()),
            _ => Ok(()),
        }
    }
}

/// A masked text frame.
pub fn frame(text: &str) -> Vec<u8> {
    masked(0x81, text.as_bytes())
}

fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0xFE);
            out.extend(medium.to_be_bytes());
        }
        _ => {
            out.push(0xFF);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}
