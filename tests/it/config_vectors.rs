//! Config files as people and generators write them, good and bad; and every key of the schema broken in every way.
//!
//! A bad vector comes with the lines it must produce, `line:col: path: reason`; each must be the beginning of its line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skykoi_gateway::cli::config::{ConfigCommand, run};
use skykoi_gateway::config::agents::Runner;
use skykoi_gateway::config::check::against_schema;
use skykoi_gateway::config::key_path::{KeyPath, Step};
use skykoi_gateway::config::layers::{FlagLayer, Sources};
use skykoi_gateway::config::load::{Loaded, load};
use skykoi_gateway::config::problem::ConfigError;
use skykoi_gateway::config::schema::{flag, for_each_key, key_names, part, schema};
use skykoi_gateway::config::tools::{ExecHost, ExecSecurity};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/config");

/// A state directory that holds one config file, mode 0600 whatever the checkout gave it.
struct Home(tempfile::TempDir);

impl Home {
    fn with(text: impl AsRef<[u8]>) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::write(home.config(), text).unwrap();
        home.chmod(0o600);
        home
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("skykoi.json")
    }

    fn chmod(&self, mode: u32) {
        fs::set_permissions(self.config(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn sources(&self) -> Sources {
        Sources { flags: FlagLayer::from(self.0.path().to_owned()), ..Sources::default() }
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.sources())
    }

    fn check(&self) -> (u8, String) {
        let mut out = Vec::new();
        let code = run(&ConfigCommand::Check, &self.sources(), &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }
}

fn vectors(prefix: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(VECTORS).unwrap().map(|entry| entry.unwrap().path());
    let wanted = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix) && path.extension().unwrap() == "json5";
    let mut list: Vec<_> = all.filter(wanted).collect();
    list.sort();
    list
}

#[test]
fn sk21_a_config_of_the_skykoi_generator_starts() {
    let home = Home::with(fs::read(Path::new(VECTORS).join("skykoi-vm.json5")).unwrap());
    let loaded = home.load().unwrap();
    assert_eq!(loaded.start_blockers(), []);
    let named: Vec<_> = loaded.warnings.iter().filter_map(|warning| warning.split('`').nth(1)).collect();
    assert_eq!(named, [""; 0], "what has no effect is named, and here is nothing of it");
    let config = &loaded.config;
    let agent = config.agent(None).unwrap();
    assert_eq!(agent.workspace, Path::new("/home/ubuntu/koi"));
    assert_eq!(agent.model.unwrap().primary.as_deref(), Some("amazon-bedrock/us.anthropic.claude-opus-4-6-v1"));
    assert_eq!(agent.runner, Runner::Agent);
    assert_eq!((config.exec().security, config.exec().host), (ExecSecurity::Full, ExecHost::Gateway));
    assert_eq!(config.session.reset.as_ref().unwrap().idle_minutes, Some(240));
}

#[test]
fn good_vectors_start() {
    let list = vectors("good-");
    assert!(list.len() >= 3);
    for path in list {
        let home = Home::with(fs::read(&path).unwrap());
        let (code, text) = home.check();
        assert_eq!(code, 0, "{}: {text}", path.display());
    }
}

#[test]
fn bad_vectors_produce_exactly_their_lines() {
    let list = vectors("bad-");
    assert!(list.len() >= 12);
    for path in list {
        let home = Home::with(fs::read(&path).unwrap());
        let (code, text) = home.check();
        assert_eq!(code, 78, "{}", path.display());
        let expected = fs::read_to_string(path.with_extension("expected")).unwrap();
        let prefix = format!("{}:", home.config().display());
        let found: Vec<_> =
            text.lines().map(|line| line.replace(&prefix, "").replace(&format!("{}/", home.0.path().display()), "")).collect();
        let wanted: Vec<_> = expected.lines().collect();
        assert_eq!(found.len(), wanted.len(), "{}: {found:#?}", path.display());
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.starts_with(wanted), "{}:\n{found}\nis not\n{wanted}", path.display());
        }
    }
}

