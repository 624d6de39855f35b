//! Of configurations, and what is made of them for one turn.

use super::*;
use crate::config::layers::{FlagLayer, Sources};
use crate::config::load::load;
use crate::protocol::isolation::Isolation;
use crate::protocol::run::RunStatus;
use crate::runs::brief::ProgramSession;
use crate::runs::spec::Attached;
use serde_json::{Value, json};

/// A state directory whose user's home is a directory of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn loaded(&self, config: &Value) -> Loaded {
        std::fs::create_dir_all(self.0.path().join("state")).unwrap();
        std::fs::write(self.0.path().join("state/skykoi.json"), config.to_string()).unwrap();
        let home = self.0.path().to_string_lossy().into_owned();
        let env = BTreeMap::from([("HOME".to_owned(), home)]);
        load(&Sources { flags: FlagLayer::from(self.0.path().join("state")), env, ..Sources::default() }).unwrap()
    }

    fn file(&self, name: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "{}").unwrap();
    }
}

fn run() -> RunRecord {
    RunRecord {
        file_id: "f".into(),
        run_id: "r".into(),
        principal: "p".into(),
        session_key: "agent:main:main".into(),
        agent_id: "main".into(),
        runner: "codex".into(),
        status: RunStatus::Queued,
        title: String::new(),
        spec: String::new(),
        accepted_at: 0,
        started_at: None,
        outcome: None,
        head: 0,
        queue: None,
        merged_into: None,
    }
}

fn work() -> Work {
    Work {
        message: "hello".into(),
        cwd: "/w".into(),
        shell: "/bin/sh".into(),
        timeout_ms: 1,
        refusal: None,
        attachments: Vec::new(),
        exec: crate::exec::policy::rule::Wish::default(),
        extra_system_prompt: None,
        thinking: None,
        compact: None,
        isolation: Isolation::default(),
        env: BTreeMap::new(),
        tell: None,
        nested: false,
    }
}

fn told(place: &Place, config: Value, kind: Kind, work: &Work, recalled: Recalled) -> Result<ProgramSpec, String> {
    task(&place.loaded(&config), kind, &run(), work, recalled, Approvals::Ask).map(|task| task.spec)
}

#[test]
fn a_program_gets_the_variables_that_are_named_and_a_place_for_its_state() {
    let place = Place::new();
    let config = json!({
        "env": { "OWN_KEY": "canary-1" },
        "runners": {
            "codex": { "command": ["/opt/codex", "-c", "x=1"], "env": { "A": "canary-2" }, "passthrough": ["OWN_KEY", "NOT_SET_ANYWHERE"], "sandbox": "read-only", "silenceSeconds": 7 },
            "acp": { "command": "x", "home": "~/acp", "mode": "ask", "auth": "key" },
        },
    });
    let codex = told(&place, config.clone(), Kind::Codex, &work(), Recalled::default()).unwrap();
    let home = place.0.path().join("state/runners/codex");
    assert_eq!(codex.command, ["/opt/codex", "-c", "x=1"]);
    assert_eq!(
        codex.env,
        BTreeMap::from([
            ("A".to_owned(), "canary-2".to_owned()),
            ("CODEX_HOME".to_owned(), home.to_string_lossy().into_owned()),
            ("OWN_KEY".to_owned(), "canary-1".to_owned()),
        ])
    );
    assert!(home.is_dir());
    assert_eq!((codex.sandbox.as_deref(), codex.silence_ms, codex.prompt.as_deref()), (Some("read-only"), 7000, Some("hello")));
    let acp = told(&place, config.clone(), Kind::Acp, &work(), Recalled::default()).unwrap();
    assert_eq!(acp.env["HOME"], place.0.path().join("acp").to_string_lossy());
    assert_eq!((acp.mode.as_deref(), acp.auth.as_deref(), acp.sandbox), (Some("ask"), Some("key"), None));
    let pi = told(&place, config.clone(), Kind::Pi, &work(), Recalled::default()).unwrap();
    assert_eq!(pi.session_dir.unwrap(), place.0.path().join("state/runners/pi/sessions"));
    let claude = told(
        &place,
        json!({ "runners": { "claude": { "env": { "DISABLE_TELEMETRY": "0" } } } }),
        Kind::Claude,
        &work(),
        Recalled::default(),
    );
    assert_eq!(claude.unwrap().env["DISABLE_TELEMETRY"], "0", "what is configured wins");
}

