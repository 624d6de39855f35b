//! The limits of a run in its shim: its control group, if it gets one, and what its end says about them.

use super::note;
use crate::exec::cgroup::Group;
use crate::protocol::isolation::{Level, LimitedBy, Limits, LimitsApplied};
use crate::protocol::run::Outcome;
use crate::runs::control::RunSpec;

/// What holds a run.
#[derive(Debug, Default)]
pub struct Held {
    level: Level,
    group: Option<Group>,
    limits: Option<LimitsApplied>,
}

impl Held {
    /// Prepares what is to hold the run: makes its group and leaves in the spec only those limits that its processes must ask for themselves.
    pub fn prepare(spec: &mut RunSpec) -> Self {
        let Some(confinement) = &mut spec.confinement else { return Self::default() };
        let limits = &mut confinement.isolation.limits;
        let wanted = limits.clone();
        let made = spec.cgroup.as_ref().map(|parent| Group::create(parent, &spec.file_id, &wanted));
        let (group, unkept) = match made {
            Some(Ok((group, unkept))) => (Some(group), unkept),
            Some(Err(failed)) => {
                note(&format!("the control group of the run cannot be made: {failed}"));
                (None, Vec::new())
            }
            None => (None, Vec::new()),
        };
        let by_group = |name: &str| group.is_some() && !unkept.contains(&name);
        if by_group("memoryBytes") {
            limits.memory_bytes = None;
        }
        if by_group("tasks") {
            limits.tasks = None;
        }
        let mut missing = Vec::new();
        missing.extend((wanted.cpu_percent.is_some() && !by_group("cpuPercent")).then(|| "cpuPercent".to_owned()));
        missing.extend((wanted.io_weight.is_some() && !by_group("ioWeight")).then(|| "ioWeight".to_owned()));
        // The kernel does not count the processes of root.
        let counted = !rustix::process::getuid().is_root();
        missing.extend((wanted.tasks.is_some() && !by_group("tasks") && !counted).then(|| "tasks".to_owned()));
        confinement.cgroup = group.as_ref().map(|group| group.path.clone());
        let applied = if group.is_some() { LimitedBy::Cgroup } else { LimitedBy::Rlimits };
        let limits = (wanted != Limits::default()).then_some(LimitsApplied {
            applied,
            missing,
            memory_peak_bytes: None,
            tasks_peak: None,
            throttled_ms: None,
        });
        Self { level: confinement.isolation.level, group, limits }
    }

    /// Ends whatever is left in the group.
    pub fn kill(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
    }

    /// Says in the outcome what held the run, and gives the group back. Nothing of the run may be alive any more.
    pub fn settle(self, outcome: &mut Outcome) {
        outcome.sandbox = self.level;
        outcome.limits = self.limits;
        let Some(group) = self.group else { return };
        if let Some(limits) = outcome.limits.take() {
            let (limits, oom_killed) = group.figures(limits);
            outcome.limits = Some(limits);
            outcome.oom_killed = oom_killed;
        }
        group.remove();
    }
}
