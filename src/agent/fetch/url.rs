//! The part of a URL's form that fetching needs: `http` and `https`, a host, a port, a path. Pure.

use std::net::IpAddr;

use fluent_uri::UriRef;
use hyper::Uri;

/// A place in the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The host, a name or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, for the model.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().split('#').next().unwrap_or_default();
        let escaped: String = text.chars().map(|c| if c.is_ascii_graphic() { c.to_string() } else { percent(c) }).collect();
        let uri: Uri = escaped.parse().map_err(|error| format!("{text} is no URL: {error}."))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("{text}: only http and https are fetched.")),
        };
        let authority = uri.authority().ok_or_else(|| format!("{text} names no host."))?;
        if authority.as_str().contains('@') {
            return Err("A URL with a user name or a password in it is not fetched.".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(format!("{text} names no host."));
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host, port, path })
    }

    /// Where a redirect from here leads.
    ///
    /// # Errors
    /// As [`Place::parse`].
    pub fn join(&self, location: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{} leads to {location}, which is no URL: {why}.", self.url());
        let (base, location) = (escaped(&self.url()), escaped(location.trim()));
        let base = fluent_uri::Uri::parse(base.as_str()).map_err(|error| wrong(error.to_string()))?;
        let reference = UriRef::parse(location.as_str()).map_err(|error| wrong(error.to_string()))?;
        let to = reference.resolve_against(&base).map_err(|error| wrong(error.to_string()))?;
        Self::parse(to.as_str())
    }

    /// The host as it stands in a URL and in `Host`.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// The URL.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// The host as an address, if it is written as one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// A URL with what may not stand in it escaped, as browsers do it for those who do not.
fn escaped(text: &str) -> String {
    // Brackets are for addresses of IPv6; further on, people write them into names.
    let start = text.find("//").filter(|at| text.get(..*at).is_some_and(|scheme| !scheme.contains(['/', '?', '#'])));
    let host_end =
        start.map_or(0, |at| text.get(at + 2..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(text.len(), |end| at + 2 + end));
    let is_hex = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    let stays = |at: usize, c: char| match c {
        '[' | ']' => at < host_end,
        '%' => is_hex(at + 1) && is_hex(at + 2),
        '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' => false,
        c => c.is_ascii_graphic(),
    };
    text.char_indices().map(|(at, c)| if stays(at, c) { c.to_string() } else { percent(c) }).collect()
}

fn percent(c: char) -> String {
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_redirects_followed_by_the_rules() {
        let place = Place::parse("https://Example.test/a/b?q=ü x#part").unwrap();
        assert_eq!(place, Place { tls: true, host: "example.test".into(), port: 443, path: "/a/b?q=%C3%BC%20x".into() });
        let to = |location: &str| place.join(location).unwrap().url();
        assert_eq!(to("c"), "https://example.test/a/c");
        assert_eq!(to("/c?d"), "https://example.test/c?d");
        assert_eq!(to("//other:8080/x"), "https://other:8080/x");
        assert_eq!(to("http://[::1]/"), "http://[::1]/");
        assert_eq!(to("?page=2"), "https://example.test/a/b?page=2");
        assert_eq!(to("../c/./d#e"), "https://example.test/c/d");
        assert_eq!(to("/login?next=https://example.test/a"), "https://example.test/login?next=https://example.test/a");
        assert_eq!(to("/x y?a[]=100%&b=ä|"), "https://example.test/x%20y?a%5B%5D=100%25&b=%C3%A4%7C");
        assert!(place.join("javascript:alert(1)").unwrap_err().contains("only http and https"));
        assert!(place.join("http://[::1/").is_err());
        assert_eq!(Place::parse("http://[::1]:80").unwrap().address(), Some("::1".parse().unwrap()));
        for wrong in ["file:///etc/passwd", "ftp://x/", "x", "http://", "http://user:pw@host/", "gopher://x", "/a"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }
}
