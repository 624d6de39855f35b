//! Where a runner's events go: into the journal, and the news of its growth to whoever follows. Its questions, and what users say to it, go the same way.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use super::asks::Asks;
use super::inbox::Inbox;
use crate::clock::now_ms;
use crate::exec::output::Sink;
use crate::journal::line::Chunk;
use crate::journal::writer::Writer;
use crate::protocol::event::agent::{Source, Stream};

/// The journal of the run that this shim hosts. Clones are the same journal.
#[derive(Clone, Debug)]
pub struct RunSink {
    writer: Arc<Mutex<Writer>>,
    len: watch::Sender<u64>,
    asks: Asks,
    inbox: Inbox,
}

impl RunSink {
    /// A sink that appends with `writer`.
    #[must_use]
    pub fn new(writer: Writer) -> Self {
        let (len, _) = watch::channel(writer.len());
        Self { writer: Arc::new(Mutex::new(writer)), len, asks: Asks::default(), inbox: Inbox::default() }
    }

    /// Appends an event; `data` is one of the types of the `agent` event.
    ///
    /// # Errors
    /// If the line cannot be written whole.
    pub fn emit(&self, stream: Stream, data: &impl Serialize) -> io::Result<u64> {
        let data = serde_json::to_value(data)?;
        self.with(|writer| writer.event(stream, now_ms(), data))
    }

    /// Makes what was written so far survive a power cut.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&self) -> io::Result<()> {
        self.with(|writer| writer.sync())
    }

    /// A sink for the output of one call.
    #[must_use]
    pub fn output(&self, tool_call_id: &str) -> CallOutput {
        CallOutput { sink: self.clone(), tool_call_id: tool_call_id.to_owned() }
    }

    /// Where the runner asks whether its commands may start.
    #[must_use]
    pub fn asks(&self) -> &Asks {
        &self.asks
    }

    /// What users say while the run is at work.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// The length of the journal in bytes, as it grows.
    #[must_use]
    pub fn lengths(&self) -> watch::Receiver<u64> {
        self.len.subscribe()
    }

    /// Appends the run's last line, syncs it, and only then tells anybody.
    ///
    /// # Errors
    /// If it cannot be written and synced; the run's end is then for the daemon to find.
    pub fn finish(&self, data: &impl Serialize) -> io::Result<()> {
        let data = serde_json::to_value(data)?;
        self.with(|writer| {
            writer.event(Stream::Lifecycle, now_ms(), data)?;
            writer.sync()?;
            // What was set aside goes back; a failure of that harms nothing.
            let _ = writer.release();
            Ok(())
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Writer) -> io::Result<T>) -> io::Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut writer);
        let len = writer.len();
        drop(writer);
        if result.is_ok() {
            self.len.send_if_modified(|known| std::mem::replace(known, len) != len);
        }
        result
    }
}

/// The output of one call, on its way into the journal.
#[derive(Clone, Debug)]
pub struct CallOutput {
    sink: RunSink,
    tool_call_id: String,
}

impl Sink for CallOutput {
    fn chunk(&mut self, source: Source, text: &str, dropped_bytes: Option<u64>) -> bool {
        let chunk = Chunk { source, tool_call_id: &self.tool_call_id, text, dropped_bytes };
        self.sink.with(|writer| writer.chunk(now_ms(), &chunk)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::line::Template;
    use serde_json::json;

    #[test]
    fn lengths_are_told_after_the_line_is_in_the_file() {
        let file = tempfile::tempfile().unwrap();
        let sink = RunSink::new(Writer::new(file.try_clone().unwrap(), Template::new("r".into(), "s".into())).unwrap());
        let lengths = sink.lengths();
        sink.emit(Stream::Tool, &json!({})).unwrap();
        assert!(sink.output("c").chunk(Source::Stdout, "hi", None));
        assert_eq!(*lengths.borrow(), file.metadata().unwrap().len());
        sink.finish(&json!({"phase": "x"})).unwrap();
        assert_eq!(*lengths.borrow(), file.metadata().unwrap().len());
    }
}
