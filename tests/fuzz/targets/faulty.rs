//! Targets with known faults. They are run before the others, each time: a watch that does not see them sees nothing.

use super::{Target, none};

/// Each with a word of what must be said of it.
pub const FAULTY: &[(Target, &str)] = &[
    (target("panics", |input| if input.contains(&b'!') { panic!("on purpose") } else { 0 }), "made it panic"),
    (target("aborts", |input| if input.contains(&b'!') { std::process::abort() } else { 0 }), "it ended with signal: 6"),
    (
        target("loops", |input| {
            while input.contains(&b'!') {
                std::hint::spin_loop();
            }
            0
        }),
        "takes too long",
    ),
];

const fn target(name: &'static str, run: fn(&[u8]) -> u64) -> Target {
    Target { name, words: &["!"], max: 64, seeds: none, run }
}
