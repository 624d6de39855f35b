//! TLS that ends in the gateway itself, and the binds that need it.

use rustls::pki_types::ServerName;
use serde_json::json;
use skykoi_gateway::transport::tls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::client::connect_params;
use crate::harness::{Client, Gateway};
use crate::sockets::{Raw, get};

#[tokio::test]
async fn with_its_own_certificate_a_run_goes_over_wss_and_plain_text_gets_nowhere() {
    let mut gateway = Gateway::with(&json!({ "gateway": { "tls": { "enabled": true } } }));
    let cert = gateway.state_dir().join("gateway/tls/gateway-cert.pem");
    let pin = tls::fingerprint(&cert).unwrap();
    for _ in 0..2 {
        for (ca, pin) in [(Some(cert.as_path()), None), (None, Some(pin))] {
            let connector = TlsConnector::from(tls::client_config(ca, pin).unwrap());
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
    let connector = TlsConnector::from(tls::client_config(None, Some([7; 32])).unwrap());
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
