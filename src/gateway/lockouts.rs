//! Lock-outs over a restart: written when they begin, put back before anybody can connect.
//!
//! How much of a lock is left after a restart is told by the kernel's clock, which nobody sets; only over a reboot by the wall clock, and then never more than there was.

use std::net::IpAddr;

use tracing::warn;

use super::Gateway;
use crate::auth::limiter::Lock;
use crate::auth::peer::limit_key;
use crate::exec::proc::{boot_id, uptime_ms};
use crate::store::lockouts::LockoutRow;

/// What is left of a lock now.
fn left(row: &LockoutRow, boot: &str, boot_ms: u64, wall_ms: u64) -> u64 {
    let same_boot = !boot.is_empty() && row.boot == boot;
    let passed = if same_boot { boot_ms.saturating_sub(row.boot_ms) } else { wall_ms.saturating_sub(row.at) };
    row.left_ms.saturating_sub(passed)
}

impl Gateway {
    /// Remembers the lock that is on for this address.
    pub async fn keep_lock(&self, address: IpAddr) {
        let key = limit_key(address);
        // The times first: a pause behind them shortens the lock by as much, and never makes it longer than it was.
        let (boot_ms, at) = (uptime_ms().unwrap_or(0), self.now());
        let Some(lock) = self.access.locks(self.uptime_ms()).into_iter().find(|lock| lock.address == key) else { return };
        let row = LockoutRow { address: key.to_string(), left_ms: lock.left_ms, locks: lock.locks, at, boot: boot_id(), boot_ms };
        if let Err(cause) = self.store.keep_lockout(row).await {
            warn!(%cause, "a lock-out could not be stored; it ends with this daemon");
        }
    }

    /// Puts the lock-outs of earlier daemons back.
    pub async fn restore_locks(&self) {
        let rows = match self.store.lockouts().await {
            Ok(rows) => rows,
            Err(cause) => {
                warn!(%cause, "lock-outs of earlier daemons cannot be read");
                return;
            }
        };
        // Ours first, for the same reason.
        let from = self.uptime_ms();
        let (boot, since, now) = (boot_id(), uptime_ms().unwrap_or(0), self.now());
        let lock = |row: &LockoutRow| {
            let left_ms = left(row, &boot, since, now);
            Some(Lock { address: row.address.parse().ok()?, left_ms, locks: row.locks }).filter(|lock| lock.left_ms > 0)
        };
        let locks: Vec<Lock> = rows.iter().filter_map(lock).collect();
        self.access.restore(&locks, from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> LockoutRow {
        LockoutRow { address: "203.0.113.1".into(), left_ms: 300_000, locks: 1, at: 1_000_000, boot: "b".into(), boot_ms: 5_000 }
    }

    #[test]
    fn m48_while_the_kernel_runs_no_set_clock_shortens_or_prolongs_a_lock() {
        for wall in [0, 1_000_000, 1_000_000 + 86_400_000] {
            assert_eq!(left(&row(), "b", 65_000, wall), 240_000);
        }
        assert_eq!(left(&row(), "b", 305_000, 1_000_000), 0);
    }

    #[test]
    fn m48_over_a_reboot_the_wall_clock_counts_and_a_step_back_prolongs_nothing() {
        assert_eq!(left(&row(), "c", 10, 1_060_000), 240_000);
        assert_eq!(left(&row(), "c", 10, 0), 300_000);
        assert_eq!(left(&row(), "", 10, 1_060_000), 240_000, "where the kernel does not say which boot it is");
    }
}
