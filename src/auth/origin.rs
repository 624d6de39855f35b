//! Which Host and which Origin a request may carry. Both are checked before anything else is looked at, for every path.
//!
//! The Host list stops DNS rebinding: a page whose name was re-pointed at this machine still sends its own name. The Origin list stops pages of other sites. The Origin is never compared with the Host header, since an attacker's page has its own name in both. A request without an Origin is not from a browser and must show a credential like any other.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Answer 400: the Host header cannot be read.
    #[error("bad host header")]
    BadHost,
    /// Answer 421: the request is for somebody else's name.
    #[error("host not served here")]
    ForeignHost,
    /// Answer 403: a page of this origin may not connect.
    #[error("origin not allowed")]
    ForeignOrigin,
}

impl Refusal {
    /// The HTTP status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadHost => 400,
            Self::ForeignHost => 421,
            Self::ForeignOrigin => 403,
        }
    }
}

/// A web origin: scheme, host and port, compared whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    tls: bool,
    host: String,
    port: u16,
}

/// A text that is not an `http` or `https` origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin like https://example.com")]
pub struct BadOrigin;

impl std::str::FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let text = text.to_ascii_lowercase();
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(BadOrigin),
        };
        let (host, port) = split_host(rest).ok_or(BadOrigin)?;
        Ok(Self { tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }) })
    }
}

impl Origin {
    /// The host name, lower case, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// What this gateway answers to.
#[derive(Clone, Debug, Default)]
pub struct HostPolicy {
    /// Names besides the loopback ones. With no port given, any port will do: a proxy in front may listen anywhere.
    hosts: Vec<(String, Option<u16>)>,
    /// Origins besides our own loopback ones.
    origins: Vec<Origin>,
}

impl HostPolicy {
    /// `public` are the gateway's own public origins: their hosts may stand in Host, and they are allowed origins. `foreign` are further origins, of front ends served elsewhere. `hosts` are further names for Host, `name` or `name:port`.
    ///
    /// # Errors
    /// The first text that is no origin or host.
    pub fn new(public: &[String], foreign: &[String], hosts: &[String]) -> Result<Self, String> {
        let mut policy = Self::default();
        for text in public {
            let origin: Origin = text.trim_end_matches('/').parse().map_err(|error| format!("{text}: {error}"))?;
            policy.hosts.push((origin.host.clone(), None));
            policy.origins.push(origin);
        }
        for text in foreign {
            policy.origins.push(text.parse().map_err(|error| format!("{text}: {error}"))?);
        }
        for text in hosts {
            policy.hosts.push(split_host(&text.to_ascii_lowercase()).ok_or_else(|| format!("{text}: not a host name"))?);
        }
        Ok(policy)
    }

    /// Judges a Host header; `port` is the one that we listen on.
    ///
    /// # Errors
    /// [`Refusal::BadHost`] or [`Refusal::ForeignHost`].
    pub fn check_host(&self, header: &str, port: u16) -> Result<(), Refusal> {
        let (host, given) = split_host(&header.to_ascii_lowercase()).ok_or(Refusal::BadHost)?;
        let own = is_loopback_name(&host) && given.unwrap_or(80) == port;
        let named = || self.hosts.iter().any(|(name, only)| *name == host && only.is_none_or(|only| given == Some(only)));
        if own || named() { Ok(()) } else { Err(Refusal::ForeignHost) }
    }

