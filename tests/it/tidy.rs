//! The rules of the house that a compiler does not check, as ordinary tests over the source tree.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use skykoi_gateway::config::schema::{derived, for_each_key_of};
use skykoi_gateway::protocol::codes::DETAIL_CODES;
use skykoi_gateway::protocol::event::EVENTS;
use skykoi_gateway::rpc::methods::METHODS;
use skykoi_gateway::rpc::schema::document;

/// The floors, from the ground up. A module imports from its own floor and from those below.
const FLOORS: [(u32, &[&str]); 11] = [
    (0, &["protocol", "clock", "tasks", "failpoint", "free", "memory"]),
    (1, &["config"]),
    (2, &["store", "events", "logging"]),
    (3, &["agent", "approvals", "audit", "exec", "auth", "journal", "machine", "model", "programs", "transcript", "workspace"]),
    (4, &["runs"]),
    (5, &["sessions"]),
    (6, &["chat"]),
    (7, &["gateway"]),
    (8, &["rpc"]),
    (9, &["transport"]),
    (10, &["cli", "daemon", "shim"]),
];

const MAX_LINES: usize = 400;

pub struct Source {
    /// From the root of the repository, such as `src/runs/live.rs`.
    path: String,
    pub text: String,
}

impl Source {
    /// The text without its unit tests, which stand at the end.
    fn product(&self) -> &str {
        if self.path.ends_with("/tests.rs") {
            return "";
        }
        let end = self.text.find("#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        &self.text[..end]
    }

    /// `runs` for `src/runs.rs` and everything in `src/runs/`.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap();
        inside.split(['/', '.']).next().unwrap()
    }

    /// Lines of code with their numbers, comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.product().lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(n, line)| (n + 1, line))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir` of the repository that is text.
fn files(dir: &str) -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && name != ".git" && path != root().join("target") && name != "node_modules" {
                walk(&path, found);
            } else if kind.is_file() && name != ".git" {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(dir), &mut found);
    found.sort();
    let sources = found.into_iter().filter_map(|path| {
        let text = fs::read_to_string(&path).ok()?;
        Some(Source { path: path.strip_prefix(root()).unwrap().to_str()?.to_owned(), text })
    });
    sources.collect()
}

pub fn rust() -> Vec<Source> {
    let dirs = ["src", "tests", "benches", "examples"];
    let sources: Vec<Source> = dirs.into_iter().flat_map(files).filter(|source| source.path.ends_with(".rs")).collect();
    assert!(sources.len() > 100, "{}", sources.len());
    sources
}

fn product() -> Vec<Source> {
    rust().into_iter().filter(|source| source.path.starts_with("src/")).collect()
}

fn refuse(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}\n{}", broken.join("\n"));
}

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

/// The modules of ours that a line names.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

#[test]
fn imports_go_down_the_floors_only() {
    let mut broken = Vec::new();
    for source in product().iter().filter(|source| !matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs")) {
        let own = source.module();
        let Some(height) = floor(own) else {
            broken.push(format!("{}: `{own}` stands on no floor", source.path));
            continue;
        };
        for (n, line) in source.code() {
            let up = imports(line).filter(|module| *module != own && floor(module).is_none_or(|other| other > height));
            broken.extend(up.map(|module| format!("{}:{n}: {own} (F{height}) imports {module}", source.path)));
        }
    }
    refuse("a module imports only from its own floor and those below", &broken);
}

#[test]
fn the_protocol_depends_on_nothing_else_of_ours() {
    let protocol = product().into_iter().filter(|source| source.module() == "protocol");
    let broken: Vec<String> = protocol
        .flat_map(|source| {
            let outside = |line: &str| imports(line).any(|module| module != "protocol");
            source.code().filter(|(_, line)| outside(line)).map(|(n, line)| format!("{}:{n}: {line}", source.path)).collect::<Vec<_>>()
        })
        .collect();
    refuse("protocol can be taken out of the program as it stands", &broken);
}

