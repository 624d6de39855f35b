//! A value of which readers only need the newest: published as ready bytes with a version.

use bytes::Bytes;
use tokio::sync::watch;

/// The newest published form of a state.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Counts publications, from 1; 0 = nothing published yet.
    pub version: u64,
    /// The `event` frame up to and including its payload.
    pub body: Bytes,
}

/// One state: its newest form, watched by any number of readers.
#[derive(Debug)]
pub struct State {
    cell: watch::Sender<Published>,
}

impl Default for State {
    fn default() -> Self {
        Self { cell: watch::Sender::new(Published::default()) }
    }
}

impl State {
    /// Replaces the value. Readers that did not see the last one never will.
    pub fn publish(&self, body: Bytes) -> u64 {
        let mut version = 0;
        self.cell.send_modify(|published| {
            published.version += 1;
            published.body = body;
            version = published.version;
        });
        version
    }

    /// The version of the newest value.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.cell.borrow().version
    }

    /// A reader that sees every later publication, or the newest of them.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Published> {
        let mut reader = self.cell.subscribe();
        reader.mark_unchanged();
        reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_sees_only_the_newest_of_what_came_after_it() {
        let state = State::default();
        state.publish(Bytes::from_static(b"old"));
        let mut reader = state.watch();
        assert!(!reader.has_changed().unwrap());
        state.publish(Bytes::from_static(b"a"));
        state.publish(Bytes::from_static(b"b"));
        reader.changed().await.unwrap();
        assert_eq!(reader.borrow_and_update().version, 3);
        assert!(!reader.has_changed().unwrap());
    }
}
