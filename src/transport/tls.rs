//! TLS: our own self-signed certificate or a given one for the listener, and the rules by which our own command line trusts a server.
//!
//! The crypto provider is always named, because the library panics when two are compiled in and none is chosen. Only TLS 1.3 is served. A certificate we made is kept and used again, so that its fingerprint, once noted by a person, stays.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use zeroize::Zeroizing;

/// Where Debian and Ubuntu keep the system's trusted certificates.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        reason: String,
    },
    /// The library refused the settings.
    #[error("tls: {0}")]
    Setup(#[from] rustls::Error),
    /// Our own certificate could not be made.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> TlsError + '_ {
    move |source| TlsError::Io { path: path.to_owned(), source }
}

fn content_error(path: &Path, reason: impl std::fmt::Display) -> TlsError {
    TlsError::Content { path: path.to_owned(), reason: reason.to_string() }
}

fn ring_provider() -> Arc<CryptoProvider> {
    Arc::new(provider::default_provider())
}

/// The certificate and key files of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    /// The certificate chain, PEM, the server's own first.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// The own certificate in `dir`, made when either file is missing. `names` are host names or addresses that it is for, besides the loopback ones.
///
/// # Errors
/// A file that cannot be written, or a name that no certificate can carry.
pub fn own_certificate(dir: &Path, names: &[String]) -> Result<CertFiles, TlsError> {
    let files = CertFiles { cert: dir.join("gateway-cert.pem"), key: dir.join("gateway-key.pem") };
    if files.cert.exists() && files.key.exists() {
        return Ok(files);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error(dir))?;
    let mut subjects: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    for name in names {
        if !subjects.contains(name) {
            subjects.push(name.clone());
        }
    }
    let mut params = rcgen::CertificateParams::new(subjects)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "SkyKoi Gateway");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let year = crate::clock::month(crate::clock::now_ms()).split('-').next().and_then(|year| year.parse().ok()).unwrap_or(2026);
    // A year back, so that a client with a slow clock accepts it; ten ahead, since nobody renews it.
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 10, 1, 1);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let cert = params.self_signed(&key)?;
    write_private(&files.key, &key.serialize_pem())?;
    write_private(&files.cert, &cert.pem())?;
    Ok(files)
}

/// Writes a file that only we may read, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), TlsError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // A rest of an earlier, interrupted try.
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io_error(&temporary))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error(&temporary))?;
    fs::rename(&temporary, path).map_err(io_error(path))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = fs::read(path).map_err(io_error(path))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| content_error(path, error))?;
    if chain.is_empty() {
        return Err(content_error(path, "no certificate in it"));
    }
    Ok(chain)
}

/// The listener's TLS settings. `clients`: the file of the authorities of which every client must show a certificate; none = clients need none.
///
/// # Errors
/// Names the file that cannot be used.
pub fn server_config(files: &CertFiles, clients: Option<&Path>) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = read_chain(&files.cert)?;
    let key = read_key(&files.key)?;
    let builder = ServerConfig::builder_with_provider(ring_provider()).with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let roots = Arc::new(roots(Some(authorities))?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, ring_provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| content_error(authorities, error))?)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| content_error(&files.key, format!("does not fit {}: {error}", files.cert.display())))?;
    // WebSocket upgrades exist only in HTTP/1.1 as we speak it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = Zeroizing::new(fs::read(path).map_err(io_error(path))?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| content_error(path, "no private key in it"))
}

/// The SHA-256 of the server's own certificate, to compare with what a client sees.
///
/// # Errors
/// Names the file that cannot be read.
pub fn fingerprint(cert: &Path) -> Result<[u8; 32], TlsError> {
    let chain = read_chain(cert)?;
    Ok(chain.first().map(digest_of).unwrap_or_default())
}

fn digest_of(cert: &CertificateDer<'_>) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().zip(digest(&SHA256, cert).as_ref()) {
        *place = *byte;
    }
    bytes
}

/// A fingerprint as people compare it: `AB:CD:…`.
#[must_use]
pub fn show_fingerprint(fingerprint: &[u8; 32]) -> String {
    let mut text = String::with_capacity(95);
    for (n, byte) in fingerprint.iter().enumerate() {
        let colon = if n == 0 { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}

/// Reads a fingerprint of 64 hex digits, with or without colons. `None` when it is none.
#[must_use]
pub fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

/// Whom our command line trusts: exactly the certificate of `fingerprint` when given, else what `ca_file` holds, else the system's authorities. `own` is what it shows of itself to a server that asks.
///
/// # Errors
/// Names the file that cannot be used.
pub fn client_config(
    ca_file: Option<&Path>,
    fingerprint: Option<[u8; 32]>,
    own: Option<&CertFiles>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(ring_provider()).with_safe_default_protocol_versions()?;
    let builder = match fingerprint {
        Some(fingerprint) => {
            let pinned = Pinned { fingerprint, provider: ring_provider() };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned))
        }
        None => builder.with_root_certificates(roots(ca_file)?),
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(files) => builder.with_client_auth_cert(read_chain(&files.cert)?, read_key(&files.key)?)?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let system = Path::new(SYSTEM_BUNDLE);
    match ca_file {
        Some(path) => {
            for cert in read_chain(path)? {
                roots.add(cert).map_err(|error| content_error(path, error))?;
            }
        }
        // The system's bundle may hold certificates that the library does not read; the rest is still good.
        None if system.exists() => drop(roots.add_parsable_certificates(read_chain(system)?)),
        None => {}
    }
    Ok(roots)
}

/// Accepts one certificate, whatever name and date it carries. The handshake's signature is still checked, so the peer must hold its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if digest_of(end_entity) == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_own_certificate_is_made_once_private_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("tls");
        let files = own_certificate(&dir, &["vm.example.com".to_owned()]).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&files.key), mode(&dir)), (0o600, 0o700));
        let first = fingerprint(&files.cert).unwrap();
        own_certificate(&dir, &[]).unwrap();
        assert_eq!(fingerprint(&files.cert).unwrap(), first);
        server_config(&files, None).unwrap();
    }

    #[test]
    fn errors_name_the_file_and_never_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let files = own_certificate(dir.path(), &[]).unwrap();
        let other = own_certificate(&dir.path().join("other"), &[]).unwrap();
        let error = |cert: &Path, key: &Path| {
            server_config(&CertFiles { cert: cert.to_owned(), key: key.to_owned() }, None).unwrap_err().to_string()
        };
        let absent = dir.path().join("absent.pem");
        assert!(error(&absent, &files.key).contains("absent.pem"));
        assert!(error(&files.cert, &files.cert).contains("gateway-cert.pem: no private key"));
        assert!(error(&files.key, &files.key).contains("gateway-key.pem: no certificate"));
        assert!(error(&files.cert, &other.key).contains("does not fit"));
    }

    #[test]
    fn fingerprints_are_read_as_they_are_shown() {
        let fingerprint = std::array::from_fn(|n| u8::try_from(n * 7 % 256).unwrap());
        let shown = show_fingerprint(&fingerprint);
        assert_eq!(parse_fingerprint(&shown), Some(fingerprint));
        assert_eq!(parse_fingerprint(&shown.replace(':', "").to_lowercase()), Some(fingerprint));
        for bad in ["", "AB", &shown[1..], &format!("{shown}:00"), &shown.replace('0', "g")] {
            assert_eq!(parse_fingerprint(bad), None, "{bad}");
        }
    }
}
