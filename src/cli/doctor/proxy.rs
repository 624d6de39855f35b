//! The proxy in front: a real request through the configured public address, and what the gateway saw of it.
//!
//! The request carries a word that the gateway has just given over the local socket, and a forged X-Forwarded-For. The answer to the request tells nothing; the gateway says over the local socket what arrived.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{ring as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::client::Client;
use super::Scene;
use super::finding::Finding;
use crate::transport::tls;

/// An address of nobody (documentation only), which a client might claim.
const LIE: &str = "192.0.2.77";
/// How long the request may take.
const LIMIT: Duration = Duration::from_secs(15);
/// How much of the answer is read.
const ANSWER_BYTES: u64 = 1024;

/// What is found out about the proxy.
pub async fn security(scene: &Scene, client: Option<&mut Client>) -> Vec<Finding> {
    const CHECK: &str = "proxy";
    let urls = scene.texts("/gateway/publicUrls");
    let Some(url) = urls.first() else {
        let what = "gateway.publicUrls names no public address, so no request from outside is served under a name";
        return vec![Finding::note(CHECK, what, "set it to the address that clients use, such as https://koi.example.com")];
    };
    let Some(client) = client else {
        return vec![Finding::note(
            CHECK,
            format!("whether {url} leads here is not known: no gateway runs"),
            "start it and run this again",
        )];
    };
    let probe = async |client: &mut Client, params: Value| client.call("doctor.proxy", &params).await.map_err(|error| error.to_string());
    let asked = match probe(client, json!({})).await {
        Ok(asked) => asked,
        Err(why) => return vec![Finding::note(CHECK, format!("the gateway gives no word for a probe: {why}"), "")],
    };
    let text = |key: &str| asked.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (word, header) = (text("word"), text("header"));
    let mut findings = Vec::new();
    let status = match request(url, &header, &word, &mut findings).await {
        Ok(status) => status,
        Err(why) => {
            let mend = "check the name, the proxy and the firewall; some networks do not let a machine reach its own public address, then try from another one";
            return vec![Finding::warning(CHECK, format!("{url} cannot be reached from here: {why}"), mend)];
        }
    };
    // Without TLS of its own the gateway cannot be what answers at an https address.
    let direct = scene.is("/gateway/tls/enabled") || !url.starts_with("https://");
    let seen = probe(client, json!({ "word": word })).await.ok().and_then(|answer| answer.get("seen").cloned());
    findings.extend(judge(url, status, seen.as_ref(), direct));
    findings
}

