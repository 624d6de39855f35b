//! One reading of the kernel's counters, from the texts of `/proc`. A file that is missing or says something else reads as zero.

use std::fs::read_to_string;

use crate::protocol::system::MemoryInfo;

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Processor time.
    pub cpu: CpuTime,
    /// Load averages.
    pub load: [f64; 3],
    /// Memory.
    pub memory: MemoryInfo,
    /// Bytes over the network.
    pub traffic: Traffic,
    /// How long the machine has been up, in ms.
    pub uptime_ms: u64,
}

/// Processor time since the machine started, in clock ticks, over all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In which they worked.
    pub busy: u64,
    /// All of it.
    pub total: u64,
    /// How many processors there are.
    pub count: u32,
}

/// Bytes since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received.
    pub down: u64,
    /// Sent.
    pub up: u64,
}

impl Reading {
    /// Reads everything now. The kernel makes these texts up from memory, so no disk is waited for.
    #[must_use]
    pub fn now() -> Self {
        let text = |path: &str| read_to_string(path).unwrap_or_default();
        Self {
            cpu: cpu(&text("/proc/stat")),
            load: load(&text("/proc/loadavg")),
            memory: memory(&text("/proc/meminfo")),
            traffic: traffic(&text("/proc/net/dev")),
            uptime_ms: uptime_ms(&text("/proc/uptime")),
        }
    }
}

/// `/proc/stat`: the line of all processors, and how many there are. Waiting for a disk is not work; time of guests stands in that of users.
fn cpu(text: &str) -> CpuTime {
    let mut time = CpuTime::default();
    for line in text.lines().take_while(|line| line.starts_with("cpu")) {
        let mut fields = line.split_ascii_whitespace();
        if fields.next() != Some("cpu") {
            time.count += 1;
            continue;
        }
        let ticks: Vec<u64> = fields.take(8).map(|field| field.parse().unwrap_or(0)).collect();
        time.total = ticks.iter().sum();
        time.busy = time.total - ticks.iter().skip(3).take(2).sum::<u64>();
    }
    time
}

fn load(text: &str) -> [f64; 3] {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0.0));
    std::array::from_fn(|_| fields.next().unwrap_or(0.0))
}

/// The memory of this machine, bytes; 0 if the kernel does not say.
#[must_use]
pub fn memory_total() -> u64 {
    memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default()).total
}

fn memory(text: &str) -> MemoryInfo {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kibibytes = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
        kibibytes.map(|kibibytes| kibibytes.saturating_mul(1024))
    };
    let of = |key| bytes(key).unwrap_or(0);
    let total = of("MemTotal");
    // Kernels before 3.14 do not say what is available.
    let available = bytes("MemAvailable").unwrap_or_else(|| of("MemFree") + of("Cached"));
    let swap_total = of("SwapTotal");
    MemoryInfo { total, used: total.saturating_sub(available), available, swap_total, swap_used: swap_total.saturating_sub(of("SwapFree")) }
}

/// `/proc/net/dev`, without the loopback and without what passes through another interface again on its way to a container.
fn traffic(text: &str) -> Traffic {
    const INNER: [&str; 4] = ["veth", "docker", "br-", "virbr"];
    let mut traffic = Traffic::default();
    for (name, counters) in text.lines().filter_map(|line| line.split_once(':')) {
        let name = name.trim();
        if name == "lo" || INNER.iter().any(|inner| name.starts_with(inner)) {
            continue;
        }
        let mut counters = counters.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0));
        traffic.down += counters.next().unwrap_or(0);
        traffic.up += counters.nth(7).unwrap_or(0);
    }
    traffic
}

fn uptime_ms(text: &str) -> u64 {
    let seconds: f64 = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0.0);
    std::time::Duration::try_from_secs_f64(seconds).map_or(0, |uptime| u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_and_waiting_is_not_work() {
        let text = "cpu  100 20 30 1000 50 0 7 3 90 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 12 34\ncpu9 no\n";
        assert_eq!(cpu(text), CpuTime { busy: 160, total: 1210, count: 2 });
        assert_eq!(cpu(""), CpuTime::default());
        assert_eq!(cpu("cpu nonsense\n"), CpuTime::default());
    }

    #[test]
    fn memory_is_in_bytes_and_used_is_what_is_not_available() {
        let text = "MemTotal:        2000 kB\nMemFree:          100 kB\nMemAvailable:    1500 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\n";
        let expected = MemoryInfo { total: 2_048_000, used: 512_000, available: 1_536_000, swap_total: 10_240, swap_used: 6144 };
        assert_eq!(memory(text), expected);
        assert_eq!(memory("MemTotal: 10 kB\nMemFree: 3 kB\nCached: 4 kB\n").available, 7168);
        assert_eq!(memory("MemTotal: x"), MemoryInfo::default());
    }

    #[test]
    fn the_loopback_and_the_inner_sides_of_containers_are_left_out() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets|bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n\
                    ens5: 1000 1 0 0 0 0 0 0 200 1 0 0 0 0 0 0\nveth12@if2: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  wlan0:30 1 0 0 0 0 0 0 4 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), Traffic { down: 1030, up: 204 });
        assert_eq!(traffic(""), Traffic::default());
    }

    #[test]
    fn loads_and_the_time_since_the_start_are_read() {
        assert_eq!(load("0.50 1.25 2.00 1/99 1234\n"), [0.5, 1.25, 2.0]);
        assert_eq!(load(""), [0.0; 3]);
        assert_eq!((uptime_ms("1279.07 1123.40\n"), uptime_ms(""), uptime_ms("-1")), (1_279_070, 0, 0));
    }

    #[test]
    fn this_machine_can_be_read() {
        let reading = Reading::now();
        assert!(reading.cpu.count > 0 && reading.cpu.total >= reading.cpu.busy && reading.memory.total > 0, "{reading:?}");
        assert!(reading.uptime_ms > 0);
    }
}
