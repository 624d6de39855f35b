//! What the listeners present to clients: kept here, so that methods can show it without knowing of sockets.

use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;

/// TLS as clients meet it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsStatus {
    /// SHA-256 of the certificate as people compare it, `AB:CD:…`; what `--fingerprint` takes.
    pub fingerprint: String,
    /// Whether the gateway made the certificate itself, so that clients must know its fingerprint.
    pub self_signed: bool,
    /// Whether clients must show a certificate of their own.
    pub client_certificates: bool,
}

/// The certificate in use; none while the listeners speak plainly.
#[derive(Debug, Default)]
pub struct Presented(Mutex<Option<TlsStatus>>);

impl Presented {
    /// Notes what is presented from now on.
    pub fn set(&self, now: Option<TlsStatus>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// What is presented.
    #[must_use]
    pub fn get(&self) -> Option<TlsStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
