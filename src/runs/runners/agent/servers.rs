//! The MCP servers of an agent's run: started in the run's folder, environment and isolation, each with its own secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::shell::around;
use crate::agent::mcp::{Mcp, Server, Starter};
use crate::agent::spec::AgentSpec;
use crate::config::secret::Secret;
use crate::exec::program::{self, Program, Talking, find};
use crate::protocol::event::agent::{Lifecycle, Stream};
use crate::runs::control::RunSpec;
use crate::runs::launcher::this_program;
use crate::runs::sink::RunSink;
use crate::runs::stop::Stop;

/// Starts the servers and asks them for their tools.
pub(super) async fn begin(servers: Vec<Server>, run: &RunSpec, spec: &AgentSpec, out: &RunSink, stop: &Stop) -> Mcp {
    if servers.is_empty() {
        return Mcp::default();
    }
    let starter: Arc<dyn Starter> = Arc::new(Here { run: run.clone(), out: out.clone() });
    Mcp::begin(servers, &spec.tools.rules(), &starter, stop.token()).await
}

/// The run's place.
struct Here {
    run: RunSpec,
    out: RunSink,
}

impl Starter for Here {
    fn start(&self, words: &[String], env: &BTreeMap<String, Secret<String>>, cwd: Option<&PathBuf>) -> Result<Talking, String> {
        let mut all = self.run.env.clone();
        all.extend(env.iter().map(|(name, value)| (name.clone(), value.expose().clone())));
        let Some((name, arguments)) = words.split_first() else { return Err("its command is empty".to_owned()) };
        let path = find(name, all.get("PATH").map(OsString::from).as_deref()).ok_or_else(|| format!("there is no program {name}"))?;
        let words = [OsString::from(path)].into_iter().chain(arguments.iter().map(OsString::from)).collect();
        let (wrapped, oom_score_adj) = around(&self.run, &all).map_err(|failed| failed.to_string())?;
        let own = this_program().map_err(|failed| failed.to_string())?;
        let cwd = cwd.cloned().unwrap_or_else(|| self.run.cwd.clone());
        let program = Program { words, cwd, env: all, wrapped, tied_by: Some(own), oom_score_adj };
        program::start(&program).map_err(|failed| failed.to_string())
    }

    fn warn(&self, text: String) {
        // A line that cannot be written is lost; so is more than that then.
        let _ = self.out.emit(Stream::Lifecycle, &Lifecycle::Warning { text });
    }
}