#[test]
fn a_login_of_the_user_is_used_as_long_as_there_is_no_other() {
    let place = Place::new();
    place.file(".codex/auth.json");
    let of = |config: Value| configured(&place.loaded(&config), Kind::Codex);
    let users = of(json!({}));
    assert_eq!((users.home.as_deref(), users.is_users), (Some(&*place.0.path().join(".codex")), true));
    assert!(!users.variables(Kind::Codex).contains_key("CODEX_HOME"), "it finds it by itself");
    assert_eq!(
        (users.authenticated(Kind::Codex), of(json!({ "runners": { "codex": { "home": "x" } } })).authenticated(Kind::Codex)),
        (Some(true), None)
    );
    place.file("state/runners/codex/auth.json");
    assert_eq!(of(json!({})).home.unwrap(), place.0.path().join("state/runners/codex"));
    assert_eq!(configured(&place.loaded(&json!({})), Kind::Acp).home, None);
    let key = json!({ "runners": { "claude": { "env": { "ANTHROPIC_API_KEY": "k" } } } });
    assert_eq!(configured(&place.loaded(&key), Kind::Claude).authenticated(Kind::Claude), Some(true));
}

#[test]
fn the_model_is_the_sessions_the_agents_or_the_runners() {
    let place = Place::new();
    let config = |agents: &str| json!({ "agents": { "defaults": { "model": agents } }, "runners": { "codex": { "model": "own" } } });
    let session = |provider: Option<&str>, name: &str| Recalled {
        model: Some((provider.map(str::to_owned), name.to_owned())),
        ..Recalled::default()
    };
    let of = |agents: &str, recalled| told(&place, config(agents), Kind::Codex, &work(), recalled).map(|spec| spec.model.unwrap());
    assert_eq!(of("openai/gpt-5", Recalled::default()).unwrap(), "gpt-5");
    assert_eq!(of("anthropic/x", Recalled::default()).unwrap(), "own");
    assert_eq!(of("openai/gpt-5", session(Some("openai"), "gpt-6")).unwrap(), "gpt-6");
    assert_eq!(of("openai/gpt-5", session(None, "gpt-7")).unwrap(), "gpt-7");
    let wrong = of("openai/gpt-5", session(Some("anthropic"), "x")).unwrap_err();
    assert!(wrong.contains("anthropic/x") && wrong.contains("/model"), "{wrong}");
}

#[test]
fn the_level_of_thinking_is_the_requests_the_sessions_or_the_configured_one() {
    let place = Place::new();
    let config = json!({ "agents": { "defaults": { "thinkingDefault": "high" } } });
    let of = |request: Option<&str>, session: Option<&str>| {
        let work = Work { thinking: request.map(str::to_owned), ..work() };
        let recalled = Recalled { thinking: session.map(str::to_owned), ..Recalled::default() };
        told(&place, config.clone(), Kind::Pi, &work, recalled).unwrap().thinking.unwrap()
    };
    assert_eq!([of(Some("ultra"), Some("low")), of(None, Some("low")), of(None, None)], ["high", "low", "high"]);
    assert_eq!(told(&place, config, Kind::Acp, &work(), Recalled::default()).unwrap().thinking, None, "its words are its own");
}

#[test]
fn a_conversation_goes_on_in_its_own_folder_only() {
    let place = Place::new();
    let of = |cwd: Option<&str>| {
        let program = Some(ProgramSession { reference: "ref".into(), cwd: cwd.map(Into::into) });
        told(&place, json!({}), Kind::Claude, &work(), Recalled { program, ..Recalled::default() }).unwrap().session
    };
    assert_eq!(of(Some("/w")).as_deref(), Some("ref"));
    assert_eq!((of(Some("/elsewhere")), of(None)), (None, None));
}

