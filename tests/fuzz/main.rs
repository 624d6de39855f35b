//! Fuzzing of everything that reads bytes of strangers: each target is given inputs made from its corpus, and must neither panic, nor take long, nor give an answer that cannot be right.
//!
//! One process per target, so that an abort, an overflow of the stack or a loop without an end is that target's failure and leaves its input behind. The inputs are mutations of the corpus; what has an outcome that was not seen before is kept and mutated further. That is less than coverage tells and needs no special compiler, no instrumentation and no unchecked code, so it runs wherever the tests run.
//!
//! | variable | meaning |
//! |---|---|
//! | `SKYKOI_FUZZ_SECONDS` | seconds per target, 5 when absent |
//! | `SKYKOI_FUZZ_TARGETS` | names of targets, separated by commas; all when absent |
//! | `SKYKOI_FUZZ_SEED` | a number; with the same one the same inputs are tried |
//! | `SKYKOI_FUZZ_REPLAY` | a file: run one target (name it) on these bytes alone |

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on must fail loudly"
)]

mod child;
mod corpus;
mod mutate;
mod random;
mod targets;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use targets::{TARGETS, Target};

/// Set for the process of one target; the parent gives it the file that holds the input at work.
pub const CURRENT: &str = "SKYKOI_FUZZ_CURRENT";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn main() -> ExitCode {
    // Whoever lists or filters the tests of the package means those of the other targets.
    if std::env::args().skip(1).any(|arg| arg == "--list" || !arg.starts_with('-')) {
        return ExitCode::SUCCESS;
    }
    let names = variable("SKYKOI_FUZZ_TARGETS");
    let chosen: Vec<&Target> =
        TARGETS.iter().filter(|target| names.as_ref().is_none_or(|names| names.split(',').any(|name| name == target.name))).collect();
    if let Some(names) = names.as_ref().filter(|names| names.split(',').count() != chosen.len()) {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("SKYKOI_FUZZ_TARGETS={names}: the targets are {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    let time = Duration::from_secs(variable("SKYKOI_FUZZ_SECONDS").map_or(5, |text| text.parse().unwrap()));
    match (variable(CURRENT), variable("SKYKOI_FUZZ_REPLAY"), chosen.as_slice()) {
        (Some(current), _, [target]) => child::run(target, Path::new(&current), time),
        (None, Some(file), [target]) => child::replay(target, Path::new(&file)),
        (None, None, _) => all(&chosen, time),
        _ => {
            eprintln!("name one target in SKYKOI_FUZZ_TARGETS");
            ExitCode::FAILURE
        }
    }
}

/// As many targets at a time as there are processors.
fn all(targets: &[&Target], time: Duration) -> ExitCode {
    let queue = Mutex::new(targets.iter());
    let failed = AtomicBool::new(false);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(target) = queue.lock().unwrap().next() else { return };
                    match watch::supervise(target, time) {
                        Ok(line) => println!("fuzz {:<10} {line}", target.name),
                        Err(why) => {
                            eprintln!("fuzz {:<10} FAILED: {why}", target.name);
                            failed.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    if failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
