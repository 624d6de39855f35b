//! The whole way from files, environment and flags to a config or to its problems.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::super::key_path::KeyPath;
use super::super::layers::FlagLayer;
use super::*;

const TOKEN: &str = "skg_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

struct Home(tempfile::TempDir);

impl Home {
    fn with(text: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.write("skykoi.json", text);
        home
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        self.load_with(FlagLayer::default(), env)
    }

    fn load_with(&self, flags: FlagLayer, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let flags = FlagLayer { state_dir: Some(self.0.path().to_owned()), ..flags };
        let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        load(&Sources { flags, env, ..Sources::default() })
    }

    fn strip(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }

    fn refusal(&self, env: &[(&str, &str)]) -> String {
        self.strip(&self.load(env).unwrap_err().to_string())
    }
}

fn layer(loaded: &Loaded, home: &Home, key: &str) -> String {
    home.strip(&loaded.explain(key).unwrap().layer)
}

#[test]
fn kw30_each_layer_wins_over_the_one_below_and_explain_names_it() {
    let home = Home::with("{ gateway: {\n port: 1111 } }");
    let port = |flag: Option<u16>, env: &[(&str, &str)]| {
        let loaded = home.load_with(FlagLayer { port: flag, ..FlagLayer::default() }, env).unwrap();
        (loaded.config.gateway.port, layer(&loaded, &home, "gateway.port"))
    };
    let variable = [("SKYKOI_GATEWAY_PORT", "2222")];
    assert_eq!(port(Some(3333), &variable), (3333, "flag --port".to_owned()));
    assert_eq!(port(None, &variable), (2222, "env SKYKOI_GATEWAY_PORT".to_owned()));
    assert_eq!(port(None, &[]), (1111, "file skykoi.json:2:8".to_owned()));
    home.write("skykoi.json", "{}");
    assert_eq!(port(None, &[]), (18789, "default".to_owned()));
}

#[test]
fn an_absent_file_is_all_defaults_unless_a_flag_named_it() {
    let home = Home(tempfile::tempdir().unwrap());
    let loaded = home.load(&[]).unwrap();
    assert!(!loaded.exists && loaded.hash.is_none() && loaded.files.is_empty());
    assert_eq!(loaded.config.gateway.port, 18789);
    assert!(!loaded.start_blockers().is_empty());
    let named = FlagLayer { config: Some(home.0.path().join("none.json")), ..FlagLayer::default() };
    let error = home.load_with(named, &[]).unwrap_err();
    assert!(matches!(&error, ConfigError::Absent(path) if path.ends_with("none.json")), "{error}");
}

#[test]
fn all_problems_of_all_files_come_at_once_in_the_order_of_the_text() {
    let home = Home::with("{\n gatewey: {},\n gateway: { port: 'x', $include: 'auth.json5' },\n logging: { level: '${LEVEL}' } }");
    home.write("auth.json5", "{ auth: {\n mod: 'token' } }");
    assert_eq!(
        home.refusal(&[]),
        "auth.json5:2:2: gateway.auth.mod: unknown key, did you mean `mode`?\n\
         skykoi.json:2:2: gatewey: unknown key, did you mean `gateway`?\n\
         skykoi.json:3:19: gateway.port: must be a whole number\n\
         skykoi.json:4:20: logging.level: missing env var \"LEVEL\": it is referred to here, but unset or empty\n\
         skykoi.json:4:20: logging.level: must be one of \"silent\", \"fatal\", \"error\", \"warn\", \"info\", \"debug\", \"trace\""
    );
}

#[test]
fn a_bad_value_from_outside_is_blamed_on_its_source() {
    let home = Home::with("{}");
    let refusal = home.refusal(&[("SKYKOI_GATEWAY_BIND", "everywhere"), ("SKYKOI_GATEWAY_TOKEN", "short-canary")]);
    assert!(refusal.starts_with("env SKYKOI_GATEWAY_BIND: gateway.bind: must be one of"), "{refusal}");
    let refusal = home.refusal(&[("SKYKOI_GATEWAY_TOKEN", "short-canary")]);
    assert!(refusal.starts_with("env SKYKOI_GATEWAY_TOKEN: gateway.auth.token: must have at least 16"), "{refusal}");
    assert!(!refusal.contains("canary"));
    let refusal = home.refusal(&[("SKYKOI_GATEWAY_PORT", "70000")]);
    assert_eq!(refusal, "env SKYKOI_GATEWAY_PORT: gateway.port: must be at most 65535");
}

#[test]
fn rules_between_keys_are_placed_in_the_file_and_the_missing_at_its_parent() {
    let home = Home::with("{ exec: { security: 'full' },\n tools: { exec: { security: 'deny' } } }");
    assert_eq!(home.refusal(&[]), "skykoi.json:1:21: exec.security: differs from tools.exec.security; the two are the same key, keep one");
    home.write("skykoi.json", "{ agents: { list: [\n { name: 'x' }] } }");
    assert_eq!(home.refusal(&[]), "skykoi.json:2:2: agents.list[0]: the key `id` is missing");
}

#[test]
fn a_section_without_effect_is_named_once_and_a_misspelt_one_is_refused() {
    let home = Home::with(
        "{ $schema: 'x', channels: { a: 1 }, bindings: [], meta: {}, gateway: { remote: {} }, agents: { defaults: { heartbeat: {} } } }",
    );
    let loaded = home.load(&[]).unwrap();
    let idle = |key: &str| format!("`{key}` is accepted, but this version does not act on it");
    assert_eq!(loaded.warnings, ["channels", "bindings", "gateway.remote", "agents.defaults.heartbeat"].map(idle));
    home.write("skykoi.json", "{ chanels: {} }");
    assert_eq!(home.refusal(&[]), "skykoi.json:1:3: chanels: unknown key, did you mean `channels`?");
}

