//! `doctor` against real daemons, a real proxy, and files with faults put into them.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway};
use crate::live_config::patch;
use crate::nginx::{Nginx, program};

/// Exit code, and the findings as JSON.
fn doctor(gateway: &Gateway, args: &[&str]) -> (i32, Value) {
    let mut command = program(env!("CARGO_BIN_EXE_skykoi-gateway"));
    command.arg("doctor").arg("--json").args(args).env_clear().env("PATH", "/usr/bin:/bin").env("SKYKOI_STATE_DIR", gateway.state_dir());
    let output = command.env("HOME", gateway.state_dir()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), said)
}

/// Severity and text of the findings of a check, worst first.
fn of<'a>(said: &'a Value, check: &str) -> Vec<(&'a str, &'a str)> {
    let all = said["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    all.map(|finding| (finding["severity"].as_str().unwrap(), finding["what"].as_str().unwrap())).collect()
}

#[test]
fn it_works_with_and_without_a_daemon_and_its_exit_code_says_the_worst() {
    let mut gateway = Gateway::start();
    let (code, said) = doctor(&gateway, &[]);
    assert_eq!((code, &said["ok"]), (0, &json!(true)), "{said}");
    assert_eq!(of(&said, "daemon")[0].0, "ok");
    gateway.stop();
    let (code, said) = doctor(&gateway, &[]);
    assert_eq!((code, of(&said, "daemon")[0].0), (1, "warning"), "{said}");
    gateway.write_config("{ gateway: { prot: 1 } }");
    let (code, said) = doctor(&gateway, &["--security"]);
    assert_eq!((code, of(&said, "config")[0].0), (78, "critical"), "{said}");
    assert!(of(&said, "config")[0].1.contains("prot"), "{said}");
}

#[test]
fn each_fault_of_the_files_and_the_configuration_is_found_with_its_mend() {
    let gateway = Gateway::with(&json!({ "gateway": { "auth": { "token": "abcabcabcabcabcabcabc" } } }));
    std::fs::set_permissions(gateway.config_path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(gateway.state_dir().join("runs"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let (code, said) = doctor(&gateway, &["--security"]);
    assert_eq!((code, &said["ok"]), (2, &json!(false)), "{said}");
    let permissions = of(&said, "permissions");
    assert!(permissions.iter().any(|(severity, what)| *severity == "warning" && what.contains("skykoi.json can be read")), "{said}");
    assert!(permissions.iter().any(|(severity, what)| *severity == "critical" && what.contains("/runs can be changed")), "{said}");
    let secrets = of(&said, "secret");
    assert!(secrets.iter().any(|(severity, what)| *severity == "warning" && what.contains("few different")), "{said}");
    assert!(secrets.iter().any(|(_, what)| what.contains("in clear")), "{said}");
    assert!(of(&said, "exec")[0].1.contains("mode full") && of(&said, "bind")[0].0 == "ok", "{said}");
    assert!(!said.to_string().contains("abcabcabc"), "the secret itself is not told");
    for finding in said["findings"].as_array().unwrap() {
        let (severity, mend) = (finding["severity"].as_str().unwrap(), finding["mend"].as_str().unwrap_or_default());
        assert!(!mend.is_empty() || matches!(severity, "ok" | "note"), "{finding}");
    }
}

#[test]
fn without_the_option_only_what_makes_it_work_is_looked_at() {
    let gateway = Gateway::prepared(&json!({}));
    let (_, plain) = doctor(&gateway, &[]);
    for check in ["proxy", "metadata", "sudo", "permissions", "secret"] {
        assert!(of(&plain, check).is_empty(), "{check}: {plain}");
    }
    assert!(!of(&plain, "state").is_empty() && !of(&plain, "workspace").is_empty(), "{plain}");
}

#[tokio::test]
async fn a_request_through_the_public_address_shows_what_the_proxy_forwards() {
    let gateway = Gateway::start();
    let Some(nginx) = Nginx::start(gateway.port()) else { return };
    let mut client = Client::connect(&gateway).await;
    let url = format!("https://localhost:{}", nginx.port);
    let found = async |client: &mut Client, urls: Value, proxies: Value| {
        patch(client, json!({ "gateway": { "publicUrls": urls, "trustedProxies": proxies } })).await;
        let (_, said) = doctor(&gateway, &["--security"]);
        of(&said, "proxy").into_iter().map(|(severity, what)| (severity.to_owned(), what.to_owned())).collect::<Vec<_>>()
    };
    let untrusted = found(&mut client, json!([url]), json!([])).await;
    assert!(untrusted[0].0 == "warning" && untrusted[0].1.contains("not believed"), "{untrusted:?}");
    let right = found(&mut client, json!([url]), json!(["127.0.0.1", "::1"])).await;
    assert!(right[0].0 == "ok" && right[0].1.contains("leads here through"), "{right:?}");
    let direct = format!("http://localhost:{}", gateway.port());
    let straight = found(&mut client, json!([direct]), json!([])).await;
    assert!(straight[0].0 == "ok" && straight[0].1.contains("straight"), "{straight:?}");
    let spoofable = found(&mut client, json!([direct]), json!(["127.0.0.1", "::1"])).await;
    assert!(spoofable[0].0 == "critical" && spoofable[0].1.contains("its own address"), "{spoofable:?}");
    // Somebody else's server, and nobody's.
    let other = Gateway::start();
    let strange = found(&mut client, json!([format!("http://localhost:{}", other.port())]), json!([])).await;
    assert!(strange[0].0 == "critical" && strange[0].1.contains("not this gateway"), "{strange:?}");
}

#[tokio::test]
async fn a_stranger_who_knows_of_the_probe_learns_nothing() {
    let gateway = Gateway::start();
    let mut client = Client::local(&gateway).await;
    let word = client.ok("doctor.proxy", json!({})).await["word"].as_str().unwrap().to_owned();
    let address = format!("http://127.0.0.1:{}/healthz", gateway.port());
    let ask = |word: &str| {
        let sent = program("curl")
            .args(["-sS", "-i", "-H", &format!("x-skykoi-probe: {word}"), "-H", "X-Forwarded-For: 198.51.100.1", &address])
            .output();
        let text = String::from_utf8(sent.unwrap().stdout).unwrap();
        text.lines().filter(|line| !line.to_lowercase().starts_with("date:")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(ask("0123456789abcdef0123456789abcdef"), ask(&word), "right or wrong, the answer is the same");
    let seen = client.ok("doctor.proxy", json!({ "word": word })).await["seen"].clone();
    assert_eq!(seen["forwarded"], json!(["198.51.100.1"]), "{seen}");
    let mut reader = Client::open(gateway.port(), &[]).await;
    let mut params = crate::harness::client::connect_params();
    params["scopes"] = json!(["operator.read"]);
    reader.hello(params).await.unwrap();
    assert_eq!(reader.err("doctor.proxy", json!({ "word": word })).await["details"]["code"], "MISSING_SCOPE");
}
