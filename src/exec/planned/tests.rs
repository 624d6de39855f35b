//! Tests of planned commands with real processes: what was decided about is what runs.

use super::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;

use crate::config::tools::{ExecAsk, ExecSecurity};
use crate::exec::policy::decide::{Basis, Request, decide};
use crate::exec::policy::entries::{Entries, Entry};
use crate::exec::policy::plan::sha256;
use crate::exec::policy::trust::tests::{place, put};
use crate::exec::policy::{Rule, Verdict};

const ALLOWLIST: Rule = Rule { security: ExecSecurity::Allowlist, ask: ExecAsk::Off };

struct World {
    dir: tempfile::TempDir,
    trust: Trust,
    entries: Entries,
    env: BTreeMap<String, String>,
}

impl World {
    /// Copies of the system's programs in a trusted folder, all listed.
    fn with(names: &[&str]) -> Self {
        let (dir, trust) = place();
        for name in names {
            let found = Trust::default().locate(name).unwrap();
            put(&dir, &format!("bin/{name}"), &std::fs::read(found).unwrap(), 0o755);
        }
        let pattern = format!("{}/bin/**", std::fs::canonicalize(dir.path()).unwrap().display());
        let list = vec![Entry { pattern, sha256: None }];
        Self { dir, trust, entries: Entries { list, ..Entries::default() }, env: BTreeMap::from([("LC_ALL".into(), "C".into())]) }
    }

    fn top(&self) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).unwrap()
    }

    fn plan(&self, command: &str) -> Box<Plan> {
        let basis = Basis { rule: ALLOWLIST, safe_bins: &[], entries: &self.entries, trust: &self.trust };
        let request = Request { command, cwd: &self.top(), env: &self.env, shell: Path::new("/bin/sh"), run_id: "r", requester: "token" };
        match decide(&basis, &request) {
            Verdict::Allow(Some(plan)) => plan,
            other => panic!("{command}: {other:?}"),
        }
    }

    fn spawn(&self, plan: &Plan) -> Result<Running, PlannedError> {
        self.spawn_behind(plan, &Wrapped::default())
    }

    /// One start at a time, as in a shim: the mask for new files, which it changes for a moment, is that of the whole process.
    fn spawn_behind(&self, plan: &Plan, before: &Wrapped) -> Result<Running, PlannedError> {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        spawn(plan, &self.env, &self.trust, before, 500)
    }

    /// Stdout, stderr and the exit code.
    async fn run(&self, command: &str) -> (String, String, Option<i32>) {
        finish(self.spawn(&self.plan(command)).unwrap()).await
    }
}

async fn finish(mut running: Running) -> (String, String, Option<i32>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (a, b, status) = tokio::join!(running.stdout.read_to_end(&mut out), running.stderr.read_to_end(&mut err), running.leader.wait());
    a.unwrap();
    b.unwrap();
    (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned(), status.unwrap().code())
}