#[test]
fn m95_every_unusable_file_ends_with_78_and_nothing_is_written() {
    let deep = "[".repeat(100_000);
    let texts: [(&str, &[u8], &str); 10] = [
        ("unknown key", b"{ gateway: { prot: 1 } }", ":1:14: gateway.prot: unknown key, did you mean `port`?"),
        ("wrong type", b"{ gateway: { port: '1' } }", ":1:20: gateway.port: must be a whole number"),
        ("trailing", b"{} garbage", ":1:4: trailing characters"),
        ("zero bytes", b"", ": is empty"),
        ("blank", b" \n ", ": is empty"),
        ("bom and nothing", b"\xef\xbb\xbf", ": is empty"),
        ("duplicate", b"{ logging: {}, logging: {} }", ":1:16: duplicate key `logging`"),
        ("not text", b"{ a: '\xff' }", ":1:7: is not UTF-8 text"),
        ("deep", deep.as_bytes(), "nested deeper than 64 levels"),
        ("two MiB", &[b' '; 2 << 20], "is larger than 1024 KiB"),
    ];
    for (name, text, wanted) in texts {
        refused(&Home::with(text), name, wanted);
    }
    let writable = Home::with("{}");
    writable.chmod(0o666);
    refused(&writable, "0666", "can be written by others (mode 0666)");
    let linked = Home(tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(writable.config(), linked.config()).unwrap();
    refused(&linked, "link to 0666", "can be written by others (mode 0666)");
    let directory = Home(tempfile::tempdir().unwrap());
    fs::create_dir(directory.config()).unwrap();
    refused(&directory, "directory", "is not a plain file");
    let fifo = Home(tempfile::tempdir().unwrap());
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, fifo.config(), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    refused(&fifo, "fifo", "is not a plain file");
}

fn refused(home: &Home, name: &str, wanted: &str) {
    let (code, text) = home.check();
    assert_eq!(code, 78, "{name}: {text}");
    assert!(text.contains(wanted), "{name}: {text}");
    let left: Vec<_> = fs::read_dir(home.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["skykoi.json"], "{name}");
}

#[test]
fn m95_a_byte_order_mark_is_accepted() {
    assert_eq!(Home::with("\u{feff}{ gateway: { port: 1 } }").load().unwrap().config.gateway.port, 1);
}

/// A value that a required key takes.
fn least(part: &Value) -> Value {
    match part["type"].as_str() {
        Some("array") => json!([part["items"]["enum"][0]]),
        _ => json!("x1"),
    }
}

/// A document in which `leaf` stands at the path, with everything that its parents require.
fn document(path: &KeyPath, leaf: Value) -> Value {
    let mut value = leaf;
    for length in (0..path.0.len()).rev() {
        let parent = KeyPath(path.0[..length].to_vec());
        value = match &path.0[length] {
            Step::Index(_) => json!([value]),
            Step::Key(key) => {
                let mut object = json!({ key: value });
                for required in part(&schema(), &parent).unwrap()["required"].as_array().into_iter().flatten() {
                    let map = object.as_object_mut().unwrap();
                    let required = required.as_str().unwrap();
                    map.entry(required).or_insert_with(|| least(part(&schema(), &parent.key(required)).unwrap()));
                }
                object
            }
        };
    }
    value
}

fn faults(value: &Value) -> Vec<String> {
    against_schema(value).iter().map(ToString::to_string).collect()
}

#[test]
fn sk28_an_extra_key_is_refused_in_every_object_with_the_nearest_name() {
    let mut objects = 0;
    let mut check = |path: &KeyPath, part: &Value| {
        let names = key_names(part);
        if names.is_empty() || part["additionalProperties"].is_object() {
            return;
        }
        objects += 1;
        let mut leaf = json!({ "zzqqvv": 1 });
        for required in part["required"].as_array().into_iter().flatten() {
            let required = required.as_str().unwrap();
            leaf[required] = least(&part["properties"][required]);
        }
        let found = faults(&document(path, leaf.clone()));
        assert_eq!(found, [format!("{}: unknown key", path.key("zzqqvv"))]);
        for name in names {
            let misspelt = format!("{name}q");
            leaf.as_object_mut().unwrap().retain(|key, _| key.as_str() != "zzqqvv" && !key.ends_with('q'));
            leaf[&misspelt] = json!(1);
            let found = faults(&document(path, leaf.clone()));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(&format!("{}: unknown key, did you mean `", path.key(&misspelt))), "{found:?}");
        }
    };
    check(&KeyPath::default(), &schema());
    for_each_key(&mut |path, part| check(path, part));
    assert!(objects > 60, "{objects}");
}

