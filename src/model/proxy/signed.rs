//! Requests that say who we are at Amazon on their way: they are read whole before they are sent, since a signature covers all of them, and are sent once more when the credentials with which they were signed have ended.
//!
//! What Amazon says of a wrong signature repeats what was to be signed, with the session's token. Such an answer reaches the program in other words.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::{Answer, Refusal, Sent, lost, passed, rules, too_long, whole};
use crate::model::ErrorKind;
use crate::model::aws::Identity;
use crate::model::aws::request::{Unidentified, Used};
use crate::model::endpoint::{Aws, Endpoint};
use crate::model::failure::{REPEATED, Said, refused};
use crate::model::http::{Http, Reply};

/// Longest request in bytes; Amazon takes no more than 25 MB.
const MAX_REQUEST: u64 = 32 << 20;
/// Most bytes of requests that are held at a time, in pieces of [`PIECE`]; others wait.
const MAX_HELD: usize = 4 * 32 * 1024;
/// Bytes of a piece.
const PIECE: u64 = 1024;

/// What signs.
pub(super) struct Signer {
    identity: Identity,
    room: Semaphore,
}

impl Signer {
    /// Finds out who we are, so that a run that could ask nothing does not begin. Gives the address of the models, if no other one is configured, and the region.
    ///
    /// # Errors
    /// What is missing, for people.
    pub(super) async fn start(settings: &Aws, base_url: &str) -> Result<(Self, String, String), String> {
        let identity = Identity::new(settings.clone());
        identity.login().await?;
        let region = identity.region(base_url).await?;
        let base = if base_url.is_empty() { identity.home().await? } else { base_url.to_owned() };
        Ok((Self { identity, room: Semaphore::new(MAX_HELD) }, base, region))
    }

    /// Sends a request on as ours. Its headers are those that pass, its address is the one that it goes to.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        http: &Http<Sent>,
        head: Parts,
        body: Incoming,
    ) -> Result<Response<Answer>, Refusal> {
        let silence = Duration::from_millis(endpoint.timeouts.silence_ms);
        let (body, _room) = self.collect(body, silence).await?;
        let mut is_again = false;
        loop {
            let mut request = Request::new(Either::Right(Full::new(body.clone())));
            (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) =
                (head.method.clone(), head.uri.clone(), head.headers.clone());
            let used = self.identity.identify(&mut request, &body, &endpoint.base_url).await.map_err(|why| nobody(endpoint, &why))?;
            let reply = http.send(request, silence).await.map_err(|broken| lost(endpoint, &broken))?;
            if reply.head.status.is_success() {
                return Ok(passed(reply, silence));
            }
            let (told, ended) = self.told(endpoint, reply, &used).await;
            if !ended || is_again {
                return Ok(told);
            }
            is_again = true;
        }
    }

    /// The whole body. The room that it takes is given back with what comes beside it.
    async fn collect(&self, body: Incoming, within: Duration) -> Result<(Bytes, SemaphorePermit<'_>), Refusal> {
        let size = body.size_hint();
        if size.lower() > MAX_REQUEST {
            return Err(too_long(MAX_REQUEST));
        }
        let pieces = size.upper().unwrap_or(MAX_REQUEST).min(MAX_REQUEST).div_ceil(PIECE);
        let room = self.room.acquire_many(u32::try_from(pieces).unwrap_or(u32::MAX)).await;
        let room = room.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "api_error", "the run ends".to_owned()))?;
        let limited = Limited::new(body, usize::try_from(MAX_REQUEST).unwrap_or(usize::MAX));
        match timeout(within, limited.collect()).await {
            Ok(Ok(whole)) => Ok((whole.to_bytes(), room)),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long(MAX_REQUEST)),
            Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "invalid_request_error", "the request broke off before its end".to_owned())),
            Err(_) => {
                let text = format!("the request did not come to its end within {} s", within.as_secs());
                Err((StatusCode::REQUEST_TIMEOUT, "invalid_request_error", text))
            }
        }
    }

    /// An error of Amazon's as the program is told it, and whether it says that the credentials have ended.
    async fn told(&self, endpoint: &Endpoint, reply: Reply, used: &Used) -> (Response<Answer>, bool) {
        let (status, mut headers) = (reply.head.status, reply.head.headers.clone());
        let code = reply.header("x-amzn-errortype").map(str::to_owned);
        let text = reply.text().await;
        let said = Said::of_body(code.as_deref(), &text);
        let failure = refused(endpoint, Some(status.as_u16()), &said, None);
        // What is not permitted would not be with other credentials of the same source.
        let is_denied = said.codes.iter().any(|code| code.to_ascii_lowercase().contains("accessdenied"));
        let is_ours = failure.error.kind == ErrorKind::Auth;
        if is_ours && !is_denied {
            self.identity.forget().await;
        }
        rules::strip_answer(&mut headers);
        headers.remove(CONTENT_LENGTH);
        let leaks = text.contains(REPEATED) || used.iter().any(|secret| text.contains(secret.expose()));
        let text = if leaks { serde_json::json!({ "message": failure.error.message }).to_string() } else { text };
        let mut told = Response::new(whole(text));
        (*told.status_mut(), *told.headers_mut()) = (status, headers);
        (told, is_ours && failure.again)
    }
}

/// Nothing was sent, because it could not be said who we are.
fn nobody(endpoint: &Endpoint, why: &Unidentified) -> Refusal {
    (StatusCode::FORBIDDEN, "permission_error", format!("{} cannot be asked: {why}", endpoint.provider))
}
