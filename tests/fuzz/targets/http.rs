//! The head of an HTTP request as it comes from the socket, through the reader, the gate and the upgrade.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use skykoi_gateway::auth::origin::HostPolicy;
use skykoi_gateway::auth::probe::Seen;
use skykoi_gateway::tasks::Tasks;
use skykoi_gateway::transport::admission::{Admission, Caps};
use skykoi_gateway::transport::http::{Front, Rules, Visit, router};
use skykoi_gateway::transport::listener::speak_http;
use skykoi_gateway::transport::wire::{Link, ReadLimits, Readiness, Serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::{Target, none, outcome};

pub const TARGET: Target = Target {
    name: "http",
    words: &[
        "\r\n",
        "\n",
        "\r\n\r\n",
        "GET / HTTP/1.1\r\n",
        "GET /ws HTTP/1.1\r\n",
        "HTTP/1.0",
        "HTTP/2.0",
        "POST",
        "Host: ",
        "Host: localhost:18789\r\n",
        "Host: koi.test\r\n",
        "Host: evil.example\r\n",
        "Origin: https://koi.test\r\n",
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Connection: Upgrade\r\n",
        "Connection: close\r\n",
        "Upgrade: websocket\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Version: 8\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "X-Forwarded-For: 127.0.0.1\r\n",
        "X-Skykoi-Probe: x\r\n",
        "?token=x",
        "http://evil.example/",
        "//",
        "%2e%2e/",
        "/health",
        "/readyz",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        ": ",
        "\t",
        "\u{0}",
    ],
    max: 20 * 1024,
    seeds: none,
    run,
};

const PORT: u16 = 18789;
/// All that may be answered; nothing of it says that we failed.
const STATUS: &[&str] = &["101", "200", "400", "403", "404", "405", "408", "414", "421", "426", "429", "431", "503"];

struct Nobody;

impl Serve for Nobody {
    fn serve(self: Arc<Self>, _: Link) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }

    fn ready(&self) -> Readiness {
        Readiness { ready: true, failing: Vec::new() }
    }

    fn probed(&self, _: &str, seen: &dyn Fn() -> Seen) {
        seen();
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
}

fn run(input: &[u8]) -> u64 {
    let answer = RUNTIME.with(|runtime| runtime.block_on(converse(input)));
    let answer = String::from_utf8_lossy(&answer);
    let answers: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).collect();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{answer}");
    let status: Vec<&str> = answers.iter().map(|answer| answer.get(..3).unwrap_or_default()).collect();
    assert!(status.iter().all(|status| STATUS.contains(status)), "{answer}");
    if let Some(number) = status.iter().position(|status| *status == "101") {
        assert_eq!(number + 1, status.len(), "nothing is answered behind an upgrade");
        may_be_upgraded(input, number);
    }
    outcome((status, answers.last().and_then(|last| last.lines().last()).map(str::to_owned)))
}

async fn converse(input: &[u8]) -> Vec<u8> {
    let rules = Rules { hosts: HostPolicy::new(&["https://koi.test".to_owned()], &[], &[]).unwrap(), trusted_proxies: Vec::new() };
    let limits = ReadLimits { max_message_bytes: 1024, max_fragments: 4, message_timeout: Duration::from_secs(1) };
    // Receivers read the last value also when the sender is gone.
    let front =
        Front { serve: Arc::new(Nobody), rules: watch::channel(Arc::new(rules)).1, limits: watch::channel(limits).1, tasks: Tasks::new() };
    let tasks = front.tasks.clone();
    let socket = SocketAddr::from(([127, 0, 0, 1], 40_000));
    let guard = Admission::new(Caps::default()).enter(socket.ip()).unwrap();
    let visit = Visit { socket, port: PORT, tls: false, guard: Mutex::new(Some(guard)) };
    let (mut ours, theirs) = tokio::io::duplex(256 * 1024);
    ours.write_all(input).await.unwrap();
    ours.shutdown().await.unwrap();
    let served = speak_http(theirs, visit, TowerToHyperService::new(router(Arc::new(front))), tasks.stop_token());
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(served, ours.read_to_end(&mut answer));
    read.unwrap();
    assert!(tasks.stop(Duration::from_secs(60)).await);
    answer
}

/// Reads the head with this number in the simplest way there is: an upgrade must have had one Host that is ours, no Origin but ours, and no word that sounds like a secret in its address.
fn may_be_upgraded(input: &[u8], number: usize) {
    let text = String::from_utf8_lossy(input).replace("\r\n", "\n");
    let heads: Vec<&str> = text.split("\n\n").map(|head| head.trim_start_matches('\n')).filter(|head| !head.is_empty()).collect();
    let mut lines = heads[number].lines();
    let target = lines.next().unwrap().to_ascii_lowercase();
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_ascii_lowercase()))
        .collect();
    let of = |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
    let (hosts, origins) = (of("host"), of("origin"));
    let [host] = hosts.as_slice() else { panic!("hosts: {hosts:?}") };
    let name = host.strip_suffix(&format!(":{PORT}")).unwrap_or(host);
    let public = host.split(':').next() == Some("koi.test");
    let local = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()) || name == "localhost";
    assert!(public || (local && name != *host), "host {host}");
    let own = |origin: &str| {
        origin.strip_prefix("https://koi.test").is_some_and(|rest| rest.is_empty() || rest == ":443")
            || origin.contains("://localhost:")
            || origin.contains("://127.0.0.1:")
            || origin.contains("://[")
    };
    assert!(origins.len() <= 1 && origins.iter().all(|origin| own(origin)), "origins {origins:?}");
    assert!(!target.contains("?token=") && !target.contains("&token="), "{target}");
    assert!(target.starts_with("get "), "{target}");
}
