//! What commands of a chat need of the gateway: answers without a run, and the keys of requests that were served without one.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Gateway;
use crate::protocol::event::chat::{ChatEvent, ChatMessage, ChatState};
use crate::protocol::ids::{RunId, SessionKey};

/// How many requests are remembered.
const REMEMBERED: usize = 256;

/// Requests that were served without a run, so that a repeated one changes nothing. Only in memory: a restart forgets them.
#[derive(Debug, Default)]
pub struct Served {
    requests: Mutex<VecDeque<(String, [u8; 32])>>,
}

impl Served {
    /// Notes a request. None = it is new; else whether the earlier one had the same parameters.
    pub fn note(&self, principal: &str, key: &str, digest: [u8; 32]) -> Option<bool> {
        let name = format!("{principal}:{key}");
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = requests.iter().find(|(known, _)| *known == name) {
            return Some(*known == digest);
        }
        requests.push_back((name, digest));
        if requests.len() > REMEMBERED {
            requests.pop_front();
        }
        None
    }
}

impl Gateway {
    /// Sends the `chat` final of a message that no run made to every connection that may read.
    pub fn publish_final(&self, run_id: RunId, session_key: SessionKey, text: String, at: u64) {
        let mut event = ChatEvent::new(run_id, session_key, 0, ChatState::Final);
        event.stop_reason = Some("injected".to_owned());
        event.message = (!text.is_empty()).then(|| ChatMessage::assistant(text, at));
        self.hub.tell_chat(&event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_sender_and_key_and_compared_by_content() {
        let served = Served::default();
        assert_eq!(served.note("token", "k", [1; 32]), None);
        assert_eq!(served.note("token", "k", [1; 32]), Some(true));
        assert_eq!(served.note("token", "k", [2; 32]), Some(false));
        assert_eq!(served.note("local", "k", [1; 32]), None);
        for n in 0..REMEMBERED {
            served.note("token", &n.to_string(), [0; 32]);
        }
        assert_eq!(served.note("token", "k", [1; 32]), None, "forgotten");
    }
}