#[test]
fn sk29_a_value_of_another_type_is_refused_at_every_key() {
    let mut keys = 0;
    for_each_key(&mut |path, part| {
        let path = &concrete(path);
        let wrong: Vec<Value> = match (part["type"].as_str(), part.get("enum"), part.get("anyOf")) {
            (_, Some(_), _) => vec![json!("no-such-word"), json!(3), json!({}), json!(null)],
            (_, _, Some(_)) => vec![json!(3), json!([]), json!(null)],
            (Some("string"), ..) => vec![json!(3), json!(true), json!({}), json!(null)],
            (Some("integer"), ..) => vec![json!("3"), json!(1.5), json!(true), json!(null)],
            (Some("number"), ..) => vec![json!("3"), json!([]), json!(null)],
            (Some("boolean"), ..) => vec![json!("true"), json!(1), json!(null)],
            (Some("array"), ..) => vec![json!({}), json!("x"), json!(null)],
            (Some("object"), ..) => vec![json!([]), json!("x"), json!(null)],
            _ => return,
        };
        keys += 1;
        for value in wrong {
            // Where a form of the parent accepts the same type, the fault is another; there is always one.
            let found = faults(&document(path, value.clone()));
            assert!(!found.is_empty(), "{path}: {value} is accepted");
            assert!(found.iter().all(|text| text.starts_with(&path.to_string())), "{path}: {value}: {found:?}");
        }
    });
    assert!(keys > 400, "{keys}");
}

#[test]
fn sk30_a_number_beyond_its_range_is_refused_at_every_key() {
    let mut ranges = 0;
    for_each_key(&mut |path, part| {
        let path = &concrete(path);
        let whole = part["type"] == "integer";
        let step = if whole { 1.0 } else { 0.01 };
        for (limit, sign, word) in [("minimum", -1.0, "at least"), ("maximum", 1.0, "at most")] {
            let Some(edge) = part[limit].as_f64() else {
                continue;
            };
            ranges += 1;
            let number = |value: f64| if whole { json!(value as i64) } else { json!(value) };
            assert_eq!(faults(&document(path, number(edge))), Vec::<String>::new(), "{path}");
            let found = faults(&document(path, number(edge + sign * step)));
            assert!(found.len() == 1 && found[0].contains(word), "{path}: {found:?}");
        }
    });
    assert!(ranges > 80, "{ranges}");
}

/// Keys of maps get a name.
fn concrete(path: &KeyPath) -> KeyPath {
    KeyPath(
        path.0.iter().map(|step| if *step == Step::Key("*".to_owned()) { Step::Key("name".to_owned()) } else { step.clone() }).collect(),
    )
}

const CANARY: &str = "canary4711";

#[test]
fn no_message_ever_carries_a_value() {
    for_each_key(&mut |path, _| {
        let path = concrete(path);
        for value in [json!(CANARY), json!([CANARY]), json!({ "k": CANARY }), json!([[{ "k": CANARY }]])] {
            let home = Home::with(document(&path, value).to_string());
            match home.load() {
                Err(error) => assert!(!error.to_string().contains(CANARY), "{path}: {error}"),
                Ok(loaded) => {
                    let blockers = format!("{:?}{:?}", loaded.start_blockers(), loaded.warnings);
                    assert!(!blockers.contains(CANARY), "{path}: {blockers}");
                    let secret = part(&schema(), &path).is_some_and(|part| flag(part, "x-secret"));
                    assert!(!secret || !loaded.show().to_string().contains(CANARY), "{path}");
                }
            }
        }
    });
}

#[test]
fn a_damaged_text_never_shows_its_secret() {
    let text = format!(
        "{{ gateway: {{ mode: 'local', auth: {{ mode: \"token\", token: 'skg_{CANARY}0123456789' }} }}, exec: {{ security: 'full' }} }}"
    );
    for at in 0..text.len() {
        let cut = text[..at].to_owned();
        let without = format!("{}{}", &text[..at], &text[at + 1..]);
        for damaged in [cut, without] {
            if let Err(error) = Home::with(&damaged).load() {
                assert!(!error.to_string().contains(CANARY), "{damaged}: {error}");
            }
        }
    }
}
