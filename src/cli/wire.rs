//! Text messages to and from a gateway, over the local socket (one per line) or a WebSocket.
//!
//! Two tasks pump them through bounded queues, so that a caller can wait for a message and for something else at once without losing half of one. When the caller does not take messages, the reading stops and the gateway notices.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fastwebsockets::{FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError, WebSocketWrite, handshake};
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::error::CliError;
use super::target::{Remote, Target};
use crate::tasks::Tasks;

/// How long making a connection may take, with TLS and the upgrade.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Largest message that is taken; the gateway sends less.
const MAX_MESSAGE_BYTES: usize = 32 << 20;
/// Messages that may wait in either direction.
const QUEUE: usize = 64;

/// A connection that carries text messages.
pub struct Wire {
    outgoing: mpsc::Sender<Outgoing>,
    incoming: mpsc::Receiver<String>,
    closing: Arc<OnceLock<Closing>>,
    tasks: Tasks,
}

/// A close frame of the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Its code, if it has one.
    pub code: Option<u16>,
    /// Its reason.
    pub reason: String,
}

impl Closing {
    fn read(payload: &[u8]) -> Self {
        let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
        Self { code, reason: String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned() }
    }
}

enum Outgoing {
    Text(String),
    /// An answer to a control frame.
    Frame(Frame<'static>),
}

impl Wire {
    /// Connects. The tasks end when the wire is dropped.
    ///
    /// # Errors
    /// Nobody answers, or not as a gateway does; the text says what to do.
    pub async fn open(target: &Target) -> Result<Self, CliError> {
        let (outgoing, to_send) = mpsc::channel(QUEUE);
        let (received, incoming) = mpsc::channel(QUEUE);
        let (tasks, closing) = (Tasks::new(), Arc::default());
        // Made before anything is spawned, so that a failure ends what was begun.
        let wire = Self { outgoing: outgoing.clone(), incoming, closing: Arc::clone(&closing), tasks: tasks.clone() };
        match target {
            Target::Local { socket, .. } => {
                let stream = UnixStream::connect(socket).await.map_err(|error| no_local(target, &error))?;
                let (reader, writer) = stream.into_split();
                wire.tasks.spawn("lines in", until(&tasks, read_lines(reader, received)));
                wire.tasks.spawn("lines out", until(&tasks, write_lines(writer, to_send)));
            }
            Target::Remote(remote) => {
                let upgraded = tokio::time::timeout(CONNECT_LIMIT, upgrade(remote, &tasks));
                let socket = upgraded.await.map_err(|_| no_remote(remote, "no answer within 10 s"))??;
                let (mut reader, writer) = socket.split(tokio::io::split);
                reader.set_max_message_size(MAX_MESSAGE_BYTES);
                wire.tasks.spawn("frames in", until(&tasks, read_frames(FragmentCollectorRead::new(reader), received, outgoing, closing)));
                wire.tasks.spawn("frames out", until(&tasks, write_frames(writer, to_send)));
            }
        }
        Ok(wire)
    }

    /// Sends a message; `false` when the connection is gone.
    pub async fn send(&self, text: String) -> bool {
        self.outgoing.send(Outgoing::Text(text)).await.is_ok()
    }

    /// The next message, `None` when the connection is gone. Losing the future before it is ready loses nothing.
    pub async fn next(&mut self) -> Option<String> {
        self.incoming.recv().await
    }

