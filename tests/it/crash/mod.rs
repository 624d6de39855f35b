//! The crash test: the daemon is killed at random moments under load, again and again, and now and then a run's shim too. Whatever happens, no accepted run may be lost, run twice or ended twice, and no reconnecting client may see a hole or a repeat.
//!
//! `SKYKOI_KILLS` says how often (200), `SKYKOI_SEED` repeats an order of moments. A moment is counted in frames that clients received, or is a few milliseconds into a start.

mod verdict;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::harness::{Gateway, kill_9};
use worker::{Job, Worker};

/// Clients that start runs; one more only watches.
const WORKERS: usize = 5;
/// The test gives up on a state that does not change for so long.
const STALL: Duration = Duration::from_secs(60);

/// A small generator of numbers that are the same for the same seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// What the killer and the workers share.
pub struct World {
    /// Where the daemon listens; none while it is dead. The number tells one start from the next.
    pub door: watch::Sender<Option<(u64, u16)>>,
    /// Frames received by all workers.
    pub frames: AtomicU64,
    /// Rings with every frame.
    pub bell: Notify,
    /// No new runs from here on.
    pub closing: watch::Sender<bool>,
    /// Where scripts note that they were executed.
    pub notes: std::path::PathBuf,
    /// Every run that was acknowledged, when it is over.
    pub done: Mutex<Vec<Job>>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m84_kills_at_random_moments_lose_nothing_and_repeat_nothing() {
    let kills = number("SKYKOI_KILLS", 200);
    let seed = number("SKYKOI_SEED", uuid::Uuid::new_v4().as_u64_pair().0);
    eprintln!("crash test: SKYKOI_KILLS={kills} SKYKOI_SEED={seed}");
    let mut gateway = Gateway::prepared(&json!({
        "agents": { "defaults": { "maxConcurrent": 4 } },
        "logging": { "level": "warn" },
    }));
    let notes = gateway.state_dir().join("notes");
    std::fs::create_dir(&notes).unwrap();
    let world = Arc::new(World {
        door: watch::Sender::new(None),
        frames: AtomicU64::new(0),
        bell: Notify::new(),
        closing: watch::Sender::new(false),
        notes,
        done: Mutex::default(),
    });
    let mut dice = Dice(seed);
    let mut workers = JoinSet::new();
    for index in 0..WORKERS {
        workers.spawn(Worker::new(index, dice.below(u64::MAX), Arc::clone(&world)).work());
    }

    let mut killer = Killer { gateway: &mut gateway, world: &world, dice, lost_hosts: Vec::new(), starts: 0 };
    let begun = Instant::now();
    for _ in 0..kills {
        killer.round().await;
        if let Some(ended) = workers.try_join_next() {
            ended.unwrap();
            panic!("a worker ended while it had work");
        }
    }
    killer.start().await;
    let lost_hosts = std::mem::take(&mut killer.lost_hosts);
    world.closing.send_replace(true);
    let finished = async {
        while let Some(ended) = workers.join_next().await {
            ended.unwrap();
        }
    };
    if tokio::time::timeout(STALL, finished).await.is_err() {
        let mut client = crate::harness::Client::connect(&gateway).await;
        for status in ["accepted", "queued", "running"] {
            eprintln!("{status}: {}", client.ok("runs.list", json!({"status": status})).await);
        }
        panic!("the workers do not finish though nobody is killed any more");
    }
    let jobs = std::mem::take(&mut *world.done.lock().unwrap());
    eprintln!(
        "crash test: {kills} kills, {} runs, {} shims killed, {} frames, {:.1?}",
        jobs.len(),
        lost_hosts.len(),
        world.frames.load(Ordering::Relaxed),
        begun.elapsed()
    );
    verdict::check(&gateway, &jobs, &lost_hosts, &world.notes).await;
}

struct Killer<'a> {
    gateway: &'a mut Gateway,
    world: &'a World,
    dice: Dice,
    /// Runs whose shim was killed.
    lost_hosts: Vec<String>,
    starts: u64,
}

impl Killer<'_> {
    /// One life of the daemon, and its end.
    async fn round(&mut self) {
        if self.dice.below(8) == 0 {
            // Somewhere in the start, most often before it listens.
            tokio::task::block_in_place(|| self.gateway.spawn());
            tokio::time::sleep(Duration::from_millis(self.dice.below(60))).await;
        } else {
            self.start().await;
            let frames = self.dice.below(60);
            self.receive(frames).await;
            if self.dice.below(3) == 0 {
                tokio::time::sleep(Duration::from_micros(self.dice.below(8000))).await;
            }
        }
        let shim_first = self.dice.below(2) == 0;
        let shim_too = self.dice.below(3) == 0;
        if shim_too && shim_first {
            self.kill_a_shim();
        }
        tokio::task::block_in_place(|| self.gateway.kill());
        self.world.door.send_replace(None);
        if shim_too && !shim_first {
            self.kill_a_shim();
        }
    }

    async fn start(&mut self) {
        tokio::task::block_in_place(|| self.gateway.launch());
        self.starts += 1;
        self.world.door.send_replace(Some((self.starts, self.gateway.port())));
    }

    /// Waits until the workers have received so many more frames. A daemon that says nothing is found out by the stall.
    async fn receive(&self, frames: u64) {
        let wanted = self.world.frames.load(Ordering::Relaxed) + frames;
        let enough = async {
            while self.world.frames.load(Ordering::Relaxed) < wanted {
                self.world.bell.notified().await;
            }
        };
        tokio::time::timeout(STALL, enough).await.unwrap_or_else(|_| panic!("no frames any more\n{}", self.gateway.log()));
    }

    fn kill_a_shim(&mut self) {
        let shims = self.gateway.shims();
        if shims.is_empty() {
            return;
        }
        let (run_id, pid) = shims[usize::try_from(self.dice.below(shims.len() as u64)).unwrap()].clone();
        kill_9(pid);
        self.lost_hosts.push(run_id);
    }
}
