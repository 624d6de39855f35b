//! Changes on disk: what is written, what is refused, and that nothing else happens.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::config::layers::FlagLayer;
use crate::config::secret::REDACTED;

const TOKEN: &str = "test-token-0123456789abcdef";

struct Place {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Place {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = Sources { flags: FlagLayer::from(dir.path().to_owned()), ..Sources::default() };
        let place = Self { dir, sources };
        place.write("skykoi.json", text);
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.dir.path().join("skykoi.json")).unwrap()
    }

    fn hash(&self) -> String {
        Stored::read(&self.sources).unwrap().hash().unwrap()
    }

    fn set(&self, raw: &str, force: bool) -> Result<Saved, ChangeError> {
        change(&self.sources, Base::Hash(Some(&self.hash())), &Edit::Replace { raw: raw.to_owned(), force })
    }

    fn patch(&self, at: &str, patch: Value) -> Result<Saved, ChangeError> {
        change(&self.sources, Base::Hash(Some(&self.hash())), &Edit::Merge { at: KeyPath::parse(at), patch })
    }
}

fn good() -> String {
    format!(
        "// mine\n{{\n  gateway: {{ mode: 'local', auth: {{ token: '{TOKEN}' }} }}, // net\n  models: {{ providers: {{ p: {{ baseUrl: 'https://x', apiKey: '${{KEY}}' }} }} }},\n}}\n"
    )
}

#[test]
fn defect_11_a_patch_writes_neither_defaults_nor_resolved_secrets_and_keeps_comments() {
    let mut place = Place::with(&good());
    place.sources.env.insert("KEY".to_owned(), "resolved-canary".to_owned());
    let saved = place.patch("", json!({ "gateway": { "port": 4000 }, "agents": { "defaults": { "maxConcurrent": 9 } } })).unwrap();
    assert_eq!(saved.changed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["agents.defaults.maxConcurrent", "gateway.port"]);
    assert!(saved.written);
    let text = place.text();
    assert!(text.starts_with("// mine\n{\n  gateway: { mode: 'local',") && text.contains("}, // net\n"), "{text}");
    assert!(text.contains("'${KEY}'") && !text.contains("resolved-canary") && !text.contains("timeoutSeconds"), "{text}");
    let read: Value = json5::from_str(&text).unwrap();
    assert_eq!(read["gateway"]["port"], 4000);
    assert_eq!(read.as_object().unwrap().len(), 3, "{text}");
    assert_eq!(fs::read_to_string(place.dir.path().join("skykoi.json.bak")).unwrap(), good());
}

#[test]
fn a_change_that_changes_nothing_writes_nothing() {
    let place = Place::with(&good());
    place.sources.env.get("KEY");
    let mut place = place;
    place.sources.env.insert("KEY".to_owned(), "k".to_owned());
    assert!(!place.set(&good(), false).unwrap().written);
    assert!(!place.patch("gateway.mode", json!("local")).unwrap().written);
    assert!(!place.dir.path().join("skykoi.json.bak").exists());
}

#[test]
fn m97_the_second_of_two_writers_with_one_hash_gets_the_conflict() {
    let mut place = Place::with(&good());
    place.sources.env.insert("KEY".to_owned(), "k".to_owned());
    let hash = place.hash();
    let write = |port: u16, base| change(&place.sources, base, &Edit::Merge { at: KeyPath::parse("gateway.port"), patch: json!(port) });
    assert!(matches!(write(1000, Base::Hash(None)), Err(ChangeError::BaseRequired)));
    write(1000, Base::Hash(Some(&hash))).unwrap();
    let lost = write(2000, Base::Hash(Some(&hash))).unwrap_err();
    assert_eq!(lost.to_string(), "config changed since last load; re-run config.get and retry");
    assert!(place.text().contains("port: 1000"));
}

#[test]
fn the_hash_covers_included_files() {
    let place = Place::with("{ gateway: { mode: 'local', $include: './auth.json' } }");
    place.write("auth.json", &format!("{{ auth: {{ token: '{TOKEN}' }} }}"));
    let hash = place.hash();
    place.patch("gateway.auth.rateLimit.maxAttempts", json!(3)).unwrap();
    assert!(fs::read_to_string(place.dir.path().join("auth.json")).unwrap().contains("maxAttempts: 3"));
    assert_ne!(place.hash(), hash);
}