    /// Judges an Origin header; `None` is a request without one. `port` is the one that we listen on.
    ///
    /// # Errors
    /// [`Refusal::ForeignOrigin`], also for `null` and for what is no origin at all.
    pub fn check_origin(&self, header: Option<&str>, port: u16) -> Result<(), Refusal> {
        let Some(header) = header else { return Ok(()) };
        let origin: Origin = header.parse().map_err(|_| Refusal::ForeignOrigin)?;
        let own = is_loopback_name(&origin.host) && origin.port == port;
        if own || self.origins.contains(&origin) { Ok(()) } else { Err(Refusal::ForeignOrigin) }
    }
}

/// The names under which only this machine can mean itself. They are compared whole: no prefix or suffix of a name says anything.
fn is_loopback_name(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}

/// Splits a lower-case `host`, `host:port`, `[v6]` or `[v6]:port` and refuses everything else: user names, paths, zones, spaces.
fn split_host(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (v6, after) = rest.split_once(']')?;
        let v6: Ipv6Addr = v6.parse().ok()?;
        let port = if after.is_empty() { None } else { Some(parse_port(after.strip_prefix(':')?)?) };
        return Some((v6.to_string(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    let label = |label: &str| label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    // One trailing dot is a legal spelling of a name, though never one of ours; it stays in, so that it matches nothing.
    let named = !host.is_empty()
        && host.len() <= 253
        && host.strip_suffix('.').unwrap_or(host).split('.').all(|part| !part.is_empty() && label(part));
    // What ends in a number is an address and must be a whole one: `127.1` and `0x7f.1` are addresses in some browsers.
    let last_is_number = host.rsplit('.').next().is_some_and(|last| last.bytes().next().is_some_and(|b| b.is_ascii_digit()));
    if !named || (last_is_number && host.parse::<Ipv4Addr>().is_err()) {
        return None;
    }
    Some((host.to_owned(), port))
}

/// A port in plain digits; zero is none.
fn parse_port(text: &str) -> Option<u16> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 18789;

    fn policy() -> HostPolicy {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        HostPolicy::new(&texts(&["https://vm.example.com"]), &texts(&["https://app.example.org:8443"]), &texts(&["inner:8080"])).unwrap()
    }

    #[test]
    fn m1_a_foreign_origin_is_refused() {
        for origin in [
            "https://evil.example",
            "https://vm.example.com.evil.example",
            "https://evil.vm.example.com",
            "http://vm.example.com",
            "https://vm.example.com:8443",
            "https://app.example.org",
            "http://localhost",
            "http://localhost:18790",
            "http://127.evil.com:18789",
            "http://localhost:18789.evil.example",
            "chrome-extension://abc",
            "file://",
            "",
            "https://",
            "https://user@vm.example.com",
            "https://vm.example.com/path",
            "https://vm.example.com ",
            "https://vm.example.com, https://vm.example.com",
        ] {
            assert_eq!(policy().check_origin(Some(origin), PORT), Err(Refusal::ForeignOrigin), "{origin:?}");
        }
    }

    #[test]
    fn m2_the_null_origin_is_refused() {
        assert_eq!(policy().check_origin(Some("null"), PORT), Err(Refusal::ForeignOrigin));
        assert!(HostPolicy::new(&[], &["null".to_owned()], &[]).is_err(), "and cannot be configured");
        assert!(HostPolicy::new(&[], &["*".to_owned()], &[]).is_err());
    }

    #[test]
    fn m3_no_origin_is_not_a_browser_and_passes() {
        assert_eq!(policy().check_origin(None, PORT), Ok(()));
    }

    #[test]
    fn own_public_and_configured_origins_pass() {
        for origin in [
            "https://vm.example.com",
            "https://vm.example.com:443",
            "HTTPS://VM.example.com",
            "https://app.example.org:8443",
            "http://localhost:18789",
            "http://127.0.0.1:18789",
            "https://[::1]:18789",
        ] {
            assert_eq!(policy().check_origin(Some(origin), PORT), Ok(()), "{origin}");
        }
    }

    #[test]
    fn m5_a_foreign_host_is_misdirected_even_when_the_origin_matches_it() {
        assert_eq!(policy().check_host("evil.example", PORT), Err(Refusal::ForeignHost));
        assert_eq!(policy().check_host("evil.example:18789", PORT), Err(Refusal::ForeignHost));
        assert_eq!(policy().check_origin(Some("http://evil.example:18789"), PORT), Err(Refusal::ForeignOrigin));
        assert_eq!(Refusal::ForeignHost.status(), 421);
    }

    #[test]
    fn m6_odd_hosts_each_have_their_answer() {
        let table = [
            ("user@localhost:18789", Refusal::BadHost),
            ("localhost:18789@evil.example", Refusal::BadHost),
            ("", Refusal::BadHost),
            (":18789", Refusal::BadHost),
            ("localhost:", Refusal::BadHost),
            ("localhost:+18789", Refusal::BadHost),
            ("localhost:99999", Refusal::BadHost),
            ("localhost:18789:1", Refusal::BadHost),
            ("local host:18789", Refusal::BadHost),
            ("localhost/evil:18789", Refusal::BadHost),
            ("localhost..:18789", Refusal::BadHost),
            ("[::1%25lo]:18789", Refusal::BadHost),
            ("[::1]18789", Refusal::BadHost),
            ("[::1", Refusal::BadHost),
            ("::1", Refusal::BadHost),
            ("127.1:18789", Refusal::BadHost),
            ("2130706433:18789", Refusal::BadHost),
            ("0x7f000001:18789", Refusal::BadHost),
            ("localhost.:18789", Refusal::ForeignHost),
            ("vm.example.com.", Refusal::ForeignHost),
            ("127.evil.com:18789", Refusal::ForeignHost),
            ("127.0.0.1.evil.com:18789", Refusal::ForeignHost),
            ("127.0.0.2:18789", Refusal::ForeignHost),
            ("0.0.0.0:18789", Refusal::ForeignHost),
            ("[::ffff:127.0.0.1]:18789", Refusal::ForeignHost),
            ("localhost", Refusal::ForeignHost),
            ("localhost:80", Refusal::ForeignHost),
            ("inner", Refusal::ForeignHost),
        ];
        for (host, refusal) in table {
            assert_eq!(policy().check_host(host, PORT), Err(refusal), "{host:?}");
        }
    }

    #[test]
    fn our_own_names_pass() {
        for host in [
            "localhost:18789",
            "LocalHost:18789",
            "127.0.0.1:18789",
            "[::1]:18789",
            "[0:0::1]:18789",
            "vm.example.com",
            "VM.example.com:443",
            "vm.example.com:8443",
            "inner:8080",
        ] {
            assert_eq!(policy().check_host(host, PORT), Ok(()), "{host}");
        }
        assert_eq!(policy().check_host("localhost", 80), Ok(()), "the port that http leaves out");
    }
}
