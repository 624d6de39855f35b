//! Who is told of a run's tools: the connection that started it, if it understands such events, as far as the verbosity goes.

use std::sync::Arc;

use crate::protocol::event::agent::ToolDetail;
use crate::protocol::ids::SessionKey;
use crate::rpc::call::{Call, Outgoing};
use crate::runs::log::RunLog;

/// How much this connection is told of the tools of a run that it is about to start in `session`. `verbosity` is the run's own, if it has one; then the session's counts, then the configured one, else it is off. To be asked before the run is accepted: it may look into the store.
pub async fn detail(cx: &Call, session: &SessionKey, verbosity: Option<&str>) -> ToolDetail {
    if !cx.caller.tool_events {
        return ToolDetail::None;
    }
    if let Some(word) = verbosity {
        return ToolDetail::of_verbosity(word);
    }
    // A store that cannot be read says so elsewhere; the events are only told less of.
    let entry = cx.gateway.store.session(session).await.ok().flatten();
    let configured = || cx.gateway.loaded().config.agents.defaults.verbose_default.map(|verbose| verbose.name());
    let word = entry.and_then(|session| session.entry.verbose_level).or_else(configured);
    word.as_deref().map_or(ToolDetail::None, ToolDetail::of_verbosity)
}

/// Has the connection told of the tools of a run that it has started. To be called before the run can begin.
pub async fn tell(cx: &Call, log: &Arc<RunLog>, detail: ToolDetail) {
    if detail != ToolDetail::None {
        // A connection that is gone needs nothing.
        let _ = cx.outlet.push(Outgoing::Started(Arc::clone(log), detail)).await;
    }
}
