//! A server that sends every text back: the sockets of the gateway with nothing of the gateway behind them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skykoi_gateway::transport::wire::{Framing, Incoming, Link, Peer, Readiness, Serve};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// The echo server. The text `authenticate` counts the connection as authenticated and raises its limits, as a handshake would; `whoami` is answered with what is known of the peer.
pub struct Echo {
    /// What the readiness probe answers.
    pub ready: AtomicBool,
    /// Longest message after `authenticate`.
    pub max_message_bytes: usize,
    /// Whether binary messages are echoed instead of refused.
    pub binary: bool,
}

impl Default for Echo {
    fn default() -> Self {
        Self { ready: AtomicBool::new(true), max_message_bytes: 512 * 1024, binary: false }
    }
}

impl Serve for Echo {
    fn serve(self: Arc<Self>, link: Link) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            // A peer that is gone is the ordinary end.
            let _ = self.run(link).await;
        })
    }

    fn ready(&self) -> Readiness {
        let ready = self.ready.load(Ordering::Relaxed);
        Readiness { ready, failing: if ready { Vec::new() } else { vec!["store"] } }
    }
}

impl Echo {
    async fn run(&self, mut link: Link) -> std::io::Result<()> {
        if self.binary {
            link.reader.take_binary();
        }
        loop {
            let mut out = Vec::new();
            let mut end = false;
            match link.reader.next().await {
                Incoming::Text(text) if text == "authenticate" => {
                    link.guard.authenticated();
                    link.reader.set_limits(self.max_message_bytes, 64);
                    send(link.framing, "ok", &mut out);
                }
                Incoming::Text(text) if text == "whoami" => send(link.framing, &describe(&link), &mut out),
                Incoming::Text(text) => send(link.framing, &text, &mut out),
                Incoming::Binary(bytes) => {
                    link.framing.text_header(bytes.len(), &mut out);
                    // The same header, but for the opcode.
                    if let Some(opcode) = out.first_mut() {
                        *opcode = 0x82;
                    }
                    out.extend_from_slice(&bytes);
                }
                Incoming::Ping(payload) => link.framing.pong(&payload, &mut out),
                Incoming::Pong => {}
                Incoming::Close(code) => {
                    link.framing.close(code.unwrap_or(1000), "", &mut out);
                    end = true;
                }
                Incoming::Violation { code, reason } => {
                    link.framing.close(code, reason, &mut out);
                    end = true;
                }
                Incoming::End => return Ok(()),
            }
            write(&mut *link.writer, &out).await?;
            if end {
                link.writer.shutdown().await?;
                link.reader.drain(Duration::from_secs(1)).await;
                return Ok(());
            }
        }
    }
}

fn send(framing: Framing, text: &str, out: &mut Vec<u8>) {
    framing.text_header(text.len(), out);
    out.extend_from_slice(text.as_bytes());
    framing.text_trailer(out);
}

async fn write(writer: &mut (dyn AsyncWrite + Send + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

fn describe(link: &Link) -> String {
    let peer = match &link.peer {
        Peer::Tcp { addr, socket, tls } => format!("tcp addr={addr} socket={} tls={tls}", socket.ip()),
        Peer::Local { uid, .. } => format!("local uid={uid}"),
    };
    format!("{peer} origin={:?} host={:?}", link.origin, link.host.is_some())
}
