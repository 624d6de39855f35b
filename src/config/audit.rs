//! Section `audit`: the log of who did what.

use super::section::section;

section! {
    /// The log of who did what, in signed records that are chained; always on.
    struct Audit {
        /// Writes the text of commands into their records, with what looks like a secret hidden. Otherwise only their digest is there.
        commands: bool = false,
        /// How many segments of 16 MiB are kept; the oldest are deleted, and a signed record says so.
        #[schemars(range(min = 2, max = 1_000_000), extend("x-reload" = "restart"))]
        max_segments: usize = 256,
    }
}