/// Sends it; gives the HTTP status of the answer.
async fn request(url: &str, header: &str, word: &str, findings: &mut Vec<Finding>) -> Result<u16, String> {
    let uri: hyper::Uri = url.parse().map_err(|_| "it is no address".to_owned())?;
    let (host, secure) = (uri.host().unwrap_or_default(), uri.scheme_str() == Some("https"));
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let name = host.trim_matches(['[', ']']).to_owned();
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let text =
        format!("GET /healthz HTTP/1.1\r\nHost: {authority}\r\n{header}: {word}\r\nX-Forwarded-For: {LIE}\r\nConnection: close\r\n\r\n");
    let connect = || async {
        let stream = timeout(LIMIT, TcpStream::connect((name.as_str(), port))).await.map_err(|_| "no answer within 15 s".to_owned())?;
        stream.map_err(|error| error.to_string())
    };
    if !secure {
        return exchange(connect().await?, &text).await;
    }
    let server = ServerName::try_from(name.clone()).map_err(|_| "it has no name for TLS".to_owned())?;
    let trusting = tls::client_config(None, None, None).map_err(|error| error.to_string())?;
    let encrypted = async |config: Arc<ClientConfig>| match timeout(
        LIMIT,
        TlsConnector::from(config).connect(server.clone(), connect().await?),
    )
    .await
    {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err("no TLS within 15 s".to_owned()),
    };
    match encrypted(trusting).await {
        Ok(stream) => exchange(stream, &text).await,
        Err(why) => {
            // The word is worth nothing to whoever reads it, so it may be said to anybody.
            let stream = encrypted(anybody().map_err(|error| error.to_string())?).await?;
            let mend = "clients must be given its fingerprint, or a certificate of a known authority be installed";
            findings.push(Finding::note(
                "certificate",
                format!("the certificate of {url} is not one that this machine trusts: {why}"),
                mend,
            ));
            exchange(stream, &text).await
        }
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Result<u16, String> {
    let talk = async {
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        // A proxy that closes without the last word of TLS has answered all the same.
        let _ = stream.take(ANSWER_BYTES).read_to_end(&mut answer).await;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(LIMIT, talk).await.map_err(|_| "no answer within 15 s".to_owned())?.map_err(|error| error.to_string())?;
    let head = String::from_utf8_lossy(&answer);
    head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok()).ok_or_else(|| "what answers is no web server".to_owned())
}

/// What the gateway saw, against what it should have. `direct`: the gateway itself may be what answers at the address.
fn judge(url: &str, status: u16, seen: Option<&Value>, direct: bool) -> Vec<Finding> {
    const CHECK: &str = "proxy";
    const SETTING: &str =
        "in nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; and gateway.trustedProxies: [\"127.0.0.1\", \"::1\"]";
    let Some(seen) = seen else {
        let what = format!("what answers at {url} (with status {status}) is not this gateway, or takes headers away");
        return vec![Finding::critical(CHECK, what, "let the name and the proxy lead to this gateway")];
    };
    let text = |key: &str| seen.get(key).and_then(Value::as_str).unwrap_or("?");
    let trusted = seen.get("trusted").and_then(Value::as_bool).unwrap_or(false);
    let lines: Vec<&str> = seen.get("forwarded").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    // What the proxy itself has written stands at the right.
    let last = lines.last().and_then(|line| line.rsplit(',').next()).map(str::trim);
    let (socket, client) = (text("socket"), text("client"));
    let mut findings = Vec::new();
    if status == 421 {
        let what = format!("the proxy sends Host '{}', which is not served", text("host"));
        findings.push(Finding::critical(CHECK, what, "in nginx: proxy_set_header Host $host;"));
    }
    findings.push(match (trusted, last) {
        (true, Some(LIE)) => Finding::critical(
            CHECK,
            "the proxy lets a client write its own address, so the limits against guessing can be got around",
            SETTING,
        ),
        (false, Some(LIE)) if direct => Finding::ok(CHECK, format!("{url} leads straight to the gateway, which sees {client}")),
        (false, Some(hop)) if hop != LIE => {
            let what = format!("the proxy at {socket} says who its clients are, but is not believed: all of them count as one");
            Finding::warning(CHECK, what, format!("add \"{socket}\" to gateway.trustedProxies"))
        }
        (true, Some(hop)) if hop.parse::<IpAddr>().is_ok() || hop.parse::<SocketAddr>().is_ok() => {
            Finding::ok(CHECK, format!("{url} leads here through {socket}, which says that its client is {hop}"))
        }
        _ => Finding::warning(
            CHECK,
            "the proxy does not say who its clients are: all of them count as one, and one who guesses locks all out",
            SETTING,
        ),
    });
    findings
}

/// Whoever answers.
fn anybody() -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider())).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth()))
}

/// Takes every certificate: what is sent is worth nothing to anybody else, and what is asked is only whether it arrives.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &provider::default_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider::default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Severity;

    fn judged(status: u16, trusted: bool, direct: bool, forwarded: &[&str]) -> Vec<(Severity, String)> {
        let seen =
            json!({ "socket": "127.0.0.1", "client": "203.0.113.7", "trusted": trusted, "forwarded": forwarded, "host": "koi.test" });
        judge("https://koi.test", status, Some(&seen), direct).into_iter().map(|finding| (finding.severity, finding.what)).collect()
    }

    #[test]
    fn every_way_in_which_a_proxy_forwards_has_its_verdict() {
        for (trusted, direct, forwarded, severity, word) in [
            (true, false, &["192.0.2.77, 203.0.113.7"][..], Severity::Ok, "its client is 203.0.113.7"),
            // This machine asks, and counts as a proxy itself: what stands left of it is believed, which says nothing against the proxy.
            (true, false, &["192.0.2.77, 127.0.0.1"], Severity::Ok, "its client is 127.0.0.1"),
            (true, false, &["203.0.113.7"], Severity::Ok, "leads here through"),
            (true, false, &["192.0.2.77"], Severity::Critical, "write its own address"),
            (true, false, &[], Severity::Warning, "does not say"),
            (true, false, &["192.0.2.77, garbage"], Severity::Warning, "does not say"),
            (false, false, &["192.0.2.77, 203.0.113.7"], Severity::Warning, "not believed"),
            (false, false, &["192.0.2.77"], Severity::Warning, "does not say"),
            (false, true, &["192.0.2.77"], Severity::Ok, "leads straight"),
        ] {
            let found = judged(200, trusted, direct, forwarded);
            assert!(found[0].0 == severity && found[0].1.contains(word), "{forwarded:?}: {found:?}");
        }
        assert!(judged(421, true, false, &["203.0.113.7"])[0].1.contains("Host 'koi.test'"));
        assert_eq!(judge("https://koi.test", 200, None, false)[0].severity, Severity::Critical);
    }

    #[tokio::test]
    async fn an_address_where_nobody_answers_is_said_to_be_unreachable() {
        let silent = crate::free::refusing();
        let port = silent.local_addr().unwrap().port();
        let found = request(&format!("http://127.0.0.1:{port}"), "x", "y", &mut Vec::new()).await;
        assert!(found.is_err(), "{found:?}");
    }
}
