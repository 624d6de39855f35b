//! Fetches pages of the public web: each host is looked up once, judged by its addresses, and connected to at exactly the one that was judged, also behind every redirect.

mod address;
mod readable;
mod url;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::spec::FetchRules;
use crate::model::trusted::trusted;
use url::Place;

/// Most bytes of a page that are read.
const MAX_BYTES: usize = 4 << 20;
/// Most bytes that the head of an answer may have.
const MAX_HEAD: usize = 64 << 10;
/// How long one address may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(10);
const AGENT: &str = concat!("skykoi-gateway/", env!("CARGO_PKG_VERSION"));

/// How TLS is spoken, or why it cannot be.
type Trusted = fn() -> Result<Arc<ClientConfig>, String>;

/// Fetches pages.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    rules: FetchRules,
    /// Which addresses are connected to.
    may: fn(IpAddr) -> bool,
    trusted: Trusted,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Where it was, behind all redirects.
    pub url: String,
    /// Its status.
    pub status: u16,
    /// What is to be read of it.
    pub text: String,
    /// Whether it was longer than is read.
    pub cut: bool,
}

/// What one request gave.
enum Got {
    Page(Page),
    Elsewhere(String),
}

impl Fetcher {
    /// Fetches by these rules, from public addresses alone.
    pub fn new(rules: FetchRules) -> Self {
        Self { rules, may: address::is_public, trusted }
    }

    /// Fetches a page and follows its redirects.
    ///
    /// # Errors
    /// Why there is none, for the model.
    pub async fn fetch(&self, url: &str) -> Result<Page, String> {
        let limit = Duration::from_millis(self.rules.timeout_ms);
        match tokio::time::timeout(limit, self.follow(url)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("{url} was not fetched within {} s.", self.rules.timeout_ms.div_ceil(1000))),
        }
    }

    async fn follow(&self, url: &str) -> Result<Page, String> {
        let mut place = Place::parse(url)?;
        for _ in 0..=self.rules.max_redirects {
            match self.get(&place).await? {
                Got::Page(page) => return Ok(page),
                Got::Elsewhere(location) => place = place.join(&location)?,
            }
        }
        Err(format!("{url} leads on more than {} times.", self.rules.max_redirects))
    }

    /// The addresses to connect to. If any address of a name is closed, all are: it could be answered differently the next time.
    async fn resolve(&self, place: &Place) -> Result<Vec<SocketAddr>, String> {
        let host = place.host.as_str();
        let found: Vec<SocketAddr> = match place.address() {
            Some(address) => vec![SocketAddr::new(address, place.port)],
            None => match tokio::net::lookup_host((host, place.port)).await {
                Ok(found) => found.collect(),
                Err(error) => return Err(format!("{host} was not found: {error}.")),
            },
        };
        if found.is_empty() {
            return Err(format!("{host} has no address."));
        }
        if !found.iter().all(|address| (self.may)(address.ip())) {
            return Err(format!("{host} is not in the public internet; pages of this machine and of private networks are not fetched."));
        }
        Ok(found)
    }

    async fn get(&self, place: &Place) -> Result<Got, String> {
        let stream = connect(place, &self.resolve(place).await?).await?;
        if !place.tls {
            return self.ask(place, stream).await;
        }
        let config = (self.trusted)().map_err(|why| format!("https cannot be spoken here: {why}."))?;
        let name = ServerName::try_from(place.host.clone()).map_err(|_| format!("{} is no name of a host.", place.host))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        self.ask(place, stream.map_err(|error| format!("{}: no secure connection: {error}.", place.host))?).await
    }

    async fn ask(&self, place: &Place, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Got, String> {
        let say = |error: hyper::Error| format!("{}: {error}.", place.url());
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD);
        let (mut sender, connection) = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(say)?;
        let agent = self.rules.user_agent.as_deref().unwrap_or(AGENT);
        let request = Request::get(place.path.as_str())
            .header(HOST, place.authority())
            .header(USER_AGENT, agent)
            .header(ACCEPT, "text/html, text/*;q=0.9, application/json;q=0.9, */*;q=0.1")
            .header(ACCEPT_ENCODING, "identity")
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| format!("{}: {error}.", place.url()))?;
        let mut work = std::pin::pin!(async { read(place, sender.send_request(request).await.map_err(say)?).await });
        let mut connection = std::pin::pin!(connection);
        let mut closed = false;
        // What was read stays readable behind the end of the connection.
        loop {
            tokio::select! {
                got = &mut work => return got,
                _ = &mut connection, if !closed => closed = true,
            }
        }
    }
}

async fn connect(place: &Place, addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut why = String::new();
    for address in addresses {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = "no answer within 10 s".to_owned(),
        }
    }
    Err(format!("{} cannot be reached: {why}.", place.host))
}

