//! Where credentials come from.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use serde::Deserialize;

use super::signature::encoded;
use super::{Identity, Keys, Lease, profile};
use crate::clock;
use crate::config::secret::Secret;

/// How long one of the machine's own services may take.
const LOCAL: Duration = Duration::from_secs(3);
/// How long the token service may take.
const REMOTE: Duration = Duration::from_secs(20);
/// Where an instance asks about itself.
const INSTANCE: &str = "http://169.254.169.254";
/// Where a container asks.
const CONTAINER: &str = "http://169.254.170.2";
/// Hosts besides the loopback to which a container's token may go in the clear.
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// Credentials as the container's and the instance's service give them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Identity {
    /// Asks the sources, one after the other.
    pub(super) async fn find(&self) -> Result<Lease, String> {
        let variable = |name: &str| self.settings.variable(name);
        if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            return Ok(lease(id, secret, variable("AWS_SESSION_TOKEN"), None));
        }
        if let (Some(file), Some(role)) = (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
            return self.web_identity(file, role, variable("AWS_ROLE_SESSION_NAME")).await;
        }
        if let Some(lease) = self.profile().await? {
            return Ok(lease);
        }
        if let Some(path) = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return self.container(&format!("{CONTAINER}{path}")).await;
        }
        if let Some(address) = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            return self.container(address).await;
        }
        let looked = "no AWS credentials: no keys in the environment, none in the profile, no container";
        if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(format!("{looked}, and asking the instance is disabled"));
        }
        self.instance().await.map_err(|why| format!("{looked}, and no role of the instance ({why})"))
    }

    async fn profile(&self) -> Result<Option<Lease>, String> {
        let values = profile::read(&self.settings).await;
        let value = |key: &str| values.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let name = profile::name(&self.settings);
        if let (Some(id), Some(secret)) = (value("aws_access_key_id"), value("aws_secret_access_key")) {
            return Ok(Some(lease(id, secret, value("aws_session_token"), None)));
        }
        if let (Some(file), Some(role)) = (value("web_identity_token_file"), value("role_arn")) {
            return self.web_identity(file, role, value("role_session_name")).await.map(Some);
        }
        for key in ["role_arn", "credential_process", "sso_session", "sso_start_url"] {
            if value(key).is_some() {
                return Err(format!(
                    "the AWS profile `{name}` uses `{key}`, which is not supported here; give it keys, or use variables or a role of the machine"
                ));
            }
        }
        // A profile that somebody named must exist.
        if self.settings.variable("AWS_PROFILE").is_some() && values.is_empty() {
            return Err(format!("the AWS profile `{name}` is in neither file"));
        }
        Ok(None)
    }

    async fn web_identity(&self, file: &str, role: &str, session: Option<&str>) -> Result<Lease, String> {
        let token =
            tokio::fs::read_to_string(file).await.map_err(|error| format!("the web identity token {file} cannot be read: {error}"))?;
        let own = self.settings.variable("AWS_ENDPOINT_URL_STS").map(str::to_owned);
        let address = match own {
            Some(address) => address,
            None => {
                let region = self.region("").await?;
                format!("https://sts.{region}.amazonaws.com{}", if region.starts_with("cn-") { ".cn" } else { "" })
            }
        };
        let fields = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", session.unwrap_or("skykoi-gateway")),
            ("WebIdentityToken", token.trim()),
        ];
        let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value, b""))).collect();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let text = self.fetch(Method::POST, &format!("{}/", address.trim_end_matches('/')), &headers, form.join("&"), REMOTE).await;
        let text = text.map_err(|why| format!("the role {role} was not given for the web identity: {why}"))?;
        let part = |name: &str| text.split_once(&format!("<{name}>"))?.1.split('<').next();
        match (part("AccessKeyId"), part("SecretAccessKey"), part("SessionToken")) {
            (Some(id), Some(secret), token) => Ok(lease(id, secret, token, part("Expiration").and_then(clock::from_iso))),
            _ => Err("the token service gave no credentials".to_owned()),
        }
    }

    async fn container(&self, address: &str) -> Result<Lease, String> {
        let host = address.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
        let name = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() }.unwrap_or_default();
        let near = ["localhost", "[::1]"].contains(&name) || name.starts_with("127.") || CONTAINER_HOSTS.contains(&name);
        if !address.starts_with("https://") && !near {
            return Err(format!("AWS_CONTAINER_CREDENTIALS_FULL_URI names {name}, to which no token is sent in the clear"));
        }
        let token = match self.settings.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(file) => {
                let text = tokio::fs::read_to_string(file).await;
                Some(text.map_err(|error| format!("the container's token {file} cannot be read: {error}"))?.trim().to_owned())
            }
            None => self.settings.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned),
        };
        let headers: Vec<(&str, &str)> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        let text = self.fetch(Method::GET, address, &headers, String::new(), LOCAL).await;
        given(&text.map_err(|why| format!("the container's endpoint gave no credentials: {why}"))?)
    }

    async fn instance(&self) -> Result<Lease, String> {
        let roles = "/latest/meta-data/iam/security-credentials/";
        let role = self.instance_text(roles).await?;
        let role = role.lines().next().unwrap_or_default();
        if role.is_empty() {
            return Err("it has none".to_owned());
        }
        given(&self.instance_text(&format!("{roles}{role}")).await?)
    }

    /// What the instance's metadata (version 2) say.
    pub(super) async fn instance_text(&self, path: &str) -> Result<String, String> {
        if self.settings.variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err("disabled".to_owned());
        }
        let base = self.settings.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(INSTANCE).trim_end_matches('/');
        let life = [("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
        let token = self.fetch(Method::PUT, &format!("{base}/latest/api/token"), &life, String::new(), LOCAL).await?;
        let headers = [("x-aws-ec2-metadata-token", token.as_str())];
        self.fetch(Method::GET, &format!("{base}{path}"), &headers, String::new(), LOCAL).await
    }

    /// The text at an address. No error holds what was sent.
    async fn fetch(&self, method: Method, url: &str, headers: &[(&str, &str)], body: String, within: Duration) -> Result<String, String> {
        let mut request = hyper::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| format!("{url}: {error}"))?;
        let reply = self.http.send(request, within).await.map_err(|error| format!("{url}: {error}"))?;
        let status = reply.head.status;
        let text = reply.text().await;
        if status.is_success() { Ok(text) } else { Err(format!("{url}: HTTP {}", status.as_u16())) }
    }
}

fn given(text: &str) -> Result<Lease, String> {
    // An error of serde would quote the text.
    let given: Given = serde_json::from_str(text).map_err(|_| "what it gave are no credentials".to_owned())?;
    let end = given.expiration.as_deref().and_then(clock::from_iso);
    Ok(lease(&given.access_key_id, &given.secret_access_key, given.token.as_deref(), end))
}

fn lease(id: &str, secret: &str, token: Option<&str>, end: Option<u64>) -> Lease {
    let hidden = |text: &str| Secret::new(text.to_owned());
    let token = token.filter(|token| !token.is_empty()).map(hidden);
    Lease { keys: Arc::new(Keys { id: id.to_owned(), secret: hidden(secret), token }), end }
}