#[test]
fn r12_nothing_is_saved_over_a_file_that_does_not_parse_or_that_would_lose_its_half() {
    let mut place = Place::with("{ gateway: ");
    place.sources.env.insert("KEY".to_owned(), "k".to_owned());
    let refused = place.set(&good(), false).unwrap_err();
    assert!(matches!(refused, ChangeError::Unparsed(_)) && refused.to_string().contains("skykoi.json:1:"), "{refused}");
    assert!(matches!(place.patch("gateway.port", json!(1)), Err(ChangeError::FixFirst(_))));
    assert_eq!(place.text(), "{ gateway: ");
    place.set(&good(), true).unwrap();
    let long = good().replace("// mine", &format!("// {}", "x".repeat(2000)));
    place.set(&long, false).unwrap();
    assert!(matches!(place.set(&good(), false), Err(ChangeError::Shrinks { .. })));
    place.set(&good(), true).unwrap();
}

#[test]
fn a_result_that_would_not_start_is_refused_with_every_problem() {
    let mut place = Place::with(&good());
    place.sources.env.insert("KEY".to_owned(), "k".to_owned());
    let refused = place.set("{ gateway: { prot: 1, auth: { token: 'short' } } }", false).unwrap_err();
    assert_eq!(refused.to_string(), "invalid config");
    assert!(refused.full_text().contains("skykoi.json:1:14: gateway.prot: unknown key, did you mean `port`?"), "{}", refused.full_text());
    assert!(matches!(place.patch("gateway.mode", Value::Null), Err(ChangeError::Invalid(_))), "it would not start");
    assert!(matches!(place.set("{ a: ", false), Err(ChangeError::Syntax(_))));
    assert!(matches!(place.patch("gateway.auth.token", json!("${NOPE}")), Err(ChangeError::Invalid(_))));
    assert_eq!(place.text(), good());
}

#[test]
fn a_wrong_file_can_be_mended_by_a_patch() {
    let mut place = Place::with(&good().replace("mode: 'local'", "mode: 'local', prot: 1"));
    place.sources.env.insert("KEY".to_owned(), "k".to_owned());
    assert_eq!(place.patch("gateway.port", json!(1)).unwrap_err().to_string(), "invalid config; fix before patching");
    place.patch("gateway.prot", Value::Null).unwrap();
    assert_eq!(place.text(), good());
}

#[test]
fn markers_become_what_is_stored_and_are_refused_where_nothing_is() {
    let mut place = Place::with(&good());
    place.sources.env.insert("KEY".to_owned(), "k".to_owned());
    let shown = good().replace(&format!("'{TOKEN}'"), &format!("\"{REDACTED}\"")).replace("// net", "// more");
    place.set(&shown, false).unwrap();
    assert_eq!(place.text(), good().replace("// net", "// more"));
    place.patch("gateway", json!({ "port": 5, "auth": { "token": REDACTED } })).unwrap();
    assert!(place.text().contains(TOKEN) && place.text().contains("port: 5"));
    let refused = place.patch("gateway.auth.password", json!(REDACTED)).unwrap_err();
    assert!(matches!(refused, ChangeError::Marker(_)) && refused.to_string().starts_with("gateway.auth.password: "), "{refused}");
    assert!(matches!(place.set(&format!("{{ env: {{ A: '{REDACTED}' }} }}"), true), Err(ChangeError::Marker(_))));
}

#[test]
fn a_file_that_does_not_exist_is_made_private() {
    let dir = tempfile::tempdir().unwrap();
    let sources = Sources { flags: FlagLayer::from(dir.path().join("new")), ..Sources::default() };
    let patch = json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN } } });
    change(&sources, Base::Hash(None), &Edit::Merge { at: KeyPath::default(), patch }).unwrap();
    let path = dir.path().join("new/skykoi.json");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(load(&sources).unwrap().start_blockers().is_empty());
}

#[test]
fn a_link_stays_a_link_and_its_file_is_changed() {
    let place = Place::with("{}");
    let real = place.dir.path().join("real");
    fs::create_dir(&real).unwrap();
    place.write("real/c.json", &format!("{{ gateway: {{ mode: 'local', auth: {{ token: '{TOKEN}' }} }} }}"));
    let path = place.dir.path().join("skykoi.json");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("real/c.json", &path).unwrap();
    place.patch("gateway.port", json!(7)).unwrap();
    assert!(path.is_symlink() && place.text().contains("port: 7"));
    assert!(real.join("c.json.bak").exists() && !place.dir.path().join("skykoi.json.bak").exists());
}
