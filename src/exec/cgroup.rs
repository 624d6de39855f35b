//! Control groups, version 2: where the gateway has one of its own, each run gets a group in it, with its limits, its figures, and one write that ends all of it.
//!
//! The gateway has one if its supervisor started it in a subgroup of a group that is its own (systemd 254: `Delegate=yes`, `DelegateSubgroup=daemon`). It never moves itself: a group that has controllers for its children must hold no process, and a unit whose main group does cannot be started again while runs go on in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::isolation::{Cgroup, Limits, LimitsApplied};

/// Name of the subgroup in which the gateway itself is started.
pub const OWN_SUBGROUP: &str = "daemon";
/// Controllers that are used.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "pids", "io"];
/// The kernel's unit of processor time for a group, in µs.
const PERIOD: u64 = 100_000;

/// The group that is handed to this process, with its controllers switched on for groups in it. `None` where there is none.
#[must_use]
pub fn own() -> Option<Cgroup> {
    let line = fs::read_to_string("/proc/self/cgroup").ok()?;
    let inside = line.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let dir = Path::new(mount_point(&mounts)?).join(inside.trim_start_matches('/'));
    own_at(&dir)
}

/// The mount point of the hierarchy of version 2.
fn mount_point(mountinfo: &str) -> Option<&str> {
    let line = mountinfo.lines().find(|line| line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with("cgroup2 ")))?;
    line.split(' ').nth(4)
}

fn own_at(dir: &Path) -> Option<Cgroup> {
    if dir.file_name()? != OWN_SUBGROUP {
        return None;
    }
    let path = dir.parent()?.to_owned();
    let alone = fs::read_to_string(path.join("cgroup.procs")).ok()?.trim().is_empty();
    let offered = fs::read_to_string(path.join("cgroup.controllers")).ok()?;
    if !alone || fs::OpenOptions::new().write(true).open(path.join("cgroup.subtree_control")).is_err() {
        return None;
    }
    let offered = offered.split_whitespace().filter(|name| CONTROLLERS.contains(name));
    // One at a time: a machine may refuse one of them and give the others.
    let given = offered.filter(|name| fs::write(path.join("cgroup.subtree_control"), format!("+{name}")).is_ok());
    let controllers = given.map(str::to_owned).collect();
    Some(Cgroup { path, controllers })
}

/// The group of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its directory.
    pub path: PathBuf,
}

/// Where the group of a run is.
#[must_use]
pub fn path_of(parent: &Path, file_id: &str) -> PathBuf {
    parent.join(format!("run-{file_id}"))
}

