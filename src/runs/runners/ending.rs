//! How a run's end is told, the same for every runner: by whom it was stopped, how long it took, what its commands printed.

use crate::clock::now_ms;
use crate::exec::output::Counts;
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus};
use crate::runs::runner::Job;
use crate::runs::stop::{Cause, Stop};

/// A way in which a run ended.
pub(super) struct Ending {
    status: RunStatus,
    code: Option<RunErrorCode>,
    summary: String,
    stop_reason: Option<String>,
}

impl Ending {
    /// One that nobody outside asked for.
    pub fn new(status: RunStatus, code: Option<RunErrorCode>, summary: impl Into<String>) -> Self {
        Self { status, code, summary: summary.into(), stop_reason: None }
    }
}

/// A run at its end.
pub(super) struct Closing<'j> {
    job: &'j Job,
    /// How long it took, ms.
    duration_ms: u64,
    /// The same, for people.
    pub took: String,
}

impl<'j> Closing<'j> {
    /// The end of the job is now.
    pub fn now(job: &'j Job) -> Self {
        let duration_ms = elapsed_ms(job);
        Self { job, duration_ms, took: seconds(duration_ms) }
    }

    /// The ending of a run that was told to stop; none if nobody told it.
    pub fn stopped(&self, stop: &Stop) -> Option<Ending> {
        match stop.cause()? {
            Cause::Timeout => {
                let limit = seconds(self.job.spec.timeout_ms.unwrap_or(self.duration_ms));
                Some(Ending::new(RunStatus::Timeout, Some(RunErrorCode::AgentTimeout), format!("timed out after {limit}")))
            }
            Cause::Abort(reason) => Some(Ending { stop_reason: Some(reason.clone()), ..self.aborted() }),
        }
    }

    /// An abort for which nobody gave a reason.
    pub fn aborted(&self) -> Ending {
        Ending::new(RunStatus::Aborted, None, format!("aborted after {}", self.took))
    }

    /// The outcome of a run that ended so and whose commands printed so much.
    pub fn outcome(&self, ending: Ending, printed: Counts) -> Outcome {
        let Ending { status, code, summary, stop_reason } = ending;
        Outcome {
            stop_reason,
            started_at: Some(self.job.started_at),
            duration_ms: self.duration_ms,
            stdout_bytes: printed.stdout_bytes,
            stderr_bytes: printed.stderr_bytes,
            dropped_bytes: printed.dropped_bytes,
            truncated: printed.dropped_bytes > 0,
            ..Outcome::without_work(status, code, summary, now_ms())
        }
    }
}

/// How long the job has taken until now, ms.
pub(super) fn elapsed_ms(job: &Job) -> u64 {
    u64::try_from(job.started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A duration as a person would say it.
fn seconds(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 if !ms.is_multiple_of(1000) => format!("{:.1} s", ms as f64 / 1000.0),
        1000..120_000 => format!("{} s", ms / 1000),
        _ => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!([0, 999, 1000, 1234, 65_000, 125_000].map(seconds), ["0 ms", "999 ms", "1 s", "1.2 s", "65 s", "2 min 5 s"]);
    }
}
