//! The way from the first word to the prompt: who we are, the session, its mode and its model.

use serde_json::{Value, json};

use super::{Acp, Waiting};
use crate::programs::event::End;
use crate::programs::talk::Turn;

impl Acp {
    /// The program has said what it can.
    pub(super) fn welcomed(&mut self, result: Value, turn: &mut Turn) {
        let version = result.get("protocolVersion").and_then(Value::as_u64).unwrap_or(1);
        if version != 1 {
            return turn
                .tale
                .finish(End::failed(format!("the program speaks version {version} of the protocol, and this gateway version 1"), None));
        }
        let can = |path: &str| result.pointer(path).is_some_and(|value| !value.is_null() && value != &Value::Bool(false));
        self.can = (can("/agentCapabilities/sessionCapabilities/resume"), can("/agentCapabilities/loadSession"));
        self.sees = can("/agentCapabilities/promptCapabilities/image");
        match self.spec.auth.clone() {
            Some(method) => self.request(Waiting::Authenticate, "authenticate", json!({ "methodId": method }), turn),
            None => self.begin_session(turn),
        }
    }

    /// Takes the session up, without its history if that is possible, or begins one.
    pub(super) fn begin_session(&mut self, turn: &mut Turn) {
        let mut params = json!({ "cwd": self.cwd, "mcpServers": self.spec.ready.acp_servers() });
        let Some(session) = self.spec.session.clone() else {
            return self.request(Waiting::New, "session/new", params, turn);
        };
        if let Some(params) = params.as_object_mut() {
            params.insert("sessionId".to_owned(), json!(session));
        }
        self.session = session;
        match self.can {
            (true, _) => self.request(Waiting::Resume, "session/resume", params, turn),
            (_, true) => {
                self.replaying = true;
                self.request(Waiting::Load, "session/load", params, turn);
            }
            _ => {
                let why = "the program can take no session up";
                turn.tale.finish(End::failed(why, Some(crate::programs::event::Cause::SessionLost)));
            }
        }
    }

    /// The session stands: chooses mode and model, since what a program does by itself may ask nobody.
    pub(super) fn settled(&mut self, result: &Value, turn: &mut Turn) {
        // Some answer first and tell the history behind it.
        let late = std::mem::take(&mut self.replaying) && !self.retold;
        if let Some(session) = result.get("sessionId").and_then(Value::as_str) {
            session.clone_into(&mut self.session);
        }
        turn.tale.session(&self.session.clone());
        let wishes = [("mode", self.spec.mode.clone()), ("model", self.spec.model.clone()), ("thought_level", self.spec.thinking.clone())];
        for (category, wish) in wishes.into_iter().filter_map(|(category, wish)| Some((category, wish?))) {
            match self.choice(result, category, &wish) {
                Ok(Some(request)) => self.options.push(request),
                Ok(None) => turn.tale.warn(format!("the program has no choice of {category}; {wish} is not set"), false),
                Err(known) => {
                    let why = format!("the program has no {category} {wish}; it has {}", known.join(", "));
                    return turn.tale.finish(End::failed(why, None));
                }
            }
        }
        if self.options.is_empty() && self.spec.mode.is_some() {
            return turn.tale.finish(End::failed("the program has no modes, so the configured one cannot be set", None));
        }
        if let Some(mode) = result.pointer("/modes/currentModeId").filter(|_| late && self.options.is_empty()) {
            // It changes nothing, but is answered behind the history, so that none of that counts as an answer to the prompt.
            self.options.push(("session/set_mode", json!({ "sessionId": self.session, "modeId": mode })));
        }
        self.next_option(turn);
    }

    /// The request that chooses `wish`; nothing when there is nothing to choose.
    fn choice(&self, result: &Value, category: &str, wish: &str) -> Result<Option<(&'static str, Value)>, Vec<String>> {
        let strings = |list: Option<&Value>, key: &str| -> Vec<String> {
            let list = list.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|one| Some(one.get(key)?.as_str()?.to_owned())).collect()
        };
        let (known, request) = if let (true, Some(modes)) = (category == "mode", result.pointer("/modes/availableModes")) {
            let params = json!({ "sessionId": self.session, "modeId": wish });
            (strings(Some(modes), "id"), ("session/set_mode", params))
        } else {
            let options = result.get("configOptions").and_then(Value::as_array).into_iter().flatten();
            let of_category = |option: &&Value| option.get("category").and_then(Value::as_str) == Some(category);
            match ({ options }.find(of_category), result.pointer("/models/availableModels").filter(|_| category == "model")) {
                (Some(option), _) => {
                    let params = json!({ "sessionId": self.session, "configId": option.get("id"), "value": wish });
                    (strings(option.get("options"), "value"), ("session/set_config_option", params))
                }
                // As models were chosen before there were options; Gemini CLI still has it so.
                (None, Some(models)) => {
                    let params = json!({ "sessionId": self.session, "modelId": wish });
                    (strings(Some(models), "modelId"), ("session/set_model", params))
                }
                (None, None) => return Ok(None),
            }
        };
        if known.iter().any(|one| one == wish) { Ok(Some(request)) } else { Err(known) }
    }

    /// Sends the next choice, or the prompt when all are made.
    pub(super) fn next_option(&mut self, turn: &mut Turn) {
        if self.cancelled {
            return turn.tale.finish(End::cancelled());
        }
        if !self.options.is_empty() {
            let (method, params) = self.options.remove(0);
            return self.request(Waiting::Option, method, params, turn);
        }
        self.prompted = true;
        // There is no other place for it in the protocol.
        let system = self.spec.system.iter().filter(|_| self.spec.session.is_none());
        let texts = system.chain([&self.prompt]).map(|text| json!({ "type": "text", "text": text }));
        let pictures = self.spec.pictures.iter().filter(|_| self.sees);
        let pictures = pictures.map(|picture| json!({ "type": "image", "data": picture.data, "mimeType": picture.mime_type }));
        let params = json!({ "sessionId": self.session, "prompt": texts.chain(pictures).collect::<Vec<_>>() });
        self.request(Waiting::Prompt, "session/prompt", params, turn);
    }
}
