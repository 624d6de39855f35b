//! Lock-outs of addresses that guessed too often, so that a restart is no way around them.

use rusqlite::{Connection, params};

use super::Store;
use super::error::StoreError;
use super::mismatch;
use super::op::{Applied, Found, Op, Query};
use super::sql_read::{ms, unsigned};
use super::sql_write::{Failure, execute};

/// Most lock-outs that are remembered; the newest win.
const MOST: i64 = 10_000;
/// How long a row outlives its lock, in ms: a wall clock that was set may be put right within it.
const GRACE_MS: u64 = 24 * 60 * 60 * 1000;

/// A lock as it stood when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockoutRow {
    /// The address, or the network that counts as one.
    pub address: String,
    /// Milliseconds that were left.
    pub left_ms: u64,
    /// Locks of this address so far.
    pub locks: u32,
    /// Wall-clock ms since the epoch.
    pub at: u64,
    /// Which boot of the kernel it was.
    pub boot: String,
    /// Milliseconds since that boot.
    pub boot_ms: u64,
}

pub(super) fn keep(conn: &Connection, row: &LockoutRow) -> Result<Applied, Failure> {
    execute(conn, "DELETE FROM lockouts WHERE at + left_ms < ?1", [ms(row.at.saturating_sub(GRACE_MS))])?;
    execute(
        conn,
        "INSERT OR REPLACE INTO lockouts (address, left_ms, locks, at, boot, boot_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![row.address, ms(row.left_ms), row.locks, ms(row.at), row.boot, ms(row.boot_ms)],
    )?;
    execute(conn, "DELETE FROM lockouts WHERE address NOT IN (SELECT address FROM lockouts ORDER BY at DESC LIMIT ?1)", [MOST])?;
    Ok(Applied::Done)
}

pub(super) fn all(conn: &Connection) -> rusqlite::Result<Vec<LockoutRow>> {
    let mut statement = conn.prepare("SELECT address, left_ms, locks, at, boot, boot_ms FROM lockouts ORDER BY at")?;
    let rows = statement.query_map([], |row| {
        Ok(LockoutRow {
            address: row.get(0)?,
            left_ms: unsigned(row.get(1)?),
            locks: row.get(2)?,
            at: unsigned(row.get(3)?),
            boot: row.get(4)?,
            boot_ms: unsigned(row.get(5)?),
        })
    })?;
    rows.collect()
}

impl Store {
    /// Remembers a lock-out over restarts. It is on stable storage when this returns.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn keep_lockout(&self, row: LockoutRow) -> Result<(), StoreError> {
        match self.apply(Op::KeepLockout(row)).await? {
            Applied::Done => Ok(()),
            other => Err(mismatch(&other)),
        }
    }

    /// The lock-outs that are remembered, oldest first; some may be over.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn lockouts(&self) -> Result<Vec<LockoutRow>, StoreError> {
        match self.ask(Query::Lockouts).await? {
            Found::Lockouts(rows) => Ok(rows),
            other => Err(mismatch(&other)),
        }
    }
}
