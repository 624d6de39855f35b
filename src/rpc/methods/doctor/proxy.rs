//! `doctor.proxy`: whether requests through the public address arrive as they should.

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::probe::{HEADER, LIFE, Seen};
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// Find out what the gateway sees of a request through its public address. Without a word it gives a new one, to be sent in a header of an HTTP request to any path; with the word it says what was seen of that request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyParams {
    /// The word of an earlier call.
    #[serde(default)]
    #[schemars(length(min = 1, max = 64))]
    pub word: Option<String>,
}

/// The word, and what was seen with it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyReply {
    /// The word.
    pub word: String,
    /// The header that is to carry it.
    pub header: &'static str,
    /// How long a new word is good, ms.
    pub expires_in_ms: u64,
    /// What was seen of the first request that carried it; absent when there was none, or the word is not good any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// `doctor.proxy`.
pub struct Proxy;

impl Method for Proxy {
    const NAME: &'static str = "doctor.proxy";
    const SCOPE: Scope = Scope::Admin;
    type Params = ProxyParams;
    type Output = ProxyReply;

    async fn call(cx: Call, params: ProxyParams) -> Result<ProxyReply, RpcError> {
        let (probe, now) = (&cx.gateway.probe, Instant::now());
        let seen = params.word.as_deref().and_then(|word| probe.seen(word, now));
        let word = params.word.unwrap_or_else(|| probe.open(now));
        let expires_in_ms = u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX);
        Ok(ProxyReply { word, header: HEADER, expires_in_ms, seen })
    }
}
