//! The process of one target: gives it inputs until the time is over, and keeps the one that fails.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::corpus;
use crate::mutate::mutate;
use crate::random::Random;
use crate::targets::Target;
use crate::variable;

/// Memory that no input may need, bytes: beyond it the process is ended, which its parent reports.
const MEMORY: u64 = 4 << 30;
/// Inputs kept in memory for their new outcomes.
const KEPT: usize = 4096;
/// Tries to make a failing input smaller.
const SHRINKS: usize = 2000;

/// Runs the target for `time`; `current` is the file in which the parent finds the input at work.
pub fn run(target: &Target, current: &Path, time: Duration) -> ExitCode {
    setrlimit(Resource::As, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) }).unwrap();
    let seed = variable("SKYKOI_FUZZ_SEED").map_or_else(fresh_seed, |text| text.parse().unwrap());
    let current = File::options().write(true).open(current).unwrap();
    let mut inputs = corpus::inputs(target);
    let (given, mut random) = (inputs.len(), Random::new(seed));
    let (mut outcomes, mut count) = (HashSet::new(), 0_u64);
    for input in &inputs {
        count += 1;
        note(&current, count, input);
        match attempt(target, input) {
            Ok(outcome) => drop(outcomes.insert(outcome)),
            Err(()) => return failed(target, input, seed),
        }
    }
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (one, other) = (random.below(inputs.len()), random.below(inputs.len()));
        let input = mutate(&inputs[one], &inputs[other], target.words, target.max, &mut random);
        count += 1;
        note(&current, count, &input);
        match attempt(target, &input) {
            Ok(outcome) if inputs.len() < given + KEPT && outcomes.insert(outcome) => inputs.push(input),
            Ok(_) => {}
            Err(()) => return failed(target, &input, seed),
        }
    }
    println!("{count} inputs, {given} of them kept ones, {} outcomes, seed {seed}", outcomes.len());
    ExitCode::SUCCESS
}

/// Runs the target on the bytes of a file.
pub fn replay(target: &Target, file: &Path) -> ExitCode {
    let input = std::fs::read(file).unwrap();
    let began = Instant::now();
    let outcome = (target.run)(&input);
    println!("{}: outcome {outcome:x} after {:?}", target.name, began.elapsed());
    ExitCode::SUCCESS
}

fn fresh_seed() -> u64 {
    u64::from_le_bytes(uuid::Uuid::new_v4().as_bytes()[..8].try_into().unwrap())
}

/// Leaves the input where the parent finds it: its number, its length, its bytes.
fn note(current: &File, count: u64, input: &[u8]) {
    let head = [count.to_le_bytes(), (input.len() as u64).to_le_bytes()].concat();
    current.write_all_at(&[&head, input].concat(), 0).unwrap();
}

fn attempt(target: &Target, input: &[u8]) -> Result<u64, ()> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(drop)
}

/// Makes the input smaller as long as it fails, keeps it, and says where.
fn failed(target: &Target, input: &[u8], seed: u64) -> ExitCode {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let mut smallest = input.to_vec();
    let (mut step, mut tries) = (smallest.len() / 2, 0);
    while step > 0 && tries < SHRINKS {
        let mut at = 0;
        while at < smallest.len() && tries < SHRINKS {
            let mut shorter = smallest.clone();
            shorter.drain(at..(at + step).min(smallest.len()));
            tries += 1;
            if attempt(target, &shorter).is_err() { smallest = shorter } else { at += step }
        }
        step /= 2;
    }
    set_hook(hook);
    eprintln!("{} (seed {seed}): {}", target.name, corpus::keep(target, &smallest));
    ExitCode::FAILURE
}
