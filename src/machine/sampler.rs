//! From two readings to rates. A sample is only taken when somebody wants one; asked again within a second, the last one is the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::facts;
use super::reading::{CpuTime, Reading};
use super::usage::{self, TreeUse};
use crate::protocol::ids::{AgentId, RunId, SessionKey};
use crate::protocol::system::{CpuInfo, DiskInfo, HostInfo, NetworkInfo, RunUse, SystemInfo};

/// Shortest time between two samples: what is measured over less says little.
const LEAST: Duration = Duration::from_secs(1);
/// Most runs whose use is looked at.
const MOST_RUNS: usize = 64;

/// A run at work and the process that hosts it.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// Name of the run on disk.
    pub file_id: String,
    /// The run.
    pub run_id: RunId,
    /// Its session.
    pub session_key: SessionKey,
    /// Its agent.
    pub agent_id: AgentId,
    /// The host process.
    pub pid: u32,
    /// When that process started, in clock ticks, if its pid may have come to mean another one.
    pub start_ticks: Option<u64>,
}

/// The last sample and what the next one is compared with.
pub struct Sampler {
    state: Mutex<State>,
}

struct State {
    taken: Instant,
    reading: Reading,
    runs: HashMap<String, u64>,
    host: Option<(HostInfo, Option<String>)>,
    info: Option<Arc<SystemInfo>>,
}

impl Default for Sampler {
    /// Remembers the counters as they are, so that the first sample has something to be compared with.
    fn default() -> Self {
        let state = State { taken: Instant::now(), reading: Reading::now(), runs: HashMap::new(), host: None, info: None };
        Self { state: Mutex::new(state) }
    }
}

impl Sampler {
    /// The last sample, if there is one.
    #[must_use]
    pub fn last(&self) -> Option<Arc<SystemInfo>> {
        self.lock().info.clone()
    }

