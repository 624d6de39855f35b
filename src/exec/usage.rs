//! What the processes of a run cost: CPU time and the largest resident set, of all that were reaped here.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

/// The cost of all children that have ended and were reaped, orphans included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time in ms.
    pub cpu_ms: u64,
    /// Largest resident set of a single process in bytes.
    pub peak_rss_bytes: u64,
}

/// The cost so far; zeros if the kernel does not say.
#[must_use]
pub fn of_children() -> Usage {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Usage::default() };
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let positive = |n: i64| u64::try_from(n).unwrap_or(0);
    // The kernel counts memory in KiB.
    Usage { cpu_ms: positive(cpu) / 1000, peak_rss_bytes: positive(usage.max_rss()).saturating_mul(1024) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_without_children_too() {
        assert!(of_children().cpu_ms < 1_000_000_000);
    }
}
