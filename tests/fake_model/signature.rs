//! Checks AWS signatures by making them anew with Amazon's own crate.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use super::Seen;

/// What is wrong with the signature of a request; empty if nothing is; none if it has none.
pub fn judge(seen: &Seen, keys: &[(String, String)]) -> Option<String> {
    let authorization = seen.header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    Some(check(seen, authorization, keys).err().unwrap_or_default())
}

fn check(seen: &Seen, authorization: &str, keys: &[(String, String)]) -> Result<(), String> {
    let part = |name: &str| authorization.split(", ").find_map(|part| part.strip_prefix(name)).ok_or(format!("no {name}"));
    let (credential, signed, signature) = (part("Credential=")?, part("SignedHeaders=")?, part("Signature=")?);
    let [key, date, region, service, "aws4_request"] = credential.split('/').collect::<Vec<_>>()[..] else {
        return Err(format!("scope {credential}"));
    };
    if service != "bedrock" {
        return Err(format!("service {service}"));
    }
    let secret = keys.iter().find(|(known, _)| known == key).map(|(_, secret)| secret.clone()).ok_or(format!("key {key} is unknown"))?;
    let signed: Vec<&str> = signed.split(';').collect();
    let stamp = seen.header("x-amz-date").ok_or("no x-amz-date")?;
    let time = moment(stamp).ok_or(format!("time {stamp}"))?;
    let token = seen.header("x-amz-security-token").map(str::to_owned);
    for needed in ["host", "x-amz-date"].into_iter().chain(token.as_ref().map(|_| "x-amz-security-token")) {
        if !signed.contains(&needed) {
            return Err(format!("{needed} is not signed"));
        }
    }
    let off = skykoi_gateway::clock::now_ms().abs_diff(u64::try_from(time.as_millis()).unwrap_or_default());
    if !stamp.starts_with(date) || off > 300_000 {
        return Err(format!("{stamp} is not now"));
    }
    let identity = Credentials::new(key, secret, token, None, "fake").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::UNIX_EPOCH + time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?
        .into();
    // What the crate adds by itself is left out.
    let added = ["x-amz-date", "x-amz-security-token"];
    let headers = signed.iter().filter(|name| !added.contains(name)).map(|name| (*name, seen.header(name).unwrap_or_default()));
    let url = format!("http://{}{}", seen.header("host").unwrap_or_default(), seen.path);
    let request = SignableRequest::new(&seen.method, url, headers, SignableBody::Bytes(seen.text.as_bytes()));
    let output = sign(request.map_err(|error| error.to_string())?, &params).map_err(|error| error.to_string())?;
    if output.signature() == signature { Ok(()) } else { Err("the signature is wrong".to_owned()) }
}

/// `20150830T123600Z` as a time since the epoch.
fn moment(stamp: &str) -> Option<Duration> {
    let part = |from: usize, to: usize| stamp.get(from..to);
    let iso = format!("{}-{}-{}T{}:{}:{}Z", part(0, 4)?, part(4, 6)?, part(6, 8)?, part(9, 11)?, part(11, 13)?, part(13, 15)?);
    skykoi_gateway::clock::from_iso(&iso).map(Duration::from_millis)
}
