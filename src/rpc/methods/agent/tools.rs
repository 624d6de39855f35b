//! Who is told of a run's tools: the connection that started it, if it understands such events, as far as the verbosity goes.

use std::sync::Arc;

use crate::gateway::Gateway;
use crate::protocol::event::agent::ToolDetail;
use crate::protocol::ids::SessionKey;
use crate::rpc::call::{Call, Outgoing};
use crate::runs::log::RunLog;

/// Has this connection told of the tools of a run that it has started. To be called before the run can begin. `verbosity` is the run's own, if it has one.
pub async fn tell(cx: &Call, log: &Arc<RunLog>, session: &SessionKey, verbosity: Option<&str>) {
    if !cx.caller.tool_events {
        return;
    }
    let detail = detail(&cx.gateway, session, verbosity).await;
    if detail != ToolDetail::None {
        // A connection that is gone needs nothing.
        let _ = cx.outlet.push(Outgoing::Started(Arc::clone(log), detail)).await;
    }
}

/// The run's own verbosity, else the session's, else the configured one, else off.
async fn detail(gateway: &Gateway, session: &SessionKey, verbosity: Option<&str>) -> ToolDetail {
    if let Some(word) = verbosity {
        return ToolDetail::of_verbosity(word);
    }
    // A store that cannot be read has said so elsewhere; the events are only told less of.
    let entry = gateway.store.session(session).await.ok().flatten();
    let configured = || gateway.loaded().config.agents.defaults.verbose_default.map(|verbose| verbose.name());
    let word = entry.and_then(|session| session.entry.verbose_level).or_else(configured);
    word.as_deref().map_or(ToolDetail::None, ToolDetail::of_verbosity)
}
