//! Whether what a proxy forwards arrives: a request that `doctor` sends through the public address, recognised by a word that only `doctor` knows.
//!
//! The request is answered like any other and learns nothing. What the gateway saw of it is told to who asked for the word, over the connection on which it was asked: a stranger can neither guess the word nor, having it, read anything. One word is good at a time, for half a minute and for the first request that carries it.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use super::token::TokenDigest;

/// The header that carries the word.
pub const HEADER: &str = "x-skykoi-probe";
/// How long a word is good.
pub const LIFE: Duration = Duration::from_secs(30);
/// Lines of the forwarded-for header that are kept, and characters of each.
const MAX_LINES: usize = 16;
const MAX_CHARS: usize = 256;

/// What the gateway saw of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The peer of the socket: the proxy, if there is one.
    pub socket: IpAddr,
    /// The address that counts as the client's.
    pub client: IpAddr,
    /// Whether the socket's peer is one of `gateway.trustedProxies`.
    pub trusted: bool,
    /// The lines of X-Forwarded-For, at most 16 of at most 256 characters.
    pub forwarded: Vec<String>,
    /// The Host header, at most 256 characters.
    pub host: String,
}

impl Seen {
    /// Puts it together, cut to its bounds.
    pub fn new<'h>(socket: IpAddr, client: IpAddr, trusted: bool, forwarded: impl Iterator<Item = &'h str>, host: &str) -> Self {
        let cut = |text: &str| text.chars().take(MAX_CHARS).collect();
        Self { socket, client, trusted, forwarded: forwarded.take(MAX_LINES).map(cut).collect(), host: cut(host) }
    }
}

/// The word that is good now, and what was seen with it.
#[derive(Debug, Default)]
pub struct Probe(Mutex<Option<Open>>);

#[derive(Debug)]
struct Open {
    word: TokenDigest,
    until: Instant,
    seen: Option<Seen>,
}

impl Probe {
    /// Makes a new word; the one before is good no more.
    #[must_use]
    pub fn open(&self, now: Instant) -> String {
        let word = uuid::Uuid::new_v4().simple().to_string();
        *self.lock() = Some(Open { word: TokenDigest::of(&word), until: now + LIFE, seen: None });
        word
    }

    /// Notes a request that carries a word, if it is the right one and the first.
    pub fn observe(&self, word: &str, now: Instant, seen: impl FnOnce() -> Seen) {
        if let Some(open) = self.lock().as_mut().filter(|open| open.seen.is_none() && now < open.until && open.word.matches(word)) {
            open.seen = Some(seen());
        }
    }

    /// What was seen with this word; none yet, or none any more.
    #[must_use]
    pub fn seen(&self, word: &str, now: Instant) -> Option<Seen> {
        self.lock().as_ref().filter(|open| now < open.until && open.word.matches(word))?.seen.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(host: &str) -> Seen {
        Seen::new([127, 0, 0, 1].into(), [203, 0, 113, 7].into(), true, ["203.0.113.7"].into_iter(), host)
    }

    #[test]
    fn only_the_first_request_with_the_right_word_in_its_time_is_seen() {
        let (probe, now) = (Probe::default(), Instant::now());
        probe.observe("", now, || seen("nobody asked"));
        let word = probe.open(now);
        for wrong in ["", "x", &word[1..]] {
            probe.observe(wrong, now, || seen("wrong"));
            assert_eq!(probe.seen(wrong, now), None);
        }
        assert_eq!(probe.seen(&word, now), None);
        probe.observe(&word, now, || seen("first"));
        probe.observe(&word, now, || seen("second"));
        assert_eq!(probe.seen(&word, now), Some(seen("first")));
        assert_eq!(probe.seen(&word, now + LIFE), None, "forgotten");
        let next = probe.open(now);
        assert_eq!((probe.seen(&word, now), probe.seen(&next, now)), (None, None));
        probe.observe(&next, now + LIFE, || seen("late"));
        assert_eq!(probe.seen(&next, now), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "é".repeat(1000);
        let seen = Seen::new([127, 0, 0, 1].into(), [127, 0, 0, 1].into(), false, std::iter::repeat_n(long.as_str(), 100), &long);
        assert_eq!((seen.forwarded.len(), seen.forwarded[0].chars().count(), seen.host.chars().count()), (16, 256, 256));
    }
}
