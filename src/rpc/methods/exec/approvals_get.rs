//! `exec.approvals.get`: the file of approvals, as it stands, without its secret.

use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::workspace::beneath::Dir;

/// Largest file that is read, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The file of exec approvals, as it stands on the disk. This version reads it for clients only: it asks nobody for approval.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetParams {}

/// The file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GetReply {
    /// Where it is, or would be.
    pub path: String,
    /// Whether it is there.
    pub exists: bool,
    /// SHA-256 of its text, hexadecimal; of nothing if it is not there.
    pub hash: String,
    /// What it says; `socket.token` is left out.
    pub file: Map<String, Value>,
}

/// `exec.approvals.get`.
pub struct ApprovalsGet;

impl Method for ApprovalsGet {
    const NAME: &'static str = "exec.approvals.get";
    const SCOPE: Scope = Scope::Admin;
    type Params = GetParams;
    type Output = GetReply;

    async fn call(cx: Call, _params: GetParams) -> Result<GetReply, RpcError> {
        let state = cx.gateway.loaded().paths.state_dir.clone();
        tokio::task::spawn_blocking(move || read(&state))
            .await
            .map_err(|error| RpcError::unavailable("the file could not be read", error))?
    }
}

fn read(state: &Path) -> Result<GetReply, RpcError> {
    let name = PathBuf::from("exec-approvals.json");
    let shown = state.join(&name).display().to_string();
    let found = Dir::open(state).and_then(|dir| dir.read(&name, MAX_BYTES));
    let found = found.map_err(|error| RpcError::unavailable(format!("{shown} could not be read: {error}"), &error))?;
    let (exists, text) = (found.is_some(), found.map(|(text, _)| text).unwrap_or_default());
    let hash = digest(&SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file: Map<String, Value> = if exists {
        serde_json::from_slice(&text).map_err(|error| {
            let at = format!("line {}, column {}", error.line(), error.column());
            RpcError::unavailable(format!("{shown} is not the JSON object it should be ({at}); mend it or move it away"), error)
        })?
    } else {
        Map::from_iter([("version".to_owned(), json!(1)), ("agents".to_owned(), json!({}))])
    };
    if let Some(Value::Object(socket)) = file.get_mut("socket") {
        socket.remove("token");
    }
    Ok(GetReply { path: shown, exists, hash, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_shown_without_its_token_and_a_missing_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exec-approvals.json");
        let none = read(dir.path()).unwrap();
        assert_eq!((none.exists, json!(none.file)), (false, json!({"version": 1, "agents": {}})));
        assert!(none.hash.starts_with("e3b0c442"), "{}", none.hash);
        std::fs::write(&path, r#"{"version":1,"socket":{"path":"/s","token":"secret"},"agents":{"*":{"security":"full"}}}"#).unwrap();
        let some = read(dir.path()).unwrap();
        assert_eq!(json!(some.file), json!({"version": 1, "socket": {"path": "/s"}, "agents": {"*": {"security": "full"}}}));
        assert!(some.exists && some.hash != none.hash);
    }

    #[test]
    fn a_file_that_says_nothing_sensible_is_an_error_that_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exec-approvals.json");
        for text in ["{\"version\":1,", "[]", ""] {
            std::fs::write(&path, text).unwrap();
            let error = read(dir.path()).unwrap_err();
            assert!(error.message.contains("(line ") && error.message.contains("/exec-approvals.json"), "{}", error.message);
        }
    }
}
