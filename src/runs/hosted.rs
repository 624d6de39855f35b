//! Which processes host the runs at work, for whoever wants to know what they use.

use std::path::Path;

use super::live::Host;
use super::supervisor::Supervisor;
use crate::journal::reader::Reader;
use crate::machine::sampler::Hosted;
use crate::protocol::event::agent::{AgentEvent, Lifecycle};

impl Supervisor {
    /// The runs at work and their host processes.
    #[must_use]
    pub fn hosted(&self) -> Vec<Hosted> {
        let lives = self.lives();
        let hosted = lives.values().filter(|live| live.ended().is_none()).filter_map(|live| {
            let (host, record) = (live.host()?, &live.record);
            Some(Hosted {
                file_id: record.file_id.clone(),
                run_id: record.run_id.clone(),
                session_key: record.session_key.clone(),
                agent_id: record.agent_id.clone(),
                pid: host.pid,
                start_ticks: host.start_ticks,
            })
        });
        hosted.collect()
    }
}

/// The process that the first line of a journal names.
pub(super) fn host_in(journal: &Path) -> Option<Host> {
    let first = Reader::open(journal).ok()?.read_after(1).ok()?.into_iter().next()?;
    let event: AgentEvent = serde_json::from_slice(&first.bytes).ok()?;
    match serde_json::from_value(event.data).ok()? {
        Lifecycle::Start { host, .. } => Some(Host { pid: host.pid, start_ticks: Some(host.start_ticks) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::proc::this_process;
    use crate::journal::line::Template;
    use crate::protocol::event::agent::Stream;

    #[test]
    fn the_host_of_a_run_stands_in_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (host, template) = (this_process(1), Template::new("r".into(), "s".into()));
        let start = serde_json::to_value(Lifecycle::Start { started_at: 1, host: host.clone() }).unwrap();
        let mut text = template.event(1, Stream::Lifecycle, 1, start).unwrap();
        text.extend(template.event(2, Stream::Tool, 1, serde_json::json!({})).unwrap());
        std::fs::write(&path, &text).unwrap();
        assert_eq!(host_in(&path), Some(Host { pid: host.pid, start_ticks: Some(host.start_ticks) }));
        std::fs::write(&path, b"{\"half").unwrap();
        assert_eq!(host_in(&path), None);
        assert_eq!(host_in(&dir.path().join("none")), None);
    }
}
