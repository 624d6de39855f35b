//! Assertions of a portal: JSON Web Tokens, read by a small parser that knows two ways of signing and no others.
//!
//! The way of signing comes from the configuration; the header may only agree with it. Nothing of the claims is looked at before the signature fits. What must be there must be there with its exact type: a time that is a text is no time. `kid`, `jku` and everything else that names a key is not read.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;

use crate::protocol::strict;

/// Largest assertion, bytes.
pub const MAX_BYTES: usize = 8192;
/// Longest life of an assertion, s.
const MAX_LIFE: u64 = 86_400;
/// Longest `sub`, bytes.
const MAX_SUBJECT: usize = 256;

/// The key that assertions are checked with.
#[derive(Clone, PartialEq, Eq)]
pub enum Key {
    /// Ed25519.
    EdDsa([u8; 32]),
    /// HMAC with SHA-256.
    Hs256(Vec<u8>),
}

impl Key {
    fn alg(&self) -> &'static str {
        match self {
            Self::EdDsa(_) => "EdDSA",
            Self::Hs256(_) => "HS256",
        }
    }

    fn signed(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::EdDsa(key) => UnparsedPublicKey::new(&ED25519, key).verify(text, signature).is_ok(),
            // The comparison inside is one in constant time.
            Self::Hs256(secret) => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), text, signature).is_ok(),
        }
    }
}

/// Says which kind it is and nothing of the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.alg())
    }
}

/// What an assertion must be to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What it must be signed with.
    pub key: Key,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be or hold.
    pub audience: String,
    /// How far the portal's clock may be ahead, s.
    pub leeway: u64,
}

/// What an accepted assertion says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The user.
    pub subject: String,
    /// When it ends, s since the epoch.
    pub expires: u64,
}

/// Why an assertion is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is not signed by the portal: a guess, like a wrong token.
    Unsigned,
    /// The portal signed it, but for somebody else, for another time or without what must be in it.
    Signed,
}

