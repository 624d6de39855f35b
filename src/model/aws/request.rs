//! A request on its way to Amazon: where it goes, and how it says who we are.

use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};

use super::signature::{Signing, stamp};
use super::{Identity, Login};
use crate::clock;
use crate::config::secret::Secret;
use crate::model::login::secret;

/// Why a request cannot say who we are; a line for people.
#[derive(Debug, thiserror::Error)]
pub(in crate::model) enum Unidentified {
    /// There are no credentials; where was looked.
    #[error("{0}")]
    NoLogin(String),
    /// There is no region.
    #[error("{0}")]
    NoRegion(String),
    /// What would have to be sent fits into no header.
    #[error("its AWS key holds a character that no header may hold")]
    Unsendable,
}

/// What was used to say it: none of this may come back to others.
pub(in crate::model) type Used = Vec<Secret<String>>;

impl Identity {
    /// Amazon's own address of its models, in the region of who we are.
    ///
    /// # Errors
    /// Nothing says the region.
    pub(in crate::model) async fn home(&self) -> Result<String, String> {
        let region = self.region("").await?;
        Ok(format!("https://bedrock-runtime.{region}.amazonaws.com{}", if region.starts_with("cn-") { ".cn" } else { "" }))
    }

    /// Says who we are: by a bearer key, or by a signature over what is sent. `base_url` is the configured address, which may name the region.
    ///
    /// # Errors
    /// [`Unidentified`].
    pub(in crate::model) async fn identify<B>(&self, request: &mut Request<B>, body: &[u8], base_url: &str) -> Result<Used, Unidentified> {
        let login = self.login().await.map_err(Unidentified::NoLogin)?;
        let of = |text: &str| HeaderValue::from_str(text).map_err(|_| Unidentified::Unsendable);
        let keys = match login {
            Login::Bearer(key) => {
                request.headers_mut().insert(AUTHORIZATION, secret(of(&format!("Bearer {}", key.expose()))?));
                return Ok(vec![key]);
            }
            Login::Keys(keys) => keys,
        };
        let region = self.region(base_url).await.map_err(Unidentified::NoRegion)?;
        let stamp = stamp(clock::now_ms());
        let host = request.uri().authority().map_or_else(String::new, ToString::to_string);
        let (method, path) = (request.method().as_str().to_owned(), request.uri().path().to_owned());
        let headers = request.headers_mut();
        headers.insert(HOST, of(&host)?);
        headers.insert("x-amz-date", of(&stamp)?);
        headers.remove("x-amz-security-token");
        if let Some(token) = &keys.token {
            headers.insert("x-amz-security-token", secret(of(token.expose())?));
        }
        // Amazon wants its own headers signed, whoever has set them.
        let is_signed = |name: &str| name == HOST || name == CONTENT_TYPE || name.starts_with("x-amz");
        let mut signed = Vec::new();
        for (name, value) in headers.iter().filter(|(name, _)| is_signed(name.as_str())) {
            signed.push((name.as_str(), value.to_str().map_err(|_| Unidentified::Unsendable)?));
        }
        let signing = Signing { keys: &keys, region: &region, service: "bedrock", stamp: &stamp };
        let authorization = secret(of(&signing.sign(&method, &path, &signed, body))?);
        headers.insert(AUTHORIZATION, authorization);
        Ok([Some(keys.secret.clone()), keys.token.clone()].into_iter().flatten().collect())
    }
}
