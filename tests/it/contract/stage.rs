//! One runner under the contract: a real gateway, and behind it a shell, a scripted model or a program that speaks one of the languages.

use serde_json::{Value, json};

use crate::fake_model::{Answer, FakeModel, Fault};
use crate::harness::gateway::merge;
use crate::harness::{Client, Gateway};

/// A gateway whose agent works with one runner.
pub struct Stage {
    pub runner: &'static str,
    pub gateway: Gateway,
    /// The model of the runner `agent`.
    pub model: Option<FakeModel>,
}

/// What a runner is to do.
#[derive(Clone, Copy)]
pub enum Scene<'a> {
    /// Run this script, once, and say something.
    Script(&'a str),
    /// Say nothing, for ever.
    Silence,
    /// Die in the middle.
    Crash,
}

impl Stage {
    /// A stage for `runner`, with `patch` merged into the configuration.
    pub async fn new(runner: &'static str, patch: &Value) -> Self {
        let mut config = json!({
            "agents": { "defaults": { "runner": runner, "skipBootstrap": true, "graceMs": 1000 } },
            "exec": { "security": "full", "ask": "off" },
        });
        let mut model = None;
        match runner {
            "shell" => {}
            "agent" => {
                let fake = FakeModel::start([]).await.unwrap();
                config["agents"]["defaults"]["model"] = json!("fake/mind");
                config["models"]["providers"]["fake"] = json!({
                    "baseUrl": fake.url(), "apiKey": "the-key", "api": "anthropic-messages",
                    "models": [{ "id": "mind", "name": "Mind", "contextWindow": 100_000, "maxTokens": 4000 }],
                });
                model = Some(fake);
            }
            program => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/program.py");
                config["runners"][program] = json!({ "command": ["python3", script, program] });
            }
        }
        merge(&mut config, patch);
        Self { runner, gateway: Gateway::with(&config), model }
    }

    /// The message with which the runner does this.
    pub fn message(&self, scene: Scene<'_>) -> String {
        if let Some(model) = &self.model {
            match scene {
                Scene::Script(script) => {
                    model.push([Answer::tool("call", "exec", json!({ "command": script })), Answer::text("It is done.")]);
                }
                Scene::Silence => model.push([Answer::text("I was about to").faulty(4, Fault::Stall)]),
                // More often than anybody asks again.
                Scene::Crash => model.push(vec![Answer::text("I was about to say").faulty(4, Fault::Cut)]),
            }
        }
        let word = match (self.runner, scene) {
            (_, Scene::Script(script)) => script,
            ("shell", Scene::Silence) => "sleep 1000",
            ("shell", Scene::Crash) => "kill -9 $$",
            (_, Scene::Silence) => "silence",
            (_, Scene::Crash) => "crash",
        };
        word.to_owned()
    }

    /// Starts a run; gives the request's id and the run's.
    pub async fn start(&self, client: &mut Client, scene: Scene<'_>, more: &Value) -> (String, String) {
        let mut params = json!({ "message": self.message(scene) });
        merge(&mut params, more);
        let (id, ack) = client.agent(params).await;
        assert_eq!(ack["status"], "accepted", "{ack}");
        (id, ack["runId"].as_str().unwrap().to_owned())
    }

    /// Runs something to its end; gives the final frame.
    pub async fn play(&self, client: &mut Client, scene: Scene<'_>) -> Value {
        let (id, _) = self.start(client, scene, &json!({})).await;
        client.response(&id).await
    }

    /// Whether the script of a run has left this file.
    pub fn left(&self, file: &str) -> bool {
        self.gateway.state_dir().join("work").join(file).exists()
    }

    /// Leaves a file for the script of a run.
    pub fn leave(&self, file: &str) {
        std::fs::write(self.gateway.state_dir().join("work").join(file), "").unwrap();
    }

    /// No process of a run is left.
    pub async fn is_clean(&self) {
        self.gateway.is_clean().await;
    }
}
