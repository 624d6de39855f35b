//! TLS that ends in the gateway itself, and the binds that need it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use skykoi_gateway::transport::tls::{self, CertFiles};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::client::connect_params;
use crate::harness::{Client, Gateway};
use crate::shim::until;
use crate::sockets::{Raw, get};

#[tokio::test]
async fn with_its_own_certificate_a_run_goes_over_wss_and_plain_text_gets_nowhere() {
    let mut gateway = Gateway::with(&json!({ "gateway": { "tls": { "enabled": true } } }));
    let cert = gateway.state_dir().join("gateway/tls/gateway-cert.pem");
    let pin = tls::fingerprint(&cert).unwrap();
    for _ in 0..2 {
        for (ca, pin) in [(Some(cert.as_path()), None), (None, Some(pin))] {
            let connector = TlsConnector::from(tls::client_config(ca, pin, None).unwrap());
            let stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
            let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
            let mut client = Client::upgrade(stream, &format!("localhost:{}", gateway.port()), &[]).await.unwrap();
            client.hello(connect_params()).await.unwrap();
            assert_eq!(client.script("echo over tls").await["payload"]["status"], "ok");
        }
        // The certificate, whose fingerprint people have noted, stays the same.
        assert!(gateway.stop().success());
        gateway.launch();
    }
    let mut plain = Raw::to(&gateway).await;
    plain.send(get("/healthz", "").replace("{port}", &gateway.port().to_string()).as_bytes()).await;
    let answer = plain.rest().await;
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    // Who trusts another certificate is not connected.
    let connector = TlsConnector::from(tls::client_config(None, Some([7; 32]), None).unwrap());
    let stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    assert!(connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.is_err());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(cert.with_file_name("gateway-key.pem")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_address_beyond_loopback_needs_tls_or_a_flag() {
    for (gateway, starts) in [
        (json!({ "bind": "lan" }), false),
        (json!({ "bind": "custom", "customBindHost": "0.0.0.0" }), false),
        (json!({ "bind": "lan", "tls": { "enabled": true } }), true),
        (json!({ "bind": "lan", "dangerouslyAllowPlaintext": true }), true),
    ] {
        let mut daemon = Gateway::prepared(&json!({ "gateway": gateway }));
        if starts {
            daemon.launch();
            continue;
        }
        let status = daemon.try_launch().unwrap_err();
        assert_eq!(status.code(), Some(78), "{gateway}");
        let log = daemon.log();
        assert!(log.contains("gateway.bind") && log.contains("tls"), "{log}");
    }
}

/// A certificate authority and the file of its certificate.
struct Authority {
    file: PathBuf,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let file = dir.join(format!("{name}.pem"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { file, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate of this authority for a client.
    fn client(&self, dir: &Path, name: &str) -> CertFiles {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let files = CertFiles { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        std::fs::write(&files.cert, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

async fn open(gateway: &Gateway, config: Arc<rustls::ClientConfig>) -> Result<Client, String> {
    let stream = TcpStream::connect(("127.0.0.1", gateway.port())).await.unwrap();
    let stream = TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), stream).await;
    Client::upgrade(stream.map_err(|error| error.to_string())?, &format!("localhost:{}", gateway.port()), &[]).await
}

#[tokio::test]
async fn only_tls_1_3_is_spoken() {
    let gateway = Gateway::with(&json!({ "gateway": { "tls": { "enabled": true } } }));
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(gateway.state_dir().join("gateway/tls/gateway-cert.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let of = |version| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        Arc::new(builder.with_root_certificates(roots.clone()).with_no_client_auth())
    };
    assert!(open(&gateway, of(&rustls::version::TLS13)).await.is_ok());
    let refused = open(&gateway, of(&rustls::version::TLS12)).await.err().unwrap();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
}

#[tokio::test]
async fn with_authorities_for_clients_only_who_has_a_certificate_of_them_gets_in_and_still_needs_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let gateway = Gateway::with(&json!({ "gateway": { "tls": { "enabled": true, "caPath": ours.file } } }));
    let pin = tls::fingerprint(&gateway.state_dir().join("gateway/tls/gateway-cert.pem")).unwrap();
    let with = |own: Option<CertFiles>| tls::client_config(None, Some(pin), own.as_ref()).unwrap();
    assert!(open(&gateway, with(None)).await.is_err(), "without a certificate");
    assert!(open(&gateway, with(Some(theirs.client(dir.path(), "stranger")))).await.is_err(), "of another authority");
    let mut client = open(&gateway, with(Some(ours.client(dir.path(), "friend")))).await.unwrap();
    let mut wrong = connect_params();
    wrong["auth"]["token"] = json!("wrong-but-long-enough");
    assert!(client.hello(wrong).await.is_err(), "a certificate is no credential");
    let mut client = open(&gateway, with(Some(ours.client(dir.path(), "friend")))).await.unwrap();
    client.hello(connect_params()).await.unwrap();
    let status = client.ok("status", json!({})).await;
    let expected = json!({"fingerprint": tls::show_fingerprint(&pin), "selfSigned": true, "clientCertificates": true});
    assert_eq!(status["tls"], expected);
}

#[tokio::test]
async fn a_given_certificate_that_is_replaced_on_disk_is_shown_to_the_next_connection_and_a_broken_one_never() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned()];
    let files = tls::own_certificate(&dir.path().join("given"), &names).unwrap();
    let renewed = tls::own_certificate(&dir.path().join("renewed"), &names).unwrap();
    let config = json!({ "tls": { "enabled": true, "certPath": files.cert, "keyPath": files.key }, "reload": { "debounceMs": 20 } });
    let gateway = Gateway::with(&json!({ "gateway": config }));
    let (old, new) = (tls::fingerprint(&files.cert).unwrap(), tls::fingerprint(&renewed.cert).unwrap());
    let pinned = |pin| tls::client_config(None, Some(pin), None).unwrap();
    let mut client = open(&gateway, pinned(old)).await.unwrap();
    client.hello(connect_params()).await.unwrap();
    assert_eq!(client.ok("status", json!({})).await["tls"]["selfSigned"], false);
    // Half of the pair: key and certificate do not fit.
    std::fs::copy(&renewed.cert, &files.cert).unwrap();
    until("it is noticed", || gateway.log().contains("does not fit")).await;
    assert!(open(&gateway, pinned(old)).await.is_ok(), "the last right one stays");
    std::fs::copy(&renewed.key, &files.key).unwrap();
    until("it is taken", || gateway.log().contains("another certificate")).await;
    assert!(open(&gateway, pinned(new)).await.is_ok());
    assert!(open(&gateway, pinned(old)).await.is_err());
    let status = client.ok("status", json!({})).await;
    assert_eq!(status["tls"]["fingerprint"], tls::show_fingerprint(&new), "the open connection goes on");
}
