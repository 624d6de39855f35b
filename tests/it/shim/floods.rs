//! Output in floods: bounded, in order, with exact counts.

use skykoi_gateway::protocol::run::RunStatus;
use skykoi_gateway::runs::control::OutputLimits;

use super::{Bench, Ended, until};

fn limits(cap_bytes: u64, tail_bytes: u64) -> OutputLimits {
    OutputLimits { cap_bytes, tail_bytes, max_bytes_per_second: None }
}

fn gaps(ended: &Ended) -> Vec<u64> {
    ended.lines.iter().filter_map(|line| line["data"]["droppedBytes"].as_u64()).collect()
}

#[tokio::test]
async fn m76_yes_until_the_time_limit_is_counted_and_keeps_head_and_tail() {
    // The first flood has time to be read on a machine that stands still now and then, the second one is cut off.
    let mut bench = Bench::new("yes | head -c 8000000; sleep 5; yes");
    bench.spec.timeout_ms = Some(6000);
    bench.spec.output = limits(1 << 20, 1 << 16);
    let ended = bench.run().await;
    let kept = ended.text("stdout").len() as u64;
    let outcome = &ended.outcome;
    assert_eq!(outcome.status, RunStatus::Timeout);
    assert!(outcome.truncated && outcome.stdout_bytes > 3 << 20, "{outcome:?}");
    assert_eq!(kept + outcome.dropped_bytes, outcome.stdout_bytes);
    assert_eq!(gaps(&ended), [outcome.dropped_bytes]);
    let size = bench.scan().len;
    assert!((1 << 19..(1 << 20) + 8192).contains(&size), "{size}");
    // Two thousand times the cap would be lines for ever; the process itself stays small.
    assert!(outcome.peak_rss_bytes < 64 << 20);
}

#[tokio::test]
async fn m76_one_endless_line_is_cut_into_chunks_and_its_end_is_kept() {
    let mut bench = Bench::new("head -c 50000000 /dev/zero | tr '\\0' x; printf END");
    bench.spec.output = limits(4 << 20, 1 << 18);
    let ended = bench.run().await;
    assert_eq!(ended.outcome.stdout_bytes, 50_000_003);
    let text = ended.text("stdout");
    assert!(text.starts_with("xxx") && text.ends_with("xEND"));
    assert_eq!(text.len() as u64 + ended.outcome.dropped_bytes, 50_000_003);
    assert!(ended.lines.iter().filter_map(|line| line["text"].as_str()).all(|text| text.len() <= 64 * 1024));
}

#[tokio::test]
async fn m76_output_below_the_cap_is_complete() {
    let ended = Bench::new("seq 1 300000").run().await;
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert!(ended.text("stdout") == expected);
    assert_eq!((ended.outcome.dropped_bytes, ended.outcome.truncated), (0, false));
}

#[tokio::test]
async fn m76_bytes_that_are_no_text_are_replaced_and_counted_as_written() {
    let ended = Bench::new(r"printf 'a\xff\xc3'; sleep 0.05; printf '\xa9\xe2\x82'; printf '\0\x1b[1m' >&2").run().await;
    assert_eq!(ended.text("stdout"), "a\u{fffd}é\u{fffd}");
    assert_eq!(ended.text("stderr"), "\0\u{1b}[1m");
    assert_eq!((ended.outcome.stdout_bytes, ended.outcome.stderr_bytes, ended.outcome.dropped_bytes), (6, 5, 0));
}

#[tokio::test]
async fn m76_many_tiny_writes_become_few_lines() {
    let ended = Bench::new("for ((i = 0; i < 100000; i++)); do printf x; done").run().await;
    assert_eq!(ended.text("stdout").len(), 100_000);
    assert!(ended.lines.len() < 5000, "{} lines", ended.lines.len());
}

#[tokio::test]
async fn the_first_line_is_not_held_back_while_the_command_goes_on() {
    let bench = Bench::new("echo first; sleep 100");
    let mut started = bench.start().await;
    until("the line is in the journal", || bench.scan().head >= 3).await;
    bench.abort(&mut started, "rpc").await;
    assert_eq!(bench.finish(started).await.text("stdout"), "first\n");
}

#[tokio::test]
async fn a_rate_limit_slows_the_command_down() {
    let mut bench = Bench::new("yes");
    bench.spec.timeout_ms = Some(1000);
    bench.spec.output.max_bytes_per_second = Some(1 << 20);
    let ended = bench.run().await;
    // A burst at the start, one at the end, and the rate between them.
    assert!(ended.outcome.stdout_bytes < 5 << 20, "{}", ended.outcome.stdout_bytes);
    assert!(!ended.outcome.truncated);
}

/// Needs the right to mount, so it does nothing for an ordinary user.
#[tokio::test]
async fn m76_a_full_disk_drops_output_and_still_takes_the_terminal_line() {
    let bench = Bench::new("seq 1 1000000; echo end");
    let folder = bench.journal().parent().unwrap().to_owned();
    std::fs::create_dir_all(&folder).unwrap();
    let _mounted = match Mounted::tmpfs(&folder) {
        Some(mounted) => mounted,
        None => return,
    };
    let ended = bench.run().await;
    assert_eq!((ended.outcome.status, ended.outcome.exit_code, ended.outcome.truncated), (RunStatus::Ok, Some(0), true));
    assert_eq!(ended.text("stdout").len() as u64 + ended.outcome.dropped_bytes, ended.outcome.stdout_bytes);
    assert!(bench.scan().len > 1 << 18);
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(folder: &std::path::Path) -> Option<Self> {
        run("mount", &["-t", "tmpfs", "-o", "size=512k", "tmpfs", folder.to_str()?]).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test that needs a disk of its own")]
    let mut command = std::process::Command::new(program);
    command.args(args).stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}