    /// How old the last sample is; none was taken if absent.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let state = self.lock();
        state.info.as_ref().map(|_| state.taken.elapsed())
    }

    /// A sample of now, or the last one if that is less than a second old. Reads some dozen small texts; call it where blocking is allowed.
    pub fn sample(&self, now_ms: u64, name: &str, hosted: &[Hosted], disk: DiskInfo) -> Arc<SystemInfo> {
        if let Some(info) = self.last().filter(|_| self.age().is_some_and(|age| age < LEAST)) {
            return info;
        }
        let used: Vec<(&Hosted, TreeUse)> =
            hosted.iter().take(MOST_RUNS).filter_map(|run| Some((run, usage::tree(run.pid, run.start_ticks)?))).collect();
        let reading = Reading::now();
        let mut state = self.lock();
        let interval = state.taken.elapsed();
        let host = state.host.get_or_insert_with(|| (facts::host(name), facts::cpu_model())).clone();
        let mut info = rates(&state.reading, &reading, interval, host.1);
        (info.ts, info.disk, info.host) = (now_ms, disk, host.0);
        info.runs =
            used.iter().map(|(run, used)| run_use(run, used, state.runs.get(&run.file_id).copied(), interval, reading.uptime_ms)).collect();
        state.runs = used.into_iter().map(|(run, used)| (run.file_id.clone(), used.ticks)).collect();
        (state.taken, state.reading) = (Instant::now(), reading);
        let info = Arc::new(info);
        state.info = Some(Arc::clone(&info));
        info
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happened between two readings.
fn rates(before: &Reading, after: &Reading, interval: Duration, model: Option<String>) -> SystemInfo {
    let per_second = |before: u64, after: u64| {
        let seconds = interval.as_secs_f64();
        // An interface that went away takes its count with it.
        if seconds > 0.0 { (after.saturating_sub(before) as f64 / seconds) as u64 } else { 0 }
    };
    SystemInfo {
        interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        cpu: CpuInfo { percent: busy_percent(&before.cpu, &after.cpu), count: after.cpu.count, load: after.load, model },
        memory: after.memory,
        network: NetworkInfo {
            down_bytes_per_second: per_second(before.traffic.down, after.traffic.down),
            up_bytes_per_second: per_second(before.traffic.up, after.traffic.up),
            down_bytes: after.traffic.down,
            up_bytes: after.traffic.up,
        },
        uptime_ms: after.uptime_ms,
        ..SystemInfo::default()
    }
}

fn busy_percent(before: &CpuTime, after: &CpuTime) -> f64 {
    let total = after.total.saturating_sub(before.total);
    if total == 0 {
        return 0.0;
    }
    let busy = after.busy.saturating_sub(before.busy).min(total);
    rounded(100.0 * busy as f64 / total as f64)
}

/// What a run used over the interval; one that was not there before is looked at over its whole life.
fn run_use(run: &Hosted, used: &TreeUse, before: Option<u64>, interval: Duration, uptime_ms: u64) -> RunUse {
    let ticks = used.ticks.saturating_sub(before.unwrap_or(0));
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let age = uptime_ms as f64 / 1000.0 - used.start_ticks as f64 / per_second;
    let seconds = if before.is_none() { age.max(0.0) } else { interval.as_secs_f64() };
    let available = seconds * per_second;
    RunUse {
        run_id: run.run_id.clone(),
        session_key: run.session_key.clone(),
        agent_id: run.agent_id.clone(),
        cpu_percent: if available > 0.0 { rounded(100.0 * ticks as f64 / available) } else { 0.0 },
        rss_bytes: used.rss_bytes,
        processes: used.processes,
    }
}

fn rounded(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::reading::Traffic;
    use super::*;

    const SECONDS: Duration = Duration::from_secs(10);

    fn run() -> Hosted {
        let pid = std::process::id();
        Hosted { file_id: "f".into(), run_id: "r".into(), session_key: "s".into(), agent_id: "a".into(), pid, start_ticks: None }
    }

    #[test]
    fn rates_are_what_happened_in_between() {
        let before =
            Reading { cpu: CpuTime { busy: 100, total: 1000, count: 2 }, traffic: Traffic { down: 5000, up: 10 }, ..Reading::default() };
        let after = Reading {
            cpu: CpuTime { busy: 350, total: 2000, count: 2 },
            traffic: Traffic { down: 25_000, up: 1010 },
            uptime_ms: 7,
            ..Reading::default()
        };
        let info = rates(&before, &after, SECONDS, None);
        assert_eq!((info.cpu.percent, info.cpu.count, info.interval_ms, info.uptime_ms), (25.0, 2, 10_000, 7));
        assert_eq!((info.network.down_bytes_per_second, info.network.up_bytes_per_second), (2000, 100));
        let same = rates(&after, &after, Duration::ZERO, None);
        assert_eq!((same.cpu.percent, same.network.down_bytes_per_second), (0.0, 0));
        let back = rates(&after, &before, SECONDS, None);
        assert_eq!((back.cpu.percent, back.network.up_bytes_per_second), (0.0, 0), "counters that went back are no rate");
    }

    #[test]
    fn a_run_that_keeps_a_processor_busy_is_at_a_hundred() {
        let ticks = rustix::param::clock_ticks_per_second() * 10;
        let used = TreeUse { ticks: ticks + 500, rss_bytes: 9, processes: 2, start_ticks: 0 };
        assert_eq!(run_use(&run(), &used, Some(500), SECONDS, 1_000_000).cpu_percent, 100.0);
        assert_eq!(run_use(&run(), &TreeUse::default(), Some(500), SECONDS, 1_000_000).cpu_percent, 0.0);
        let whole = TreeUse { ticks, ..used };
        assert_eq!(run_use(&run(), &whole, None, SECONDS, 20_000).cpu_percent, 50.0, "over its life, not over the interval");
        assert_eq!(run_use(&run(), &whole, None, SECONDS, 0).cpu_percent, 0.0);
    }

    #[test]
    fn asked_twice_in_a_second_the_machine_is_looked_at_once() {
        let sampler = Sampler::default();
        assert!(sampler.last().is_none() && sampler.age().is_none());
        let first = sampler.sample(5, "vm", &[run()], DiskInfo::default());
        assert_eq!((first.ts, first.runs.len(), first.host.name.as_str()), (5, 1, "vm"));
        // However long this thread is held up, no second is over.
        sampler.lock().taken = Instant::now() + 60 * LEAST;
        let second = sampler.sample(6, "vm", &[], DiskInfo::default());
        assert!(Arc::ptr_eq(&first, &second));
    }
}
