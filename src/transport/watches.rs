//! The events of sessions that one connection watches, as its writer takes them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::clock::now_ms;
use crate::events::hub::SessionEvent;
use crate::protocol::event::sessions_changed::SessionsChanged;
use crate::protocol::frame;
use crate::rpc::watching::Watching;

/// Nothing until the connection watches something; then one feed, whatever it watches.
#[derive(Default)]
pub struct Watches {
    feed: Option<(Arc<Watching>, BroadcastStream<SessionEvent>)>,
}

impl Watches {
    /// Takes the events from now on. A feed that is there already goes on.
    pub fn open(&mut self, watching: Arc<Watching>, events: broadcast::Receiver<SessionEvent>) {
        self.feed.get_or_insert_with(|| (watching, BroadcastStream::new(events)));
    }

    /// The next event, an `event` frame up to and including its payload. Losing the future loses nothing.
    pub async fn next(&mut self) -> Bytes {
        loop {
            let Some((watching, events)) = &mut self.feed else { return std::future::pending().await };
            match events.next().await {
                Some(Ok(event)) if watching.wants(&event) => return event.body,
                Some(Ok(_)) => {}
                // What was missed is not known here; whoever watches looks at the list again.
                Some(Err(BroadcastStreamRecvError::Lagged(_))) => {
                    return Bytes::from(frame::event_start(
                        "sessions.changed",
                        &SessionsChanged::new(None, "resync", None, now_ms(), None),
                    ));
                }
                None => self.feed = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::hub::Hub;

    #[tokio::test]
    async fn who_lags_behind_is_told_once_to_look_again() {
        let (hub, watching) = (Hub::default(), Arc::new(Watching::default()));
        watching.set_list(true);
        let mut watches = Watches::default();
        watches.open(Arc::clone(&watching), hub.session_events());
        for n in 0..1000 {
            hub.session_event(SessionEvent { messages_of: None, body: Bytes::from(n.to_string()) });
        }
        let text = String::from_utf8(watches.next().await.to_vec()).unwrap();
        assert!(text.contains("\"reason\":\"resync\"") && !text.contains("sessionKey"), "{text}");
        assert_eq!(watches.next().await, Bytes::from("744"), "what is still kept comes in order");
    }

    #[tokio::test]
    async fn what_nobody_watches_is_passed_over() {
        let (hub, watching) = (Hub::default(), Arc::new(Watching::default()));
        let mut watches = Watches::default();
        watches.open(Arc::clone(&watching), hub.session_events());
        let of = |key: &str| SessionEvent { messages_of: Some(key.into()), body: Bytes::from(key.to_owned()) };
        assert!(watching.add("b".into()));
        hub.session_event(SessionEvent { messages_of: None, body: Bytes::from("list") });
        hub.session_event(of("a"));
        hub.session_event(of("b"));
        assert_eq!(watches.next().await, Bytes::from("b"));
    }
}
