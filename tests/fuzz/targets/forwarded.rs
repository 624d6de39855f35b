//! What a request says of where it comes from and where it goes: the forwarded addresses, Host, Origin. One line each: the socket's peer, Host, Origin, and the rest are lines of X-Forwarded-For.

use std::net::{IpAddr, Ipv6Addr};

use skykoi_gateway::auth::origin::HostPolicy;
use skykoi_gateway::auth::peer::{Cidr, client_address, fold, limit_key};

use super::{Target, none, outcome};

pub const TARGET: Target = Target {
    name: "forwarded",
    words: &[
        "\n",
        ",",
        ", ",
        "127.0.0.1",
        "10.0.0.1",
        "198.51.100.7",
        "::1",
        "[::1]",
        "[2001:db8::1]:443",
        "::ffff:127.0.0.1",
        "%25lo",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "localhost",
        "koi.test",
        ":18789",
        ":443",
        ":0",
        ":65536",
        "https://",
        "http://",
        "null",
        "file://",
        "user@",
        ".",
        ".evil.example",
        "127.evil.com",
        "_",
        "-",
        "/",
    ],
    max: 2048,
    seeds: none,
    run,
};

const PORT: u16 = 18789;
const TRUSTED: &[&str] = &["127.0.0.1", "::1", "10.0.0.0/8"];

fn run(input: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(input) else { return 0 };
    let mut lines = text.split('\n');
    let (peer, host, origin) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let forwarded: Vec<&str> = lines.collect();
    let policy = HostPolicy::new(&["https://koi.test".to_owned()], &["https://app.test:8443".to_owned()], &[]).unwrap();
    let (host_ok, origin_ok) = (policy.check_host(host, PORT), policy.check_origin(Some(origin), PORT));
    assert!(host_ok.is_err() || is_our_host(&host.to_ascii_lowercase()), "{host:?}");
    assert!(origin_ok.is_err() || is_our_origin(&origin.to_ascii_lowercase()), "{origin:?}");
    let range = host.parse::<Cidr>().is_ok();
    let peer: IpAddr = peer.parse().unwrap_or(IpAddr::V6(Ipv6Addr::LOCALHOST));
    outcome((host_ok.err().map(|refusal| refusal.status()), origin_ok.is_ok(), range, address(peer, &forwarded)))
}

/// The client's address, and whether it can be the right one.
fn address(peer: IpAddr, forwarded: &[&str]) -> (bool, bool) {
    let trusted: Vec<Cidr> = TRUSTED.iter().map(|range| range.parse().unwrap()).collect();
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let client = client_address(peer, forwarded.iter().copied(), &trusted);
    assert_eq!(client, fold(client), "one form of each address");
    assert_eq!(limit_key(client), limit_key(limit_key(client)));
    if !is_trusted(peer) {
        assert_eq!(client, fold(peer), "who is no proxy of ours speaks for itself");
    }
    let found = client != fold(peer) && !is_trusted(client);
    if found {
        // Whatever else the client itself writes, which stands on the left, changes nothing.
        for lie in ["127.0.0.1", "garbage", "::1, 10.0.0.1", ""] {
            let lied = std::iter::once(lie).chain(forwarded.iter().copied());
            assert_eq!(client_address(peer, lied, &trusted), client, "{lie}");
        }
    }
    (is_trusted(peer), found)
}

/// By parsing with what the standard library has, and nothing else.
fn is_our_host(host: &str) -> bool {
    let (name, port) = split(host);
    let port_is_ours = port.map_or(PORT == 80, |port| port == PORT);
    name == "koi.test" || (port_is_ours && is_loopback(name))
}

fn is_our_origin(origin: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let (name, port) = split(rest);
    let port = port.unwrap_or(if scheme == "https" { 443 } else { 80 });
    match (scheme, name) {
        ("https", "koi.test") => port == 443,
        ("https", "app.test") => port == 8443,
        ("http" | "https", name) => port == PORT && is_loopback(name),
        _ => false,
    }
}

fn is_loopback(name: &str) -> bool {
    let v6 = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    name == "localhost" || name == "127.0.0.1" || v6.is_some_and(|v6| v6.parse() == Ok(Ipv6Addr::LOCALHOST))
}

fn split(text: &str) -> (&str, Option<u16>) {
    match text.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
        Some((name, Ok(port))) if !name.ends_with(':') => (name, Some(port)),
        _ => (text, None),
    }
}
