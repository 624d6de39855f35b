//! The listeners as a whole: counted places, closing, both loopback addresses, the local socket, TLS.

use skykoi_gateway::transport::admission::Caps;
use skykoi_gateway::transport::listener::{ListenSettings, bind};
use skykoi_gateway::transport::tls;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use crate::shim::until;
use crate::sockets::{PATIENCE, Raw, get, settings, start, status};

#[tokio::test]
async fn m26_silent_sockets_fill_only_the_newcomers_places_and_clients_at_work_go_on() {
    let caps = Caps { connections: 100, newcomers: 20, newcomers_per_address: 5, ..Caps::default() };
    let server = start(ListenSettings { caps, ..settings() }).await;
    let mut client = server.websocket().await;
    client.frame(0x81, b"authenticate").await;
    client.expect_text("ok").await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(server.address()).await.unwrap());
    }
    let late = server.ask(&get("/healthz", "")).await;
    assert!(late.is_empty() || status(&late) == 503, "{late}");
    assert_eq!(server.listeners.connections(), (1, 20));
    client.frame(0x81, b"still here").await;
    client.expect_text("still here").await;
    drop(silent);
    server.counts_become((1, 0)).await;
    assert_eq!(status(&server.ask(&get("/healthz", "")).await), 200);
}

#[tokio::test]
async fn a_client_behind_the_proxy_has_only_its_share_of_the_newcomers_places() {
    let server = start(settings()).await;
    let mut held: Vec<Raw> = Vec::new();
    for n in 0..33 {
        let mut raw = server.connect().await;
        let answer = raw.request(&raw.upgrade("/ws", "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n")).await;
        assert_eq!(status(&answer), if n < 32 { 101 } else { 503 }, "{n}");
        held.push(raw);
    }
    let mut other = server.connect().await;
    assert_eq!(status(&other.request(&other.upgrade("/ws", "X-Forwarded-For: 203.0.113.8\r\n")).await), 101);
    other.frame(0x81, b"whoami").await;
    other.expect_text("tcp addr=203.0.113.8 socket=127.0.0.1 tls=false origin=None host=true").await;
}

#[tokio::test]
async fn closing_the_listeners_leaves_connections_alone_and_frees_the_port() {
    let server = start(settings()).await;
    let mut raw = server.websocket().await;
    assert!(server.listeners.close(PATIENCE).await);
    // A program that another test is just starting may hold the sockets for a moment.
    until("the port is closed", || std::net::TcpStream::connect(server.address()).is_err()).await;
    raw.frame(0x81, b"still here").await;
    raw.expect_text("still here").await;
    let again = async {
        while bind(ListenSettings { port: server.address().port(), ..settings() }).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, again).await.is_ok(), "the port stays taken");
    drop(raw);
    assert!(server.tasks.stop(PATIENCE).await);
}

#[tokio::test]
async fn both_loopback_addresses_listen_on_the_same_port() {
    let server = start(settings()).await;
    let port = server.address().port();
    for address in server.listeners.addresses() {
        assert_eq!(address.port(), port);
        let mut raw = Raw { stream: TcpStream::connect(address).await.unwrap(), port };
        raw.send(get("/healthz", "").replace("{port}", &port.to_string()).as_bytes()).await;
        assert_eq!(status(&raw.rest().await), 200, "{address}");
    }
}

#[tokio::test]
async fn the_local_socket_speaks_lines_and_knows_the_uid() {
    let dir = tempfile::tempdir().unwrap();
    let local = Some(dir.path().join("gateway.sock"));
    let server = start(ListenSettings { local, ..settings() }).await;
    let path = server.listeners.local().unwrap().to_owned();
    let mut stream = BufReader::new(UnixStream::connect(&path).await.unwrap());
    stream.write_all(b"{\"a\":1}\nwhoami\n").await.unwrap();
    let mut lines = String::new();
    stream.read_line(&mut lines).await.unwrap();
    stream.read_line(&mut lines).await.unwrap();
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(lines, format!("{{\"a\":1}}\nlocal uid={uid} origin=None host=false\n"));
    assert_eq!(server.listeners.connections(), (1, 0));
    stream.write_all(&[b'x'; 70_000]).await.unwrap();
    assert_eq!(stream.read_line(&mut lines).await.unwrap(), 0, "too long a line ends the connection");
    assert!(server.listeners.close(PATIENCE).await);
    assert!(!path.exists());
}

#[tokio::test]
async fn tls_ends_here_and_the_pinned_certificate_is_the_only_one_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let files = tls::own_certificate(dir.path(), &[]).unwrap();
    let config = Some(tls::server_config(&files, None).unwrap());
    let server = start(ListenSettings { tls: config, ..settings() }).await;
    let fingerprint = tls::fingerprint(&files.cert).unwrap();
    for (ca, pin, trusted) in
        [(None, Some(fingerprint), true), (Some(files.cert.as_path()), None, true), (None, Some([7; 32]), false), (None, None, false)]
    {
        let client = tokio_rustls::TlsConnector::from(tls::client_config(ca, pin, None).unwrap());
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let Ok(mut stream) = client.connect(name, stream).await else {
            assert!(!trusted);
            continue;
        };
        assert!(trusted);
        let raw = server.connect().await;
        stream.write_all(raw.upgrade("/ws", "").as_bytes()).await.unwrap();
        stream.write_all(&crate::sockets::masked(0x81, b"whoami")).await.unwrap();
        let mut answer = vec![0; 4096];
        let mut got = 0;
        while !String::from_utf8_lossy(&answer[..got]).contains("tls=true") {
            let count = tokio::time::timeout(PATIENCE, stream.read(&mut answer[got..])).await.expect("an answer").unwrap();
            assert_ne!(count, 0);
            got += count;
        }
    }
    let plain = server.ask(&get("/healthz", "")).await;
    assert!(!plain.contains("200 OK"), "plain text on the TLS port is closed");
}
