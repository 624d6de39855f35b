//! Assertions of a portal: as they come, and with a right signature over whatever stands in them, so that the claims are read too. Header and claims are two lines.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;
use skykoi_gateway::auth::jwt::{Key, Rules, verify};

use super::{Target, none, outcome};

pub const TARGET: Target = Target {
    name: "jwt",
    words: &[
        "\n",
        ".",
        "{\"alg\":\"HS256\"}",
        "\"alg\":\"none\"",
        "\"alg\":\"EdDSA\"",
        "\"typ\":\"JWT\"",
        "\"kid\":\"../../x\"",
        "\"crit\":[]",
        "\"sub\":\"u\"",
        "\"aud\":\"vm\"",
        "\"aud\":[\"vm\"]",
        "\"iss\":\"portal\"",
        "\"iat\":1700000000",
        "\"exp\":1700000600",
        "\"exp\":\"1700000600\"",
        "\"exp\":1700000600.5",
        "\"nbf\":1700000000",
        "\"jti\":\"1\"",
        ",",
        "[[[[[[[[",
        "\\u0000",
    ],
    max: 9000,
    seeds: none,
    run,
};

const NOW: u64 = 1_700_000_100;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn run(input: &[u8]) -> u64 {
    let rules = Rules { key: Key::Hs256(SECRET.to_vec()), issuer: "portal".to_owned(), audience: "vm".to_owned(), leeway: 60 };
    let raw = String::from_utf8_lossy(input);
    assert!(verify(&raw, &rules, NOW).is_err(), "nobody has signed this");
    let (header, claims) = input.iter().position(|byte| *byte == b'\n').map_or((input, &[][..]), |at| (&input[..at], &input[at + 1..]));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    let verdict = verify(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)), &rules, NOW);
    if let Ok(accepted) = &verdict {
        let header: Value = serde_json::from_slice(header).unwrap();
        let claims: Value = serde_json::from_slice(claims).unwrap();
        assert_eq!((header["alg"].as_str(), claims["iss"].as_str()), (Some("HS256"), Some("portal")));
        assert!(claims["aud"] == "vm" || claims["aud"].as_array().unwrap().iter().any(|audience| audience == "vm"));
        assert!(accepted.expires == claims["exp"].as_u64().unwrap() && accepted.expires + rules.leeway > NOW);
        assert!(claims["iat"].as_u64().unwrap() <= NOW + rules.leeway);
        assert!(Some(accepted.subject.as_str()) == claims["sub"].as_str() && !accepted.subject.is_empty());
    }
    outcome(verdict.map(|_| ()).map_err(|unfit| format!("{unfit:?}")))
}