/// Whether a text has the form of an assertion: three parts with points between them.
#[must_use]
pub fn looks_like_one(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Checks an assertion at `now`, s since the epoch.
///
/// # Errors
/// It is not accepted.
pub fn verify(token: &str, rules: &Rules, now: u64) -> Result<Claims, Unfit> {
    if token.len() > MAX_BYTES {
        return Err(Unfit::Unsigned);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Unfit::Unsigned)?;
    let (header, claims) = signed.split_once('.').ok_or(Unfit::Unsigned)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let signature = decode(signature).ok_or(Unfit::Unsigned)?;
    let header = decode(header).and_then(object).ok_or(Unfit::Unsigned)?;
    let typed = header.get("typ").is_none_or(|typ| typ.as_str().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT")));
    let agrees = header.get("alg").and_then(Value::as_str) == Some(rules.key.alg());
    if !agrees || !typed || header.get("crit").is_some() || !rules.key.signed(signed.as_bytes(), &signature) {
        return Err(Unfit::Unsigned);
    }
    decode(claims).and_then(object).and_then(|claims| accepted(&claims, rules, now)).ok_or(Unfit::Signed)
}

/// A JSON object without keys that stand twice.
fn object(bytes: Vec<u8>) -> Option<Value> {
    strict::from_json(&String::from_utf8(bytes).ok()?).ok().filter(Value::is_object)
}

fn accepted(claims: &Value, rules: &Rules, now: u64) -> Option<Claims> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_u64);
    let subject = text("sub").filter(|sub| !sub.is_empty() && sub.len() <= MAX_SUBJECT && !sub.chars().any(char::is_control))?;
    let ours = match claims.get("aud")? {
        Value::String(audience) => *audience == rules.audience,
        Value::Array(list) => list.iter().all(Value::is_string) && list.iter().any(|audience| *audience == rules.audience.as_str()),
        _ => false,
    };
    let (issued, expires) = (time("iat")?, time("exp")?);
    let begun = match claims.get("nbf") {
        None => issued,
        Some(_) => issued.max(time("nbf")?),
    };
    let in_time = begun <= now.saturating_add(rules.leeway) && now < expires && issued < expires && expires - issued <= MAX_LIFE;
    (ours && in_time && text("iss") == Some(&rules.issuer)).then(|| Claims { subject: subject.to_owned(), expires })
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const SECRET: &[u8] = b"0123456789abcdefghijklmnopqrstuv";

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
    }

    fn rules(key: Key) -> Rules {
        Rules { key, issuer: "portal".into(), audience: "vm-1".into(), leeway: 60 }
    }

    fn eddsa() -> Rules {
        rules(Key::EdDsa(pair().public_key().as_ref().try_into().unwrap()))
    }

    fn hs256() -> Rules {
        rules(Key::Hs256(SECRET.to_vec()))
    }

    fn claims() -> Value {
        json!({ "iss": "portal", "aud": "vm-1", "sub": "u-17", "iat": NOW - 10, "exp": NOW + 600 })
    }

    fn signed_text(header: &Value, claims: &Value) -> String {
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn with_hmac(key: &[u8], header: &Value, claims: &Value) -> String {
        let text = signed_text(header, claims);
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn with_ed(header: &Value, claims: &Value) -> String {
        let text = signed_text(header, claims);
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(pair().sign(text.as_bytes())))
    }

    fn hs() -> Value {
        json!({ "alg": "HS256", "typ": "JWT" })
    }

    #[test]
    fn m60_right_assertions_of_both_kinds_are_accepted() {
        let wanted = Ok(Claims { subject: "u-17".into(), expires: NOW + 600 });
        assert_eq!(verify(&with_ed(&json!({ "alg": "EdDSA" }), &claims()), &eddsa(), NOW), wanted);
        assert_eq!(verify(&with_hmac(SECRET, &hs(), &claims()), &hs256(), NOW), wanted);
        let mut listed = claims();
        listed["aud"] = json!(["other", "vm-1"]);
        listed["nbf"] = json!(NOW + 60);
        assert_eq!(verify(&with_hmac(SECRET, &hs(), &listed), &hs256(), NOW), wanted);
        let header = json!({ "alg": "HS256", "kid": "../../etc/passwd", "jku": "https://evil.example/keys" });
        assert_eq!(verify(&with_hmac(SECRET, &header, &claims()), &hs256(), NOW), wanted, "what names a key is not read");
    }

    #[test]
    fn m60_what_is_not_signed_as_configured_is_a_guess() {
        let none = format!("{}.", signed_text(&json!({ "alg": "none" }), &claims()));
        let public = pair().public_key().as_ref().to_vec();
        let right = with_hmac(SECRET, &hs(), &claims());
        let table = [
            ("alg none", none.clone(), hs256()),
            ("alg none for EdDSA", none, eddsa()),
            ("the public key as the secret", with_hmac(&public, &hs(), &claims()), eddsa()),
            ("HS256 where EdDSA is configured", right.clone(), eddsa()),
            ("EdDSA where HS256 is configured", with_ed(&json!({ "alg": "EdDSA" }), &claims()), hs256()),
            ("another spelling of alg", with_hmac(SECRET, &json!({ "alg": "hs256" }), &claims()), hs256()),
            ("alg in a list", with_hmac(SECRET, &json!({ "alg": ["HS256"] }), &claims()), hs256()),
            ("alg missing", with_hmac(SECRET, &json!({}), &claims()), hs256()),
            ("crit", with_hmac(SECRET, &json!({ "alg": "HS256", "crit": ["exp"] }), &claims()), hs256()),
            ("typ of something else", with_hmac(SECRET, &json!({ "alg": "HS256", "typ": "at+jwt" }), &claims()), hs256()),
            ("another key", with_hmac(b"another key of thirty-two bytes!", &hs(), &claims()), hs256()),
            ("kid that names a file", with_hmac(b"", &json!({ "alg": "HS256", "kid": "../../../dev/null" }), &claims()), hs256()),
            ("a padded signature", format!("{right}="), hs256()),
            ("a signature cut off", right[..right.len() - 4].to_owned(), hs256()),
            ("no signature", right[..=right.rfind('.').unwrap()].to_owned(), hs256()),
            ("four parts", format!("{right}.x"), hs256()),
            ("two parts", signed_text(&hs(), &claims()), hs256()),
            ("nothing", "..".to_owned(), hs256()),
            ("1 MiB", format!("{right}.{}", "A".repeat(1 << 20)), hs256()),
            (
                "a header with a key twice",
                {
                    let text = format!(
                        "{}.{}",
                        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"HS256"}"#),
                        URL_SAFE_NO_PAD.encode(claims().to_string())
                    );
                    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
                    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
                },
                hs256(),
            ),
        ];
        for (what, token, rules) in table {
            assert_eq!(verify(&token, &rules, NOW), Err(Unfit::Unsigned), "{what}");
        }
    }

    #[test]
    fn m60_every_claim_must_be_there_with_its_exact_type() {
        let table = [
            ("exp", json!(null)),
            ("exp", json!((NOW + 600).to_string())),
            ("exp", json!(1.8e9)),
            ("exp", json!(-1)),
            ("exp", json!(true)),
            ("exp", json!([NOW + 600])),
            ("exp", json!(NOW)),
            ("exp", json!(NOW - 10 + 86_401)),
            ("iat", json!(null)),
            ("iat", json!("now")),
            ("iat", json!(NOW + 61)),
            ("nbf", json!(NOW + 61)),
            ("nbf", json!("0")),
            ("aud", json!("vm-2")),
            ("aud", json!(["vm-2"])),
            ("aud", json!(["vm-1", 7])),
            ("aud", json!({ "vm-1": true })),
            ("aud", json!(null)),
            ("iss", json!("Portal")),
            ("iss", json!(["portal"])),
            ("iss", json!(null)),
            ("sub", json!("")),
            ("sub", json!(17)),
            ("sub", json!("a\nb")),
            ("sub", json!("u".repeat(257))),
            ("sub", json!(null)),
        ];
        for (name, value) in table {
            let mut claims = claims();
            claims[name] = value.clone();
            assert_eq!(verify(&with_hmac(SECRET, &hs(), &claims), &hs256(), NOW), Err(Unfit::Signed), "{name}: {value}");
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
                assert_eq!(verify(&with_hmac(SECRET, &hs(), &claims), &hs256(), NOW), Err(Unfit::Signed), "without {name}");
            }
        }
        let list = format!("{}.{}", URL_SAFE_NO_PAD.encode(hs().to_string()), URL_SAFE_NO_PAD.encode("[]"));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), list.as_bytes());
        assert_eq!(verify(&format!("{list}.{}", URL_SAFE_NO_PAD.encode(signature)), &hs256(), NOW), Err(Unfit::Signed));
    }

    #[test]
    fn m60_a_token_that_ends_as_it_begins_was_never_valid() {
        for (issued, fits) in [(NOW + 5, false), (NOW + 4, true)] {
            let mut claims = claims();
            (claims["iat"], claims["exp"]) = (json!(issued), json!(NOW + 5));
            assert_eq!(verify(&with_hmac(SECRET, &hs(), &claims), &hs256(), NOW).is_ok(), fits, "{issued}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?} {:?}", hs256().key, eddsa().key), "HS256 EdDSA");
    }
}
