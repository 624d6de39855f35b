//! How TLS is spoken with the web: with the certificates that the system trusts, read once, by the first who needs them.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

/// The settings.
///
/// # Errors
/// Why there are none.
pub(super) fn trusted() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG.get_or_init(read).clone()
}

fn read() -> Result<Arc<ClientConfig>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found
            .errors
            .first()
            .map_or_else(|| "the system trusts no certificates; install the package `ca-certificates`".to_owned(), ToString::to_string);
        return Err(why);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
