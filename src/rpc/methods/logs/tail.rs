//! `logs.tail`: the newest records of the daemon's log, and then what came since.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::logging::tail;
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;

/// The newest lines of the log, or those behind a cursor. Each line is a JSON record with `time`, `level`, `target`, `message` and, if there are any, `fields`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TailParams {
    /// The cursor of an earlier answer; absent = the newest lines.
    #[serde(default)]
    pub cursor: Option<u64>,
    /// Most lines; 500 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 5000))]
    pub limit: Option<usize>,
    /// Most bytes that are looked through; 250000 if absent.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_bytes: Option<u64>,
}

/// A part of the log.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TailReply {
    /// The file.
    pub file: String,
    /// Give this back to get what came since.
    pub cursor: u64,
    /// Size of the file in bytes.
    pub size: u64,
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// There are older lines that did not fit.
    pub truncated: bool,
    /// The cursor was of a file that is full and was put aside, or too much came since: these lines do not join on to what was read before.
    pub reset: bool,
}

/// `logs.tail`.
pub struct Tail;

impl Method for Tail {
    const NAME: &'static str = "logs.tail";
    const SCOPE: Scope = Scope::Read;
    type Params = TailParams;
    type Output = TailReply;

    async fn call(cx: Call, params: TailParams) -> Result<TailReply, RpcError> {
        let loaded = &cx.gateway.loaded();
        let configured = || loaded.config.logging.file.as_ref().map_or_else(|| loaded.paths.log(), PathBuf::from);
        let path = cx.gateway.log.path().unwrap_or_else(configured);
        let file = path.display().to_string();
        let (limit, max_bytes) = (params.limit.unwrap_or(500), params.max_bytes.unwrap_or(250_000));
        let slice = tokio::task::spawn_blocking(move || tail::read(&path, params.cursor, limit, max_bytes))
            .await
            .map_err(|error| RpcError::unavailable("the log could not be read", error))?
            .map_err(|error| RpcError::unavailable(format!("the log {file} could not be read"), error))?;
        let tail::Slice { cursor, size, lines, truncated, reset } = slice;
        Ok(TailReply { file, cursor, size, lines, truncated, reset })
    }
}
