//! How a message waits while its session is busy: what the request asks for, else what the session was told, else what the configuration says.

use crate::config::messages::{Queue, QueueDrop, QueueMode};
use crate::protocol::session::entry::SessionEntry;
use crate::runs::queue::rules::{Mode, Overflow, Rules};

/// The channel of chats.
const CHANNEL: &str = "webchat";
/// Longest quiet time, ms: an hour.
const MAX_DEBOUNCE_MS: u64 = 3_600_000;
/// Most messages that may be let wait.
const MAX_CAP: usize = 500;

/// The rules of a message. Words that are not known count as not said.
#[must_use]
pub fn rules(config: Option<&Queue>, session: Option<&SessionEntry>, asked: Option<&str>) -> Rules {
    let usual = Rules::default();
    let of_channel = config.and_then(|queue| queue.by_channel.get(CHANNEL).copied());
    let configured = of_channel.or(config.and_then(|queue| queue.mode)).map(mode_of);
    let mode = asked.and_then(Mode::parse).or_else(|| session.and_then(|entry| entry.queue_mode.as_deref()).and_then(Mode::parse));
    let debounce = session.and_then(|entry| entry.queue_debounce_ms);
    let debounce = debounce.or_else(|| config.and_then(|queue| queue.debounce_ms_by_channel.get(CHANNEL).copied().or(queue.debounce_ms)));
    let cap = session.and_then(|entry| entry.queue_cap).or_else(|| config.and_then(|queue| queue.cap.map(u64::from)));
    let drop = session.and_then(|entry| entry.queue_drop.as_deref()).and_then(Overflow::parse);
    let drop = drop.or_else(|| config.and_then(|queue| queue.drop).map(drop_of));
    Rules {
        mode: mode.or(configured).unwrap_or(usual.mode),
        debounce_ms: debounce.unwrap_or(usual.debounce_ms).min(MAX_DEBOUNCE_MS),
        cap: cap.map_or(usual.cap, |cap| usize::try_from(cap).unwrap_or(MAX_CAP)).clamp(1, MAX_CAP),
        drop: drop.unwrap_or(usual.drop),
    }
}

fn mode_of(mode: QueueMode) -> Mode {
    match mode {
        QueueMode::Collect => Mode::Collect,
        QueueMode::Followup => Mode::Followup,
        QueueMode::Steer | QueueMode::Queue => Mode::Steer,
        QueueMode::SteerBacklog | QueueMode::SteerPlusBacklog => Mode::SteerBacklog,
        QueueMode::Interrupt => Mode::Interrupt,
    }
}

fn drop_of(drop: QueueDrop) -> Overflow {
    match drop {
        QueueDrop::Old => Overflow::Old,
        QueueDrop::New => Overflow::New,
        QueueDrop::Summarize => Overflow::Summarize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_comes_before_the_session_and_the_session_before_the_configuration() {
        assert_eq!(rules(None, None, None), Rules::default());
        let mut config = Queue { mode: Some(QueueMode::Queue), cap: Some(7), drop: Some(QueueDrop::New), ..Queue::default() };
        config.debounce_ms = Some(50);
        assert_eq!(rules(Some(&config), None, None), Rules { mode: Mode::Steer, debounce_ms: 50, cap: 7, drop: Overflow::New });
        config.by_channel.insert("webchat".into(), QueueMode::Followup);
        config.by_channel.insert("other".into(), QueueMode::Interrupt);
        assert_eq!(rules(Some(&config), None, None).mode, Mode::Followup);
        let session = SessionEntry {
            queue_mode: Some("interrupt".into()),
            queue_debounce_ms: Some(9),
            queue_cap: Some(0),
            queue_drop: Some("old".into()),
            ..SessionEntry::default()
        };
        assert_eq!(
            rules(Some(&config), Some(&session), None),
            Rules { mode: Mode::Interrupt, debounce_ms: 9, cap: 1, drop: Overflow::Old }
        );
        assert_eq!(rules(Some(&config), Some(&session), Some("collect")).mode, Mode::Collect);
        let strange = SessionEntry { queue_mode: Some("later".into()), ..SessionEntry::default() };
        assert_eq!(rules(Some(&config), Some(&strange), None).mode, Mode::Followup);
    }
}