fn denied(result: Result<Running, PlannedError>) -> Denied {
    match result {
        Err(PlannedError::Denied(denied)) => denied,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn m64_what_runs_is_exactly_what_was_planned() {
    let world = World::with(&["printf", "cat", "tr"]);
    assert_eq!(world.run(r"printf '%s|' ';id' '$HOME' '*' 'a  b' '' ").await.0, ";id|$HOME|*|a  b||");
    assert_eq!(world.run("printf '%s' abc | tr a-z A-Z | cat").await, ("ABC".into(), String::new(), Some(0)));
    assert_eq!(world.run("cat").await.0, "", "stdin is at its end");
    let (out, err, code) = world.run("printf x | cat /no/such/file | cat").await;
    assert_eq!((out.as_str(), code), ("", Some(0)), "the last one's status is the command's");
    assert!(err.contains("/no/such/file"), "{err}");
}

#[tokio::test]
async fn a_planned_command_has_its_own_environment_folder_name_and_signal_state() {
    let mut world = World::with(&["cat", "readlink"]);
    world.env.insert("A".into(), "1".into());
    assert_eq!(world.run("cat /proc/self/environ").await.0, "A=1\0LC_ALL=C\0");
    assert_eq!(world.run("readlink /proc/self/cwd").await.0.trim_end(), world.top().to_str().unwrap());
    let cmdline = world.run("cat /proc/self/cmdline").await.0;
    assert_eq!(cmdline, "cat\0/proc/self/cmdline\0");
    let status = world.run("cat /proc/self/status").await.0;
    assert!(status.contains("Umask:\t0077") && status.contains("SigBlk:\t0000000000000000"), "{status}");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & (1 << 12), 0, "SIGPIPE ends a stage that nobody reads");
}

#[tokio::test]
async fn what_stands_before_a_planned_command_becomes_the_held_file() {
    let mut world = World::with(&["cat", "dash"]);
    let dash = world.top().join("bin/dash");
    let text = format!("#!{}\nprintf '%s|' \"$@\"\n", dash.display());
    let script = put(&world.dir, "bin/deploy", text.as_bytes(), 0o755);
    world.entries.list.push(Entry { pattern: script.display().to_string(), sha256: Some(sha256(text.as_bytes())) });
    let plan = world.plan("deploy a 'b c' | cat");
    let before = Wrapped { words: vec!["/usr/bin/env".into(), "INSIDE=1".into()], without: Vec::new() };
    let running = world.spawn_behind(&plan, &before).unwrap();
    assert_eq!(finish(running).await.0, "a|b c|");
    let running = world.spawn_behind(&world.plan("cat /proc/self/environ"), &before).unwrap();
    assert_eq!(finish(running).await.0, "LC_ALL=C\0INSIDE=1\0");
}

#[tokio::test]
async fn a_pipeline_is_one_group_that_ends_together() {
    let world = World::with(&["yes", "head", "cat", "sleep"]);
    let (out, _, code) = world.run("yes | head -2").await;
    assert_eq!((out.as_str(), code), ("y\ny\n", Some(0)));
    let mut running = world.spawn(&world.plan("sleep 100 | sleep 100 | cat")).unwrap();
    assert_eq!(running.leader.pids().len(), 3);
    running.leader.signal_group(rustix::process::Signal::KILL);
    let ended = tokio::time::timeout(Duration::from_secs(60), running.leader.wait()).await.unwrap().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
}

#[tokio::test]
async fn m70_whatever_is_changed_after_the_decision_starts_nothing() {
    let mut world = World::with(&["cat"]);
    let (plan, path) = (world.plan("cat x"), world.top().join("bin/cat"));
    world.env.insert("LANG".into(), "C".into());
    assert_eq!(denied(world.spawn(&plan)).token, "CHANGED");
    world.env.remove("LANG");
    // To its end: a file that still runs cannot be written to.
    finish(world.spawn(&plan).unwrap()).await;
    let mut other = plan.clone();
    other.cwd.ino += 1;
    assert_eq!(denied(world.spawn(&other)).token, "CHANGED");
    let mut other = plan.clone();
    other.approval = Some("a1".into());
    other.stages[0].exe.sha256 = sha256(b"other");
    assert_eq!(denied(world.spawn(&other)).code, crate::protocol::run::DeniedCode::ApprovalStale);
    let mut content = std::fs::read(&path).unwrap();
    content.push(0);
    put(&world.dir, "bin/cat", &content, 0o755);
    assert_eq!(denied(world.spawn(&plan)).token, "CHANGED");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(denied(world.spawn(&plan)).token, "NOT_FOUND");
    std::os::unix::fs::symlink("/bin/cat", &path).unwrap();
    assert!(world.spawn(&plan).is_err());
    let empty = Plan { stages: Vec::new(), ..*plan };
    assert_eq!(denied(world.spawn(&empty)).token, "PLAN");
}

#[tokio::test]
async fn a_pinned_script_runs_as_it_was_and_cannot_rewrite_itself() {
    let mut world = World::with(&["dash", "cat"]);
    let dash = world.top().join("bin/dash");
    let text = format!("#!{} -e\nprintf '%s|' \"$@\"\nprintf more >>\"$0\" || printf sealed\n", dash.display());
    let script = put(&world.dir, "bin/deploy", text.as_bytes(), 0o755);
    world.entries.list.push(Entry { pattern: script.display().to_string(), sha256: Some(sha256(text.as_bytes())) });
    let (out, err, _) = world.run("deploy 'a b' ';' | cat").await;
    assert_eq!(out, "a b|;|sealed", "{err}");
    let plan = world.plan("deploy a");
    std::fs::write(&script, text.replace("%s", "%d")).unwrap();
    assert_eq!(denied(world.spawn(&plan)).token, "CHANGED");
}

#[tokio::test]
async fn what_is_no_program_after_all_is_an_error_of_the_system_and_leaves_nothing_behind() {
    let world = World::with(&["cat"]);
    put(&world.dir, "bin/broken", b"\x7fELFbroken", 0o755);
    let failed = world.spawn(&world.plan("cat | broken | cat")).unwrap_err();
    assert!(matches!(&failed, PlannedError::Spawn(failed) if failed.to_string().contains("cat | broken | cat")), "{failed:?}");
}

/// How often the race is run; many more by hand.
fn rounds(normal: usize) -> usize {
    std::env::var("SKYKOI_TEST_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(normal)
}

#[tokio::test(flavor = "multi_thread")]
async fn m67_a_link_or_file_that_is_turned_around_between_check_and_start_never_runs_the_other_program() {
    let world = World::with(&["true"]);
    let bin = world.top().join("bin");
    // Two programs that tell themselves apart by their exit status; only `good` is listed.
    let good = put(&world.dir, "bin/good", &std::fs::read("/bin/true").unwrap(), 0o755);
    let evil = put(&world.dir, "bin/evil", &std::fs::read("/bin/false").unwrap(), 0o755);
    let mut world = world;
    let real = bin.join("tool");
    let digest = sha256(&std::fs::read(&good).unwrap());
    world.entries.list = vec![Entry { pattern: real.display().to_string(), sha256: Some(digest) }];
    std::fs::hard_link(&good, &real).unwrap();
    let stop = AtomicBool::new(false);
    let world = &world;
    let (mut ran, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let turner = scope.spawn(|| {
            let spare = bin.join("spare");
            // The other program under the name itself, then behind a link, and the listed one in between.
            let turns = [(&evil, false), (&good, false), (&evil, true), (&good, false)];
            for (target, by_link) in turns.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                let made = if *by_link { std::os::unix::fs::symlink(target, &spare) } else { std::fs::hard_link(target, &spare) };
                made.and_then(|()| std::fs::rename(&spare, &real)).unwrap();
                // Renaming one name of a file onto another of the same does nothing.
                let _ = std::fs::remove_file(&spare);
            }
        });
        let basis = Basis { rule: ALLOWLIST, safe_bins: &[], entries: &world.entries, trust: &world.trust };
        let top = world.top();
        let request = Request { command: "tool", cwd: &top, env: &world.env, shell: Path::new("/bin/sh"), run_id: "r", requester: "t" };
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            let patience = Instant::now() + Duration::from_secs(60);
            for round in 0_usize.. {
                // On until both were met: either thread may be held up while the other one makes all its rounds.
                if round >= rounds(300) && ((ran > 0 && refused > 0) || Instant::now() > patience) {
                    break;
                }
                let Verdict::Allow(Some(plan)) = decide(&basis, &request) else {
                    refused += 1;
                    continue;
                };
                match world.spawn(&plan) {
                    Ok(running) => {
                        assert_eq!(runtime.block_on(finish(running)).2, Some(0), "the other program ran");
                        ran += 1;
                    }
                    Err(PlannedError::Denied(_)) => refused += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
        stop.store(true, Ordering::Relaxed);
        turner.join().unwrap();
    });
    assert!(ran > 0 && refused > 0, "ran {ran}, refused {refused}: the race was none");
}

/// The words of a command, each in one of the ways in which it can be written.
fn written(words: &[(String, u8)]) -> String {
    let quoted = words.iter().map(|(word, way)| match way {
        0 => format!("'{}'", word.replace('\'', r"'\''")),
        1 => word.chars().map(|c| if c.is_ascii() { format!("\\{c}") } else { c.to_string() }).chain(["''".to_owned()]).collect(),
        _ => word.split(['"', '$', '`', '\\']).map(|part| format!("\"{part}\"")).collect(),
    });
    quoted.fold(r"printf '%s\0'".to_owned(), |all, word| format!("{all} {word}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds(100).try_into().unwrap()))]

    #[test]
    fn m64_whatever_is_written_reaches_the_program_as_the_words_that_were_meant(
        words in proptest::collection::vec(("[ -~äß大]{0,10}", 0u8..3), 1..8),
    ) {
        thread_local!(static WORLD: (World, tokio::runtime::Runtime) = {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            (World::with(&["printf"]), runtime)
        });
        let out = WORLD.with(|(world, runtime)| runtime.block_on(world.run(&written(&words)))).0;
        let meant: String = words.iter().map(|(word, way)| match way {
            2 => word.replace(['"', '$', '`', '\\'], "") + "\0",
            _ => word.clone() + "\0",
        }).collect();
        prop_assert_eq!(out, meant);
    }
}