#[test]
fn files_are_named_in_the_prompt_and_pictures_go_beside_it() {
    let place = Place::new();
    place.file("a.png");
    let file = |name: &str, mime_type: &str| Attached {
        path: place.0.path().join(name),
        name: name.into(),
        mime_type: mime_type.into(),
        bytes: 2,
    };
    let mut work = work();
    work.attachments = vec![file("a.png", "image/png"), file("b.txt", "text/plain"), file("gone.png", "image/png")];
    let spec = told(&place, json!({}), Kind::Claude, &work, Recalled::default()).unwrap();
    let prompt = spec.prompt.unwrap();
    assert!(prompt.starts_with("hello\n\n[attached file: a.png (image/png), at ") && prompt.contains("b.txt"), "{prompt}");
    let notes = vec!["a job has ended".to_owned()];
    let noted = told(&place, json!({}), Kind::Claude, &work, Recalled { notes, ..Recalled::default() }).unwrap().prompt.unwrap();
    assert!(noted.starts_with("[What the system noted since your last turn:\n- a job has ended]\n\nhello"), "{noted}");
    assert_eq!((spec.pictures.len(), spec.pictures[0].data.as_str()), (1, "e30="));
}

#[test]
fn what_cannot_be_done_says_what_can() {
    let place = Place::new();
    let compact = Work { compact: Some(String::new()), ..work() };
    assert!(told(&place, json!({}), Kind::Pi, &compact, Recalled::default()).unwrap_err().contains("/new"));
    let stolen = Work { env: BTreeMap::from([("ANTHROPIC_BASE_URL".into(), "http://evil".into())]), ..work() };
    let refused = told(&place, json!({}), Kind::Claude, &stolen, Recalled::default()).unwrap_err();
    assert!(refused.contains("ANTHROPIC_BASE_URL") && !refused.contains("evil"), "{refused}");
    place.file("in-the-way");
    let blocked = json!({ "runners": { "codex": { "home": "~/in-the-way/x" } } });
    assert!(told(&place, blocked, Kind::Codex, &work(), Recalled::default()).unwrap_err().contains("cannot be made"));
}

#[test]
fn claude_asks_amazon_where_the_model_is_there_and_the_gateway_has_the_credentials() {
    use crate::model::endpoint::{Api, Auth};
    let place = Place::new();
    let bedrock = "amazon-bedrock/eu.x-v1:0";
    let config = |model: &str, provider: Value| {
        let mut claude = json!({ "credentials": "gateway", "model": "own", "env": { "A": "b" } });
        claude["provider"] = provider;
        let providers = json!({ "anthropic": { "baseUrl": "http://a", "apiKey": "k" }, "own": { "baseUrl": "http://o", "apiKey": "k", "api": "anthropic-messages" } });
        json!({ "agents": { "defaults": { "model": model } }, "models": { "providers": providers }, "runners": { "claude": claude } })
    };
    let of = |config: Value, recalled| told(&place, config, Kind::Claude, &work(), recalled).unwrap();
    let chosen = |provider: &str, name: &str| Recalled { model: Some((Some(provider.to_owned()), name.to_owned())), ..Recalled::default() };
    for (model, provider, recalled, asked, named) in [
        (bedrock, Value::Null, Recalled::default(), "amazon-bedrock", "eu.x-v1:0"),
        ("anthropic/c", Value::Null, Recalled::default(), "anthropic", "c"),
        ("anthropic/c", Value::Null, chosen("amazon-bedrock", "eu.y"), "amazon-bedrock", "eu.y"),
        (bedrock, Value::Null, chosen("anthropic", "c"), "anthropic", "c"),
        ("anthropic/c", json!("amazon-bedrock"), Recalled::default(), "amazon-bedrock", "own"),
        ("own/m", json!("own"), Recalled::default(), "own", "m"),
    ] {
        let mut config = config(model, provider);
        if config["runners"]["claude"]["provider"].is_null() {
            config["runners"]["claude"].as_object_mut().unwrap().remove("provider");
        }
        let spec = of(config, recalled);
        let endpoint = spec.provider.unwrap();
        assert_eq!((endpoint.provider.as_str(), spec.model.as_deref()), (asked, Some(named)), "{model}");
        assert_eq!(endpoint.api == Api::BedrockConverseStream, matches!(endpoint.auth, Auth::Aws(_)));
    }
    // Asked by itself it has its own way there, which nobody here knows.
    let mut native = config(bedrock, json!("own"));
    native["runners"]["claude"]["credentials"] = json!("native");
    let spec = of(native, Recalled::default());
    assert_eq!((spec.provider, spec.model.as_deref()), (None, Some("own")));
}
