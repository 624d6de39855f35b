//! Who we are at Amazon, and how a request says so.
//!
//! Credentials are looked for where the AWS tools look, in this order: a bearer key of Bedrock, the variables with keys, web identity, the profile's files, the container's endpoint, the instance's role. What expires is fetched anew five minutes before. Programs that give credentials (`credential_process`) are not started and SSO is not spoken; a profile that needs them is told so.

mod profile;
pub(super) mod request;
pub(super) mod signature;
mod sources;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::endpoint::Aws;
use super::http::Http;
use crate::clock;
use crate::config::secret::Secret;

/// Credentials are fetched anew this long before their end, ms.
const BEFORE_END: u64 = 300_000;
/// The machine's own services answer at once or not at all.
const CONNECT: Duration = Duration::from_secs(2);

/// What signs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret<String>,
    pub(super) token: Option<Secret<String>>,
}

/// Keys and the end of their time.
#[derive(Clone, Debug)]
struct Lease {
    keys: Arc<Keys>,
    /// ms since the epoch; absent = never.
    end: Option<u64>,
}

/// How a request is to say who we are.
#[derive(Clone, Debug)]
pub(super) enum Login {
    /// By this key, as it is.
    Bearer(Secret<String>),
    /// By a signature.
    Keys(Arc<Keys>),
}

/// One identity at Amazon.
pub(super) struct Identity {
    settings: Aws,
    http: Http,
    lease: Mutex<Option<Lease>>,
    region: Mutex<Option<String>>,
}

impl Identity {
    /// Nothing is looked at before it is asked.
    pub(super) fn new(settings: Aws) -> Self {
        Self { settings, http: Http::new(CONNECT), lease: Mutex::new(None), region: Mutex::new(None) }
    }

    /// Credentials that hold for some minutes more.
    ///
    /// # Errors
    /// There are none; a line that says where was looked.
    pub(super) async fn login(&self) -> Result<Login, String> {
        if let Some(key) = self.settings.variables.get("AWS_BEARER_TOKEN_BEDROCK") {
            return Ok(Login::Bearer(key.clone()));
        }
        let mut kept = self.lease.lock().await;
        let now = clock::now_ms();
        if let Some(lease) = &*kept
            && lease.end.is_none_or(|end| now + BEFORE_END < end)
        {
            return Ok(Login::Keys(lease.keys.clone()));
        }
        match self.find().await {
            Ok(lease) => {
                let keys = lease.keys.clone();
                *kept = Some(lease);
                Ok(Login::Keys(keys))
            }
            // The old ones hold for some minutes yet, and the source may be back by then.
            Err(why) => match &*kept {
                Some(lease) if lease.end.is_none_or(|end| now < end) => Ok(Login::Keys(lease.keys.clone())),
                _ => Err(why),
            },
        }
    }

    /// Forgets the credentials, because Amazon says that they are no longer good.
    pub(super) async fn forget(&self) {
        *self.lease.lock().await = None;
    }

    /// The region: as configured, of the variables, of the address, of the profile, of the instance.
    ///
    /// # Errors
    /// Nothing says it.
    pub(super) async fn region(&self, base_url: &str) -> Result<String, String> {
        let variable = |name: &str| self.settings.variable(name);
        let said = self
            .settings
            .region
            .as_deref()
            .or(region_of(base_url))
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"));
        if let Some(region) = said.filter(|region| !region.is_empty()) {
            return Ok(region.to_owned());
        }
        let mut kept = self.region.lock().await;
        if kept.is_none() {
            *kept = profile::read(&self.settings).await.get("region").cloned();
        }
        if kept.is_none() {
            *kept = self.instance_text("/latest/meta-data/placement/region").await.ok();
        }
        kept.clone().filter(|region| !region.is_empty()).ok_or_else(|| {
            "no AWS region: set AWS_REGION, `region` of the profile, models.bedrockDiscovery.region, or the provider's baseUrl".to_owned()
        })
    }
}

/// The region that an address of Amazon's names.
pub(super) fn region_of(base_url: &str) -> Option<&str> {
    base_url.split("bedrock-runtime").nth(1).and_then(|rest| rest.split('.').nth(1))
}
