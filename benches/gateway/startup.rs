//! How soon the daemon is there, and what it takes while nobody wants anything.

use std::time::Duration;

use crate::daemon::{Daemon, Home};
use crate::report::{Bound, Report, median, ms, percentile};
use crate::{Effort, Error};

/// How long a daemon is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_millis(1500);

/// From the start of the process to the first hello, and the resident memory a while later.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let home = Home::new()?;
    let mut starts = Vec::new();
    // The first start makes the database and is not counted.
    for round in 0..=effort.starts {
        let daemon = Daemon::start(&home).await?;
        let client = daemon.connect().await?;
        if round > 0 {
            starts.push(ms(daemon.spawned.elapsed()));
        }
        drop(client);
        daemon.stop().await?;
    }
    report.figure("cold start to first hello, p50", median(&starts), "ms", Bound::Most(30.0));
    report.figure("cold start to first hello, worst", percentile(&starts, 100.0), "ms", Bound::None);

    let daemon = Daemon::start(&home).await?;
    drop(daemon.connect().await?);
    tokio::time::sleep(SETTLE).await;
    report.figure("idle memory of the daemon", daemon.rss()? / 1e6, "MB", Bound::Most(12.0));
    daemon.stop().await
}
