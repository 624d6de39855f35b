//! The least that a WebSocket server can do: the same crate, one task per connection, every frame answered with the same ready-made one. It is a process of its own, like the daemon, with as many threads.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use fastwebsockets::{Frame, OpCode, Payload, WebSocketError, upgrade};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use skykoi_gateway::tasks::Tasks;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;

use crate::Error;
use crate::daemon::command;

/// The argument that makes this program the bare server; the size of its answers follows.
pub const MODE: &str = "serve-bare";

/// A running bare server. Dropping it kills it.
pub struct Bare {
    /// Where it listens.
    pub address: SocketAddr,
    _child: Child,
}

impl Bare {
    /// Starts one whose answers have `answer_bytes` bytes.
    pub async fn start(answer_bytes: usize) -> Result<Self, Error> {
        let program = std::env::current_exe()?;
        let mut child = command(&program.to_string_lossy())
            .args([MODE, &answer_bytes.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("the bare server has no stdout")?).read_line(&mut line).await?;
        Ok(Self { address: line.trim().parse()?, _child: child })
    }
}

/// Serves until it is killed.
pub fn serve(answer_bytes: &str) -> Result<(), Error> {
    let head = r#"{"type":"res","id":"b1","ok":true,"payload":""#;
    let filling = answer_bytes.parse::<usize>()?.saturating_sub(head.len() + 2);
    let answer: &'static [u8] = format!("{head}{}\"}}", "x".repeat(filling)).into_bytes().leak();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let each = tasks.clone();
            tasks.spawn("bare.http", async move {
                let service = service_fn(move |request| upgraded(request, each.clone(), answer));
                // A client that went away is none of our business.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    })
}

async fn upgraded(
    mut request: Request<Incoming>,
    tasks: Tasks,
    answer: &'static [u8],
) -> Result<Response<http_body_util::Empty<hyper::body::Bytes>>, WebSocketError> {
    let (response, socket) = upgrade::upgrade(&mut request)?;
    tasks.spawn("bare.socket", async move {
        let _: Result<Infallible, WebSocketError> = echo(socket, answer).await;
    });
    Ok(response)
}

async fn echo(socket: upgrade::UpgradeFut, answer: &'static [u8]) -> Result<Infallible, WebSocketError> {
    let mut socket = socket.await?;
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text => socket.write_frame(Frame::text(Payload::Borrowed(answer))).await?,
            OpCode::Close => return Err(WebSocketError::ConnectionClosed),
            _ => {}
        }
    }
}
