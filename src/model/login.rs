//! Puts into the headers of a request who we are at a provider, unless that takes a signature.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::endpoint::{Auth, Endpoint};

/// Adds the key of an endpoint and its configured headers, which win over others of the same name.
///
/// # Errors
/// What of it holds a character that no header may hold; never its value.
pub(super) fn log_in(endpoint: &Endpoint, headers: &mut HeaderMap) -> Result<(), String> {
    let login = match &endpoint.auth {
        Auth::None | Auth::Aws(_) => None,
        Auth::Key { key } => {
            let (name, scheme) = endpoint.api.key_header();
            Some((name, scheme, key))
        }
        Auth::Bearer { key } => Some(("authorization", "Bearer ", key)),
    };
    if let Some((name, scheme, key)) = login {
        let value = HeaderValue::from_str(&format!("{scheme}{}", key.expose())).map_err(|_| "its key".to_owned())?;
        headers.insert(name, secret(value));
    }
    for (name, value) in &endpoint.headers {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("the name of its header `{name}`"))?;
        let value = HeaderValue::from_str(value.expose()).map_err(|_| format!("its header `{name}`"))?;
        headers.insert(header, secret(value));
    }
    Ok(())
}

/// A value that no log shows.
pub(super) fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}