#[test]
fn a_lone_password_means_the_mode_password() {
    use super::super::login::AuthMode;
    let mode = |auth: &str| Home::with(&format!("{{ gateway: {{ auth: {{ {auth} }} }} }}")).load(&[]).unwrap().config.auth_mode();
    assert_eq!(mode("password: 'long-enough-word'"), AuthMode::Password);
    assert_eq!(mode(&format!("password: 'long-enough-word', token: '{TOKEN}'")), AuthMode::Token);
    assert_eq!(mode(""), AuthMode::Token);
}

#[test]
fn the_shell_is_the_users_unless_the_file_says_otherwise() {
    let shell = |text: &str, env: &[(&str, &str)]| Home::with(text).load(env).unwrap().config.shell().display().to_string();
    assert_eq!(shell("{}", &[("SHELL", "/bin/sh")]), "/bin/sh");
    assert_eq!(shell("{ agents: { defaults: { shell: '/opt/shell' } } }", &[("SHELL", "/bin/sh")]), "/opt/shell");
    for unusable in ["fish", "/no/such/shell"] {
        assert!(["/bin/bash", "/bin/sh"].contains(&shell("{}", &[("SHELL", unusable)]).as_str()));
    }
}

#[test]
fn kw07_a_file_that_others_can_read_is_warned_about() {
    let home = Home::with("{}");
    fs::set_permissions(home.0.path().join("skykoi.json"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(home.load(&[]).unwrap().warnings[0].contains("can be read by other users"));
}

#[test]
fn m61_a_secret_in_a_file_that_others_can_read_keeps_the_gateway_from_starting() {
    let blockers = |auth: &str, mode: u32| {
        let home = Home::with(&format!("{{ gateway: {{ mode: 'local', auth: {{ {auth} }} }} }}"));
        fs::set_permissions(home.0.path().join("skykoi.json"), fs::Permissions::from_mode(mode)).unwrap();
        let blockers = home.load(&[("T", TOKEN)]).unwrap().start_blockers();
        blockers.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let clear = format!("token: '{TOKEN}'");
    assert_eq!(blockers(&clear, 0o600), "");
    let refused = blockers(&clear, 0o644);
    assert!(refused.contains("gateway.auth.token: stands in a file that other users") && !refused.contains(TOKEN), "{refused}");
    assert_eq!(blockers("token: '${T}'", 0o644), "", "a reference says nothing");
}

#[test]
fn the_hash_is_that_of_the_raw_text() {
    assert_eq!(Home::with("{}").load(&[]).unwrap().hash.unwrap(), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
}

#[test]
fn secrets_never_leave_by_show_explain_debug_or_an_error() {
    let text = json!({
        "gateway": { "auth": { "token": "skg_canary0123456789", "password": "canary-0123456789" }, "remote": { "token": "canary" } },
        "models": { "providers": { "p": { "baseUrl": "b", "apiKey": "canary", "headers": { "X": "canary" } } } },
        "env": { "vars": { "A": "canary" }, "B": "canary" },
        "hooks": { "token": "canary" },
        "channels": { "x": { "botToken": "canary" } },
        "agents": { "defaults": { "memorySearch": { "remote": { "apiKey": "canary" } } } },
    });
    let loaded = Home::with(&text.to_string()).load(&[]).unwrap();
    let shown = loaded.show().to_string();
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.matches("__SKYKOI_REDACTED__").count() >= 9);
    assert_eq!(loaded.explain("gateway.auth.token").unwrap().value, "__SKYKOI_REDACTED__");
    assert!(!format!("{:?}", loaded.config).contains("canary-0123"));
}

#[test]
fn explain_knows_every_key_and_the_nearest_of_one_that_is_not() {
    let home = Home::with("{ exec: { security: 'full' } }");
    let loaded = home.load(&[]).unwrap();
    super::super::schema::for_each_key(&mut |path, _| {
        loaded.explain(&path.to_string()).unwrap();
    });
    let explained = loaded.explain("tools.exec.security").unwrap();
    assert_eq!((explained.value, home.strip(&explained.layer).as_str()), (json!("full"), "file skykoi.json:1:21"));
    assert_eq!(explained.allowed, ["deny", "allowlist", "full"]);
    assert_eq!(loaded.explain("gateway.prot").unwrap_err().to_string(), "gateway.prot: unknown key, did you mean `port`?");
    assert_eq!(loaded.explain("nope.nope").unwrap_err().path, KeyPath::parse("nope"));
    assert_eq!(loaded.explain("logging.file").unwrap().reload, "restart");
    assert_eq!(loaded.explain("gateway.port").unwrap().reload, "hot");
}

#[test]
fn blockers_carry_their_place() {
    let home = Home::with(&format!("{{ gateway: {{ mode: 'local', auth: {{ token: '{TOKEN}' }} }},\n exec: {{ host: 'sandbox' }} }}"));
    let blockers = home.load(&[]).unwrap().start_blockers();
    assert_eq!(blockers.len(), 1);
    assert!(home.strip(&blockers[0].to_string()).starts_with("skykoi.json:2:16: exec.host: only \"gateway\" starts"));
}

#[test]
fn m95_a_byte_order_mark_is_accepted_and_a_missing_parent_directory_is_absence() {
    assert_eq!(Home::with("\u{feff}{ gateway: { port: 5 } }").load(&[]).unwrap().config.gateway.port, 5);
    let home = Home(tempfile::tempdir().unwrap());
    let flags = FlagLayer { state_dir: Some(home.0.path().join("a/b")), ..FlagLayer::default() };
    let loaded = load(&Sources { flags, ..Sources::default() }).unwrap();
    assert!(!loaded.exists && !Path::exists(&home.0.path().join("a")));
}