#[test]
fn files_are_short_and_say_first_what_they_are() {
    let mut broken = Vec::new();
    for source in rust() {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            broken.push(format!("{}: {lines} lines", source.path));
        }
        if !source.text.starts_with("//! ") {
            broken.push(format!("{}: no header", source.path));
        }
    }
    refuse("a file has at most 400 lines and begins with `//!`", &broken);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not hold them.
    let words = [["TO", "DO"], ["FIX", "ME"], ["to", "do!("], ["unimple", "mented!("]].map(|halves| halves.concat());
    let broken: Vec<String> = rust()
        .iter()
        .flat_map(|source| {
            let left = |line: &str| words.iter().any(|word| line.contains(word.as_str()));
            source
                .text
                .lines()
                .enumerate()
                .filter(move |(_, line)| left(line))
                .map(|(n, line)| format!("{}:{}: {line}", source.path, n + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    refuse("what is to be done is an issue, not a comment", &broken);
}

#[test]
fn tasks_are_spawned_in_one_place_and_every_queue_is_bounded() {
    let banned = ["tokio::spawn(", "task::spawn(", "unbounded_channel", "thread::spawn(", "Handle::current().spawn"];
    let broken: Vec<String> = product()
        .iter()
        .filter(|source| source.path != "src/tasks.rs")
        .flat_map(|source| {
            let bad = |line: &str| banned.iter().any(|name| line.contains(name));
            source.code().filter(|(_, line)| bad(line)).map(|(n, line)| format!("{}:{n}: {line}", source.path)).collect::<Vec<_>>()
        })
        .collect();
    refuse("use Tasks::spawn and bounded channels", &broken);
}

#[test]
fn one_call_is_unsafe_and_no_other() {
    let found: Vec<String> = rust()
        .iter()
        .flat_map(|source| source.code().map(|(number, line)| (source.path.clone(), number, line.to_owned())).collect::<Vec<_>>())
        .filter(|(_, _, line)| line.contains(concat!("uns", "afe {")) || line.contains(concat!("uns", "afe fn")))
        .map(|(path, number, _)| format!("{path}:{number}"))
        .collect();
    assert!(matches!(found.as_slice(), [one] if one.starts_with("src/memory.rs:")), "{found:?}");
}

#[test]
fn sql_stays_in_the_store() {
    let broken: Vec<String> = product()
        .iter()
        .filter(|source| source.module() != "store")
        .flat_map(|source| {
            source.code().filter(|(_, line)| line.contains("rusqlite")).map(|(n, _)| format!("{}:{n}", source.path)).collect::<Vec<_>>()
        })
        .collect();
    refuse("only the store knows SQL", &broken);
}

#[test]
fn methods_are_unique_and_stand_by_resource() {
    let mut resources: Vec<&str> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for entry in METHODS {
        let resource = entry.name.split('.').next().unwrap();
        assert!(!names.contains(&entry.name), "{} stands twice", entry.name);
        assert!(resources.last() == Some(&resource) || !resources.contains(&resource), "{} stands apart from its resource", entry.name);
        names.push(entry.name);
        resources.push(resource);
    }
}

#[test]
fn every_method_and_event_is_described() {
    let document = document();
    let sections = document["x-methods"].as_object().unwrap().iter().chain(document["x-events"].as_object().unwrap());
    let broken: Vec<String> = sections
        .filter(|(_, row)| !row["description"].as_str().is_some_and(|text| text.ends_with('.')))
        .map(|(name, _)| name.clone())
        .collect();
    refuse("the doc comment of the parameters is the method's description", &broken);
}

#[test]
fn every_key_of_every_type_on_the_wire_is_described() {
    fn look(name: &str, part: &Value, broken: &mut Vec<String>) {
        for (key, field) in part["properties"].as_object().into_iter().flatten() {
            if field.get("description").is_none() && field.get("const").is_none() && field.get("$ref").is_none() {
                broken.push(format!("{name}.{key}"));
            }
        }
        for branch in part["oneOf"].as_array().into_iter().flatten() {
            look(name, branch, broken);
        }
    }
    let document = document();
    let mut broken = Vec::new();
    for (name, part) in document["$defs"].as_object().unwrap() {
        look(name, part, &mut broken);
    }
    broken.retain(|key| !key.starts_with("ResponseFrame."));
    refuse("every key has a doc comment", &broken);
}

#[test]
fn every_method_and_event_has_vectors_and_no_vectors_are_left_over() {
    let methods = METHODS.iter().map(|entry| entry.name).collect::<Vec<_>>();
    let events = EVENTS.iter().map(|event| event.name).collect::<Vec<_>>();
    for (dir, names) in [("tests/vectors/methods", methods), ("tests/vectors/events", events)] {
        let found = files(dir);
        if found.is_empty() {
            continue;
        }
        let have = |name: &str| found.iter().any(|file| file.path == format!("{dir}/{name}.json"));
        let missing: Vec<String> = names.iter().filter(|name| !have(name)).map(|name| format!("{dir}/{name}.json is missing")).collect();
        refuse("every method and event has vectors", &missing);
        let known = |path: &str| path == "connect" || names.contains(&path);
        let strange: Vec<String> = found
            .iter()
            .filter(|file| {
                !file.path.strip_prefix(dir).and_then(|path| path.trim_start_matches('/').strip_suffix(".json")).is_some_and(known)
            })
            .map(|file| file.path.clone())
            .collect();
        refuse("vectors belong to a method or an event", &strange);
    }
}

#[test]
fn every_config_key_is_described() {
    let mut broken = Vec::new();
    for_each_key_of(&derived(), &mut |path, part| {
        let path = path.to_string();
        let entry = path.ends_with("[0]") || path.ends_with("[\"*\"]");
        if !entry && part["description"].as_str().is_none_or(str::is_empty) {
            broken.push(path);
        }
    });
    refuse("every key has a doc comment", &broken);
}

#[test]
fn every_detail_code_stands_in_the_table_and_is_used() {
    let sources = product();
    // Whatever is written like a code in the modules that answer clients is one.
    let is_code = |word: &str| {
        word.contains('_') && word.split('_').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase()))
    };
    let of_others = ["SKYKOI_", "CARGO_", "AWS_", "ANTHROPIC_", "OPENAI_", "CLAUDE_"];
    let is_variable = |word: &str| of_others.iter().any(|prefix| word.starts_with(prefix));
    let answering = sources.iter().filter(|source| ["auth", "gateway", "rpc", "transport"].contains(&source.module()));
    let used: Vec<&str> = answering
        .flat_map(|source| source.code().flat_map(|(_, line)| line.split('"').skip(1).step_by(2)))
        .filter(|word| is_code(word) && !is_variable(word))
        .collect();
    assert!(used.len() > 20, "{used:?}");
    let unknown = used.iter().filter(|name| DETAIL_CODES.iter().all(|code| code.name != **name)).map(|name| (*name).to_owned());
    refuse("a detail code stands in protocol/codes.rs", &unknown.collect::<Vec<_>>());
    // Some are put together from the way of authentication, or chosen by a handler.
    let written =
        |name: &str| sources.iter().any(|source| source.module() != "protocol" && source.product().contains(&format!("\"{name}\"")));
    let formed = |name: &str| name.starts_with("AUTH_TOKEN_") || name.starts_with("AUTH_PASSWORD_");
    let idle = DETAIL_CODES.iter().filter(|code| !written(code.name) && !formed(code.name)).map(|code| code.name.to_owned());
    refuse("a detail code in the table is used", &idle.collect::<Vec<_>>());
}

#[test]
fn the_repository_names_no_registry_and_no_place_of_the_machine_it_was_made_on() {
    // Put together here, so that this file does not hold them. The lock file is written by cargo.
    let hosts =
        [["crates", ".io"], ["npmjs", ".org"], ["npmjs", ".com"], ["pypi", ".org"], ["pythonhosted", ".org"], ["proxy.golang", ".org"]];
    let words: Vec<String> = hosts.iter().map(|halves| halves.concat()).chain([root().display().to_string()]).collect();
    let broken: Vec<String> = files("")
        .iter()
        .filter(|file| file.path != "Cargo.lock")
        .flat_map(|file| {
            let bad = |line: &str| words.iter().any(|word| line.contains(word.as_str()));
            file.text
                .lines()
                .enumerate()
                .filter(|(_, line)| bad(line))
                .map(|(n, line)| format!("{}:{}: {line}", file.path, n + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    refuse("names of hosts and machines belong to those who build", &broken);
}

#[test]
fn the_test_of_imports_sees_what_it_must() {
    assert_eq!(imports("use crate::runs::live::{Ended};").collect::<Vec<_>>(), ["runs"]);
    assert_eq!(imports("fn f(a: crate::rpc::call::Call) -> crate::gateway::Gateway").collect::<Vec<_>>(), ["rpc", "gateway"]);
    assert_eq!(imports("use crate::{rpc, store};").collect::<Vec<_>>(), [""]);
    assert!(floor("").is_none(), "so that a group of imports, which is not looked into, is refused");
}
