//! What a tree of processes uses: processor time that it has ever used, and memory that it has now.

use std::collections::HashSet;
use std::fs::read_to_string;

use crate::exec::proc;

/// Most processes of one tree that are looked at, so that a fork bomb does not make looking at it expensive.
const MOST: usize = 512;

/// What a tree of processes uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeUse {
    /// Processor time in clock ticks, with that of processes that have ended and were waited for.
    pub ticks: u64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// How many processes.
    pub processes: u32,
    /// When the first of them started, in clock ticks since the machine did.
    pub start_ticks: u64,
}

/// The process and all below it; `None` if it is gone or is another one than the one that started at `start_ticks`.
#[must_use]
pub fn tree(pid: u32, start_ticks: Option<u64>) -> Option<TreeUse> {
    let root = proc::stat(pid).filter(|stat| !stat.is_dead() && start_ticks.is_none_or(|ticks| ticks == stat.start_ticks))?;
    let page = rustix::param::page_size() as u64;
    let mut found = TreeUse { start_ticks: root.start_ticks, ..TreeUse::default() };
    let (mut seen, mut open) = (HashSet::from([root.pid]), vec![root.pid]);
    while let Some(pid) = open.pop() {
        let own = read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|text| parse(&text));
        if let Some((ticks, pages)) = own {
            found.ticks += ticks;
            found.rss_bytes += pages * page;
            found.processes += 1;
        }
        if seen.len() < MOST {
            open.extend(proc::children(pid).into_iter().filter(|child| seen.insert(*child)));
        }
    }
    Some(found)
}

/// Processor ticks (own and of children that were waited for) and resident pages, from `/proc/<pid>/stat`.
fn parse(text: &str) -> Option<(u64, u64)> {
    // The name may hold spaces and parentheses, so the fields are counted from the last `)`, behind which the third one stands.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok());
    let ticks = (14..=17).map(number).sum::<Option<u64>>()?;
    Some((ticks, number(24)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_children_that_ended_counts_and_names_do_not_shift_the_fields() {
        let line = "7 (a) b (c)) R 1 7 7 0 -1 0 0 0 0 0 100 20 3 4 20 0 1 0 4242 9999 55 18446744073709551615 1\n";
        assert_eq!(parse(line), Some((127, 55)));
        assert_eq!(parse("7 (a) R 1 7"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_process_uses_memory_and_another_one_with_its_pid_would_not_be_it() {
        let pid = std::process::id();
        let used = tree(pid, None).unwrap();
        assert!(used.rss_bytes > 1 << 20 && used.processes >= 1, "{used:?}");
        let ticks = proc::stat(pid).unwrap().start_ticks;
        assert!(tree(pid, Some(ticks)).is_some());
        assert_eq!(tree(pid, Some(ticks + 1)), None);
    }
}