    /// The close frame with which the other end closed, once [`Self::next`] has said that the connection is gone. The local socket knows none.
    #[must_use]
    pub fn closing(&self) -> Option<&Closing> {
        self.closing.get()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}

/// `work`, ended early when the wire is dropped.
fn until(tasks: &Tasks, work: impl Future<Output = ()> + Send + 'static) -> impl Future<Output = ()> + Send + 'static {
    let stop = tasks.stop_token();
    async move {
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn read_lines(reader: impl AsyncRead + Unpin, received: mpsc::Sender<String>) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        let read = (&mut reader).take(MAX_MESSAGE_BYTES as u64).read_line(&mut line).await;
        // A line without its end is a message that was cut off.
        if !read.is_ok_and(|n| n > 0) || !line.ends_with('\n') || received.send(line).await.is_err() {
            return;
        }
    }
}

async fn write_lines(mut writer: impl AsyncWrite + Unpin, mut to_send: mpsc::Receiver<Outgoing>) {
    while let Some(message) = to_send.recv().await {
        let Outgoing::Text(mut line) = message else { continue };
        line.push('\n');
        if writer.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_frames<R>(
    mut reader: FragmentCollectorRead<R>,
    received: mpsc::Sender<String>,
    answers: mpsc::Sender<Outgoing>,
    closing: Arc<OnceLock<Closing>>,
) where
    R: AsyncRead + Unpin,
{
    let mut answer = move |frame: Frame<'_>| {
        let own = Frame::new(frame.fin, frame.opcode, None, Payload::Owned(frame.payload.to_vec()));
        let answers = answers.clone();
        async move { answers.send(Outgoing::Frame(own)).await.map_err(|_| WebSocketError::ConnectionClosed) }
    };
    loop {
        let Ok(frame) = reader.read_frame::<_, WebSocketError>(&mut answer).await else { return };
        match frame.opcode {
            OpCode::Text => {
                let Ok(text) = String::from_utf8(frame.payload.to_vec()) else { return };
                if received.send(text).await.is_err() {
                    return;
                }
            }
            OpCode::Close => {
                let _ = closing.set(Closing::read(&frame.payload));
                return;
            }
            _ => {}
        }
    }
}

async fn write_frames<W>(mut writer: WebSocketWrite<W>, mut to_send: mpsc::Receiver<Outgoing>)
where
    W: AsyncWrite + Unpin,
{
    while let Some(message) = to_send.recv().await {
        let frame = match message {
            Outgoing::Text(text) => Frame::text(Payload::Owned(text.into_bytes())),
            Outgoing::Frame(frame) => frame,
        };
        if writer.write_frame(frame).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Socket = fastwebsockets::WebSocket<hyper_util::rt::TokioIo<hyper::upgrade::Upgraded>>;

async fn upgrade(remote: &Remote, tasks: &Tasks) -> Result<Socket, CliError> {
    let tcp = TcpStream::connect((remote.host.as_str(), remote.port)).await.map_err(|error| no_remote(remote, &error.to_string()))?;
    // Requests are small and a person waits for them.
    let _ = tcp.set_nodelay(true);
    let stream: Box<dyn Stream> = match &remote.tls {
        None => Box::new(tcp),
        Some(config) => {
            let name = ServerName::try_from(remote.host.clone())
                .map_err(|_| CliError::Usage(format!("--url: `{}` is no host name", remote.host)))?;
            let tls = TlsConnector::from(config.clone()).connect(name, tcp).await;
            Box::new(tls.map_err(|error| no_remote(remote, &format!("{error} (a self-signed certificate needs --fingerprint or --ca)")))?)
        }
    };
    let authority = remote.url.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(remote.url.path())
        .header(HOST, authority)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header(SEC_WEBSOCKET_KEY, handshake::generate_key())
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(USER_AGENT, concat!("skykoi-gateway/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| CliError::Usage(format!("--url: {error}")))?;
    match handshake::client(&Spawner(tasks.clone()), request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(WebSocketError::InvalidStatusCode(status)) => Err(no_remote(remote, &refused_upgrade(status))),
        Err(error) => Err(no_remote(remote, &error.to_string())),
    }
}

fn refused_upgrade(status: u16) -> String {
    let why = match status {
        404 => "no gateway answers under this path",
        421 => "it does not know itself under this host name (gateway.publicUrls)",
        403 => "it refuses the origin",
        502..=504 => "the proxy before it does not reach the gateway",
        _ => "it refused the upgrade to WebSocket",
    };
    format!("HTTP {status}: {why}")
}

/// Lets hyper's connection task belong to our group.
struct Spawner(Tasks);

impl hyper::rt::Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for Spawner {
    fn execute(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn("http", until(&self.0, work));
    }
}

fn no_local(target: &Target, error: &std::io::Error) -> CliError {
    let name = target.describe();
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => CliError::Denied(format!("{name} belongs to another user: {error}")),
        _ => CliError::Unreachable(format!(
            "{name} is not running ({error}).\nStart it with `skykoi-gateway start` (or `systemctl start skykoi-gateway`), or name another one with --state-dir DIR or --url wss://HOST --token-file FILE"
        )),
    }
}

fn no_remote(remote: &Remote, why: &str) -> CliError {
    CliError::Unreachable(format!("{} cannot be reached: {why}", remote.url))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastwebsockets::{Role, WebSocket};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::cli::error::UNREACHABLE;
    use crate::transport::tls::{CertFiles, client_config, fingerprint, own_certificate, server_config};

    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

    struct Far {
        listener: TcpListener,
        files: CertFiles,
        _dir: tempfile::TempDir,
    }

    impl Far {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let files = own_certificate(dir.path(), &[]).unwrap();
            Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), files, _dir: dir }
        }

        fn target(&self, pinned: Option<[u8; 32]>) -> Target {
            let port = self.listener.local_addr().unwrap().port();
            let tls = Some(client_config(None, pinned, None).unwrap());
            let url = format!("wss://127.0.0.1:{port}/ws").parse().unwrap();
            Target::Remote(Arc::new(Remote { url, host: "127.0.0.1".to_owned(), port, tls, token: None, fingerprint: None, known: None }))
        }

        /// Takes a connection through TLS and answers its upgrade so.
        async fn accept(&self, answer: &str) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, std::io::Error> {
            let (tcp, _) = self.listener.accept().await?;
            let mut stream = TlsAcceptor::from(server_config(&self.files, None).unwrap()).accept(tcp).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert!(head.starts_with("get /ws http/1.1\r\n") && head.contains("sec-websocket-version: 13"), "{head}");
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
            Ok(stream)
        }
    }

    #[tokio::test]
    async fn messages_cross_a_websocket_in_tls_with_a_pinned_certificate_and_pings_are_answered() {
        let far = Far::new().await;
        let target = far.target(Some(fingerprint(&far.files.cert).unwrap()));
        let (near, ()) = tokio::join!(
            async {
                let mut wire = Wire::open(&target).await.unwrap();
                assert!(wire.send("hello".to_owned()).await);
                (wire.next().await, wire.next().await, wire.closing().cloned())
            },
            async {
                let mut socket = WebSocket::after_handshake(far.accept(SWITCH).await.unwrap(), Role::Server);
                let frame = socket.read_frame().await.unwrap();
                assert_eq!((frame.opcode, &*frame.payload), (OpCode::Text, &b"hello"[..]));
                socket.write_frame(Frame::new(true, OpCode::Ping, None, Payload::Borrowed(b"p"))).await.unwrap();
                let frame = socket.read_frame().await.unwrap();
                assert_eq!((frame.opcode, &*frame.payload), (OpCode::Pong, &b"p"[..]));
                let big = "x".repeat(1 << 20);
                socket.write_frame(Frame::text(Payload::Borrowed(big.as_bytes()))).await.unwrap();
                socket.write_frame(Frame::close(1012, b"service restart")).await.unwrap();
                // Until the client has read it all.
                let _ = socket.read_frame().await;
            }
        );
        assert_eq!((near.0.map(|text| text.len()), near.1), (Some(1 << 20), None));
        assert_eq!(near.2, Some(Closing { code: Some(1012), reason: "service restart".to_owned() }));
    }

    async fn refusal(pinned: Option<[u8; 32]>, answer: &str) -> CliError {
        let far = Far::new().await;
        let pinned = pinned.or_else(|| fingerprint(&far.files.cert).ok());
        let target = far.target(pinned);
        let (near, _) = tokio::join!(Wire::open(&target), far.accept(answer));
        near.err().unwrap()
    }

    #[tokio::test]
    async fn another_certificate_than_the_pinned_one_is_refused_with_a_hint() {
        let error = refusal(Some([7; 32]), SWITCH).await;
        assert_eq!(error.exit_code(), UNREACHABLE);
        assert!(error.to_string().contains("--fingerprint"), "{error}");
    }

    #[tokio::test]
    async fn a_refused_upgrade_is_explained() {
        for (answer, word) in [("404 Not Found", "path"), ("421 Misdirected Request", "publicUrls"), ("502 Bad Gateway", "proxy")] {
            let error = refusal(None, &format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n")).await;
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[tokio::test]
    async fn a_line_that_is_cut_off_is_no_message() {
        let (near, mut far) = tokio::io::duplex(64);
        let (received, mut messages) = mpsc::channel(4);
        far.write_all(b"{\"whole\":1}\n{\"cut").await.unwrap();
        drop(far);
        read_lines(near, received).await;
        assert_eq!(messages.recv().await.as_deref(), Some("{\"whole\":1}\n"));
        assert_eq!(messages.recv().await, None);
    }
}