async fn read(place: &Place, response: Response<Incoming>) -> Result<Got, String> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, kind) = (response.status(), header(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase());
    if status.is_redirection()
        && let Some(location) = header(LOCATION)
    {
        return Ok(Got::Elsewhere(location));
    }
    if let Some(encoding) = header(CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(format!(
            "{} was sent as {encoding} although it was asked for as it is. Download it with a command if you need it.",
            place.url()
        ));
    }
    let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
    let is_html = kind.is_empty() || kind == "text/html" || kind == "application/xhtml+xml";
    let is_text = is_html || kind.starts_with("text/") || kind.ends_with("json") || kind.ends_with("xml") || kind.ends_with("javascript");
    if !is_text {
        return Err(format!(
            "{} is no text but {kind} (status {}). Download it with a command if you need it.",
            place.url(),
            status.as_u16()
        ));
    }
    let (mut bytes, mut body, mut cut) = (Vec::new(), response.into_body(), false);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("{} broke off: {error}.", place.url()))?;
        if let Ok(data) = frame.into_data() {
            let room = MAX_BYTES - bytes.len();
            bytes.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
            if data.len() > room {
                cut = true;
                break;
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = if is_html { readable::readable(&text) } else { text.into_owned() };
    Ok(Got::Page(Page { url: place.url(), status: status.as_u16(), text, cut }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Tasks;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers each connection with the next of these texts; returns its address.
    async fn server(tasks: &Tasks, answers: Vec<String>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("server", async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let _ = stream.write_all(answer.replace("{host}", &address.to_string()).as_bytes()).await;
            }
        });
        address
    }

    fn fetcher(may: fn(IpAddr) -> bool) -> Fetcher {
        let rules = FetchRules { timeout_ms: 60_000, max_redirects: 2, ..FetchRules::default() };
        Fetcher { rules, may, trusted: || Err("not in this test".to_owned()) }
    }

    fn page(kind: &str, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn moved(to: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
    }

    #[tokio::test]
    async fn a_page_is_read_and_its_redirects_are_followed() {
        let tasks = Tasks::new();
        let html = page("text/html; charset=utf-8", "<title>T</title><p>hällo");
        let address = server(&tasks, vec![moved("/b"), moved("http://{host}/c"), html, page("application/json", "{}")]).await;
        let fetched = fetcher(|_| true).fetch(&format!("http://{address}/a")).await.unwrap();
        assert_eq!((fetched.url, fetched.status, fetched.text.as_str()), (format!("http://{address}/c"), 200, "T\n\nhällo"));
        assert_eq!(fetcher(|_| true).fetch(&format!("http://{address}/")).await.unwrap().text, "{}");
    }

    #[tokio::test]
    async fn nothing_of_this_machine_is_fetched_directly_or_behind_a_redirect() {
        let tasks = Tasks::new();
        let address = server(&tasks, vec![page("text/plain", "secret")]).await;
        let port = address.port();
        let closed = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "127.1", "2130706433", "169.254.169.254"];
        for host in closed {
            let why = Fetcher::new(FetchRules::default()).fetch(&format!("http://{host}:{port}/")).await.unwrap_err();
            assert!(why.contains("not in the public internet") || why.contains("was not found"), "{host}: {why}");
        }
        let start = server(&tasks, vec![moved(&format!("http://127.0.0.2:{port}/"))]).await;
        let only_first: fn(IpAddr) -> bool = |address| address == IpAddr::from([127, 0, 0, 1]);
        let why = fetcher(only_first).fetch(&format!("http://{start}/")).await.unwrap_err();
        assert!(why.starts_with("127.0.0.2 is not in the public internet"), "{why}");
    }

    #[tokio::test]
    async fn what_is_too_long_endless_or_no_text_is_bounded() {
        let tasks = Tasks::new();
        let big = page("text/plain", &"x".repeat(MAX_BYTES + 10));
        let broken = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_owned();
        let packed = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx".to_owned();
        let answers = vec![big, moved("/"), moved("/"), moved("/"), page("image/png", "x"), packed, broken, "nonsense\r\n\r\n".to_owned()];
        let address = server(&tasks, answers).await;
        let url = format!("http://{address}/");
        let fetched = fetcher(|_| true).fetch(&url).await.unwrap();
        assert!(fetched.cut && fetched.text.len() == MAX_BYTES);
        for said in ["leads on more than 2 times", "image/png", "sent as gzip", "broke off", "."] {
            let why = fetcher(|_| true).fetch(&url).await.unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rules = FetchRules { timeout_ms: 100, ..FetchRules::default() };
        let why = Fetcher { rules, ..fetcher(|_| true) }.fetch(&format!("http://{}/", silent.local_addr().unwrap())).await.unwrap_err();
        assert!(why.contains("not fetched within"), "{why}");
        assert!(fetcher(|_| true).fetch("https://127.0.0.1:1/").await.unwrap_err().contains("cannot be reached"));
    }
}
