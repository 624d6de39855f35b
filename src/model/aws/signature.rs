//! AWS signature, version 4, for requests with their signature in a header.
//!
//! Amazon's own crate would bring a date library, a second SHA-2 and its run-time types into the program for what ring, which is linked anyway, does in a page. Tests hold it against Amazon's published vectors, and the scripted server checks each signature with Amazon's crate.

use std::fmt::Write as _;

use ring::{digest, hmac};

use super::Keys;
use crate::clock;

/// What is signed, and for whom.
pub(in crate::model) struct Signing<'a> {
    pub(in crate::model) keys: &'a Keys,
    pub(in crate::model) region: &'a str,
    pub(in crate::model) service: &'a str,
    /// As in `20150830T123600Z`.
    pub(in crate::model) stamp: &'a str,
}

/// The time of a signature.
pub(in crate::model) fn stamp(now_ms: u64) -> String {
    let iso = clock::iso(now_ms);
    let seconds = iso.split('.').next().unwrap_or_default();
    seconds.chars().filter(char::is_ascii_alphanumeric).chain(['Z']).collect()
}

impl Signing<'_> {
    /// The value of `authorization`. `path` is as it is sent, without a query; names of headers are in lower case and hold `host` and `x-amz-date`.
    pub(in crate::model) fn sign(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let mut headers = headers.to_vec();
        headers.sort_unstable_by_key(|(name, _)| *name);
        // The path counts once more encoded than it is sent.
        let mut canonical = format!("{method}\n{}\n\n", encoded(path, b"/"));
        for (name, value) in &headers {
            let value: Vec<&str> = value.split_whitespace().collect();
            let _ = writeln!(canonical, "{name}:{}", value.join(" "));
        }
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let _ = write!(canonical, "\n{names}\n{}", hash(body));

        let date = self.stamp.split('T').next().unwrap_or_default();
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", self.stamp, hash(canonical.as_bytes()));
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{}", self.keys.secret.expose()).as_bytes());
        for part in [date, self.region, self.service, "aws4_request"] {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", self.keys.id)
    }
}

/// Percent-encoded, but for letters, digits, `-._~` and what is in `kept`.
pub(in crate::model) fn encoded(text: &str, kept: &[u8]) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    fn signed(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned());
        let keys = Keys { id: "AKIDEXAMPLE".to_owned(), secret, token: None };
        let signing = Signing { keys: &keys, region: "us-east-1", service: "service", stamp: "20150830T123600Z" };
        let all: Vec<_> = headers.iter().copied().chain([("x-amz-date", "20150830T123600Z")]).collect();
        signing.sign(method, path, &all, body.as_bytes())
    }

    #[test]
    fn the_time_is_written_without_signs() {
        assert_eq!(stamp(1_440_938_160_000), "20150830T123600Z");
    }

    /// From the signing test suite that Amazon publishes.
    #[test]
    fn published_vectors_are_signed_as_amazon_does() {
        let host = ("host", "example.amazonaws.com");
        let whole = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert_eq!(signed("GET", "/", &[host], ""), whole);
        let sha = ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e");
        let form = [("content-type", "application/x-www-form-urlencoded"), host, ("content-length", "13"), sha];
        let token = ("x-amz-security-token", "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267");
        let unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let trimmed = [host, ("my-header1", "value1"), ("my-header2", " \"a   b   c\" ")];
        type Vector<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
        let table: [Vector<'_>; 8] = [
            ("GET", "/", &[host, token], "", "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"),
            ("GET", "/", &trimmed, "", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
            ("POST", "/", &[host], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            ("POST", "/", &[("my-header1", "value1"), host], "", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
            ("POST", "/", &form, "Param1=value1", "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"),
            ("GET", unreserved, &[host], "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
            ("GET", "/\u{1234}", &[host], "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
            ("GET", "/example space/", &[host], "", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        ];
        for (method, path, headers, body, signature) in table {
            let wanted = format!("Signature={signature}");
            assert!(signed(method, path, headers, body).ends_with(&wanted), "{method} {path} {headers:?}");
        }
    }
}
