//! One endpoint: asks it, and asks again before the first word where that may help.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::Sink;
use super::aws::Identity;
use super::aws::request::Unidentified;
use super::endpoint::{Auth, Endpoint};
use super::failure::{Failure, Said, broken, failure, faulty, refused};
use super::http::{Http, Outgoing, Reply};
use super::login::log_in;
use super::notice::{Notice, Told};
use super::wire::{Fault, Wire, wire};
use super::{ErrorKind, Event, Request};
use crate::clock;

/// One endpoint, its connections and its credentials.
pub(super) struct Door {
    pub(super) endpoint: Endpoint,
    http: Http,
    /// Who we are at Amazon, if that is where it is.
    identity: Option<Identity>,
}

/// A request, written once for all tries.
struct Written {
    url: String,
    body: Bytes,
}

impl Door {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let http = Http::new(Duration::from_millis(endpoint.timeouts.connect_ms));
        let identity = if let Auth::Aws(aws) = &endpoint.auth { Some(Identity::new(aws.clone())) } else { None };
        Self { endpoint, http, identity }
    }

    /// Asks, within the time that the endpoint has for an answer. All events go to `sink`; an error does not, because another endpoint may be asked.
    pub(super) async fn ask(&self, request: &Request, sink: &Sink, told: &Told) -> Result<(), Failure> {
        let api = self.endpoint.api;
        let wire = wire(api).ok_or_else(|| self.unusable(&format!("the api {} is not spoken here", api.name())))?;
        let written = self.write(wire, request).await?;
        let deadline = Instant::now() + Duration::from_millis(self.endpoint.timeouts.total_ms);
        let mut begun = false;
        match timeout_at(deadline, self.ask_again(wire, &written, deadline, sink, told, &mut begun)).await {
            Ok(asked) => asked,
            Err(_) => {
                let what = format!("no whole answer within {} s", self.endpoint.timeouts.total_ms / 1000);
                let late = failure(&self.endpoint, ErrorKind::Transport, &what, (false, true), None);
                Err(Failure { begun, ..late })
            }
        }
    }

    async fn ask_again(
        &self,
        wire: &dyn Wire,
        written: &Written,
        deadline: Instant,
        sink: &Sink,
        told: &Told,
        begun: &mut bool,
    ) -> Result<(), Failure> {
        let retry = self.endpoint.retry;
        let mut pause = retry.base_ms;
        for attempt in 1.. {
            let Err(mut failed) = self.ask_once(wire, written, sink, begun).await else { return Ok(()) };
            failed.begun = *begun;
            let wanted = failed.error.retry_after_ms;
            let wait = wanted.unwrap_or_else(|| about(pause)).min(retry.max_ms.max(wanted.unwrap_or(0)));
            let too_long = wait > retry.max_ms || Instant::now() + Duration::from_millis(wait) >= deadline;
            if *begun || !failed.again || attempt >= retry.attempts || too_long {
                return Err(failed);
            }
            told.tell(Notice::Again { error: failed.error, attempt, wait_ms: wait });
            sleep(Duration::from_millis(wait)).await;
            pause = pause.saturating_mul(2);
        }
        Ok(())
    }

    async fn ask_once(&self, wire: &dyn Wire, written: &Written, sink: &Sink, begun: &mut bool) -> Result<(), Failure> {
        let request = self.address(wire, written).await?;
        let silence = Duration::from_millis(self.endpoint.timeouts.silence_ms);
        let reply = self.http.send(request, silence).await.map_err(|error| broken(&self.endpoint, &error))?;
        if reply.head.status.is_success() { self.read(wire, reply, sink, begun).await } else { Err(self.refusal(reply).await) }
    }

    async fn refusal(&self, reply: Reply) -> Failure {
        let status = reply.head.status.as_u16();
        let wait = retry_after(&reply);
        let header = reply.header("x-amzn-errortype").map(str::to_owned);
        let said = Said::of_body(header.as_deref(), &reply.text().await);
        let failure = refused(&self.endpoint, Some(status), &said, wait);
        if let Some(identity) = self.identity.as_ref().filter(|_| failure.error.kind == ErrorKind::Auth) {
            identity.forget().await;
        }
        failure
    }

    async fn read(&self, wire: &dyn Wire, mut reply: Reply, sink: &Sink, begun: &mut bool) -> Result<(), Failure> {
        let media = reply.header("content-type").unwrap_or_default().to_owned();
        // Who does not say what it is may yet speak; the reader sees.
        if !media.is_empty() && !media.starts_with(wire.media_type()) {
            let text = reply.text().await;
            let said = Said::of_body(None, &text);
            if text.contains("\"error\"") {
                return Err(refused(&self.endpoint, None, &said, None));
            }
            let what = format!("the answer is `{media}` instead of `{}`", wire.media_type());
            return Err(failure(&self.endpoint, ErrorKind::BadRequest, &what, (false, true), None));
        }
        let (mut reader, mut events) = (wire.reader(), Vec::new());
        loop {
            let chunk = reply.chunk().await;
            let read = match &chunk {
                Ok(Some(bytes)) => reader.feed(bytes, &mut events),
                Ok(None) => reader.end(&mut events),
                Err(_) => Ok(()),
            };
            let last = events.pop_if(|event| matches!(event, Event::Stop(_)));
            for event in events.drain(..) {
                *begun |= !matches!(event, Event::Usage(_));
                sink.send(Ok(event)).await;
            }
            if let Some(stop) = last {
                // The rest is read before the last word is out, since nobody reads on behind it.
                reply.drain().await;
                sink.send(Ok(stop)).await;
                return Ok(());
            }
            read.map_err(|fault| faulty(&self.endpoint, &fault))?;
            // The reader has said that it is whole, or that it is not.
            if chunk.map_err(|error| broken(&self.endpoint, &error))?.is_none() {
                return Err(faulty(&self.endpoint, &Fault::Cut));
            }
        }
    }

    async fn write(&self, wire: &dyn Wire, request: &Request) -> Result<Written, Failure> {
        let base = match (&self.endpoint.base_url, self.endpoint.api.home()) {
            (own, _) if !own.is_empty() => own.clone(),
            (_, Some(home)) => home.to_owned(),
            (_, None) => {
                let Some(identity) = &self.identity else {
                    return Err(self.unusable("it has no address: set its baseUrl, which names the region"));
                };
                identity.home().await.map_err(|why| self.unusable(&why))?
            }
        };
        let body = wire.body(&self.endpoint, request).map_err(|error| self.unusable(&format!("the request cannot be written: {error}")))?;
        Ok(Written { url: wire.url(&self.endpoint, &base), body: body.into() })
    }

    /// The request as it is sent this time.
    async fn address(&self, wire: &dyn Wire, written: &Written) -> Result<Outgoing, Failure> {
        let mut request = hyper::Request::post(&written.url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("skykoi-gateway/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(written.body.clone()))
            .map_err(|error| self.unusable(&format!("its address is not one: {error}")))?;
        if !matches!(request.uri().scheme_str(), Some("http" | "https")) {
            return Err(self.unusable("its address does not begin with https:// or http://"));
        }
        let headers = request.headers_mut();
        for (name, value) in wire.headers() {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        log_in(&self.endpoint, headers).map_err(|what| self.unsendable(&what))?;
        if let Some(identity) = &self.identity {
            let identified = identity.identify(&mut request, &written.body, &self.endpoint.base_url).await;
            identified.map_err(|why| self.unidentified(&why))?;
        }
        Ok(request)
    }

    fn unusable(&self, what: &str) -> Failure {
        failure(&self.endpoint, ErrorKind::BadRequest, what, (false, true), None)
    }

    fn unidentified(&self, why: &Unidentified) -> Failure {
        let kind = if matches!(why, Unidentified::NoRegion(_)) { ErrorKind::BadRequest } else { ErrorKind::Auth };
        failure(&self.endpoint, kind, &why.to_string(), (false, true), None)
    }

    fn unsendable(&self, what: &str) -> Failure {
        failure(&self.endpoint, ErrorKind::Auth, &format!("{what} holds a character that no header may hold"), (false, true), None)
    }
}

/// A pause of about this length: up to a quarter more or less, so that those who were refused together do not come back together.
fn about(ms: u64) -> u64 {
    let random = u64::from(uuid::Uuid::new_v4().as_fields().0 % 1000);
    ms - ms / 4 + ms / 2 * random / 1000
}

/// When the server wants to be asked again, ms: `retry-after-ms`, or `retry-after` as seconds or as a date.
fn retry_after(reply: &Reply) -> Option<u64> {
    let number = |name: &str| reply.header(name)?.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and a cast of too much gives the most")]
    if let Some(ms) = number("retry-after-ms").or_else(|| number("retry-after").map(|seconds| seconds * 1000.0)) {
        return Some(ms as u64);
    }
    let date = jiff::fmt::rfc2822::parse(reply.header("retry-after")?).ok()?;
    let ms = u64::try_from(date.timestamp().as_millisecond()).ok()?;
    Some(ms.saturating_sub(clock::now_ms()))
}

/// Shared by the streams of one model.
pub(super) type Doors = Arc<[Door]>;