impl Group {
    /// Makes the group of a run and sets its limits. Also returns the names of limits that it cannot keep.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(parent: &Cgroup, file_id: &str, limits: &Limits) -> io::Result<(Self, Vec<&'static str>)> {
        let path = path_of(&parent.path, file_id);
        fs::create_dir(&path)?;
        let set = |name: &'static str, controller: &str, file: &str, value: Option<String>| {
            let value = value?;
            let kept = parent.controllers.iter().any(|have| have == controller) && fs::write(path.join(file), value).is_ok();
            (!kept).then_some(name)
        };
        let missing = [
            set("memoryBytes", "memory", "memory.max", limits.memory_bytes.map(|bytes| bytes.to_string())),
            set(
                "cpuPercent",
                "cpu",
                "cpu.max",
                limits.cpu_percent.map(|percent| format!("{} {PERIOD}", u64::from(percent) * PERIOD / 100)),
            ),
            set("tasks", "pids", "pids.max", limits.tasks.map(|tasks| tasks.to_string())),
            set("ioWeight", "io", "io.weight", limits.io_weight.map(|weight| format!("default {weight}"))),
        ];
        Ok((Self { path }, missing.into_iter().flatten().collect()))
    }

    /// What the kernel has counted, for the end of a run, and whether it ended processes for want of memory.
    #[must_use]
    pub fn figures(&self, mut of: LimitsApplied) -> (LimitsApplied, bool) {
        let number = |file: &str| fs::read_to_string(self.path.join(file)).ok()?.trim().parse().ok();
        of.memory_peak_bytes = number("memory.peak");
        of.tasks_peak = number("pids.peak");
        of.throttled_ms = self.field("cpu.stat", "throttled_usec").map(|us| us / 1000);
        (of, self.field("memory.events", "oom_kill").is_some_and(|kills| kills > 0))
    }

    fn field(&self, file: &str, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.path.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Ends every process in it at once, whatever it has done to hide.
    pub fn kill(&self) {
        // A kernel before 5.14 has no such file; the sweep by parents does it there.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
    }

    /// Removes it. A group in which processes are left stays; the next daemon finds it.
    pub fn remove(&self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// Ends and removes the group that a lost run may have left.
pub fn end(parent: &Path, file_id: &str) {
    let group = Group { path: path_of(parent, file_id) };
    group.kill();
    group.remove();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::isolation::LimitedBy;

    /// A directory that looks like a group handed over, with `procs` in it.
    fn handed_over(procs: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("unit");
        fs::create_dir_all(unit.join(OWN_SUBGROUP)).unwrap();
        fs::write(unit.join("cgroup.procs"), procs).unwrap();
        fs::write(unit.join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        fs::write(unit.join("cgroup.subtree_control"), "").unwrap();
        (dir, unit)
    }

    #[test]
    fn only_a_group_above_our_own_that_holds_no_process_is_ours() {
        let (_dir, unit) = handed_over("");
        let own = own_at(&unit.join(OWN_SUBGROUP)).unwrap();
        assert_eq!((own.path.as_path(), own.controllers.join(" ")), (unit.as_path(), "cpu io memory pids".to_owned()));
        assert_eq!(own_at(&unit), None);
        let (_dir, busy) = handed_over("17\n");
        assert_eq!(own_at(&busy.join(OWN_SUBGROUP)), None);
    }

    #[test]
    fn the_mount_point_of_version_two_is_found_beside_version_one() {
        let text = "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 25 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(text), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mount_point("30 25 0:26 / /x rw - ext4 /dev/sda rw"), None);
    }

    #[test]
    fn a_group_holds_what_its_parent_can_and_names_the_rest() {
        let (_dir, unit) = handed_over("");
        let parent = Cgroup { path: unit.clone(), controllers: vec!["memory".into(), "cpu".into()] };
        let limits = Limits { memory_bytes: Some(1 << 20), cpu_percent: Some(150), tasks: Some(9), ..Limits::default() };
        let (group, missing) = Group::create(&parent, "f1", &limits).unwrap();
        let read = |file: &str| fs::read_to_string(group.path.join(file)).unwrap();
        assert_eq!((read("memory.max"), read("cpu.max")), ("1048576".to_owned(), "150000 100000".to_owned()));
        assert_eq!(missing, ["tasks"]);
        assert!(Group::create(&parent, "f1", &limits).is_err(), "the group of another run");
    }

    #[test]
    fn figures_are_those_that_the_kernel_gives() {
        let (_dir, unit) = handed_over("");
        let group = Group { path: unit };
        for (file, text) in
            [("memory.peak", "4096\n"), ("cpu.stat", "usage_usec 9\nthrottled_usec 5000\n"), ("memory.events", "oom 1\noom_kill 2\n")]
        {
            fs::write(group.path.join(file), text).unwrap();
        }
        let none = LimitsApplied {
            applied: LimitedBy::Cgroup,
            missing: Vec::new(),
            memory_peak_bytes: None,
            tasks_peak: None,
            throttled_ms: None,
        };
        let (figures, oom) = group.figures(none);
        assert_eq!((figures.memory_peak_bytes, figures.tasks_peak, figures.throttled_ms, oom), (Some(4096), None, Some(5), true));
    }
}
