//! `conformance`: plays the golden transcripts of the protocol against any server that speaks it.
//!
//! The transcripts are data (`tests/vectors/conformance`) and part of the program. They know nothing of this gateway but its wire, make sessions of their own, and change no configuration unless that is allowed.

pub mod case;
mod fill;
pub mod pattern;
pub mod play;
mod words;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use self::case::{Case, File};
use self::play::{Failure, Setting, Verdict, play};
use super::error::{CliError, OK};
use super::output::Output;
use super::table::plain;
use super::target::{Target, TargetArgs};

/// A case did not come out as it must.
const FAILED: u8 = 1;
/// Longest line of the report, in characters.
const LINE: usize = 1000;

/// The transcripts, by the name of their file.
pub static FILES: &[(&str, &str)] = &[
    ("connect", include_str!("../../../tests/vectors/conformance/connect.json5")),
    ("frames", include_str!("../../../tests/vectors/conformance/frames.json5")),
    ("agent", include_str!("../../../tests/vectors/conformance/agent.json5")),
    ("chat", include_str!("../../../tests/vectors/conformance/chat.json5")),
    ("sessions", include_str!("../../../tests/vectors/conformance/sessions.json5")),
    ("config", include_str!("../../../tests/vectors/conformance/config.json5")),
];

/// Test any server of the protocol with golden transcripts
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  skykoi-gateway conformance --url ws://127.0.0.1:18789/ws --token-file token.txt\n  skykoi-gateway conformance --url wss://vm.example.com --token-file token.txt --filter 'agent:' --protocol 3\n\nOne line per case; exit code 1 when one fails. Each case uses sessions of its own."
)]
pub struct ConformanceArgs {
    /// Only cases whose name, such as `connect: the wrong token`, has this in it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// Only this version of the protocol [default: 3 and 4]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(3..=4))]
    pub protocol: Option<u32>,
    /// Print one JSON object per case
    #[arg(long)]
    pub json: bool,
    /// Also play the cases that change the server's configuration and agents
    #[arg(long)]
    pub allow_writes: bool,
    /// Leave out the cases whose messages are shell scripts: the server's agent is no shell
    #[arg(long)]
    pub no_shell: bool,
    /// Also play the cases that wait for a limit to pass
    #[arg(long)]
    pub slow: bool,
    /// Seconds to wait for a frame
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub patience: u64,
    /// Play the cases of this file instead of the built-in ones; may be repeated
    #[arg(long, value_name = "FILE")]
    pub cases: Vec<PathBuf>,
    /// Name the cases and play none
    #[arg(long)]
    pub list: bool,
    /// Which gateway.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Runs the command.
///
/// # Errors
/// A file of cases is wrong, or the server cannot be reached at all.
pub async fn run(args: ConformanceArgs, out: &mut Output<'_>) -> Result<u8, CliError> {
    let cases = chosen(&args)?;
    if args.list {
        for (name, case, protocol) in &cases {
            out.line(&title(name, case, *protocol))?;
        }
        return Ok(OK);
    }
    let target = args.target.resolve()?;
    let Target::Remote(remote) = &target else {
        return Err(CliError::Usage("name the server with --url ws://HOST:PORT/ws and --token-file FILE".to_owned()));
    };
    let Some(token) = &remote.token else {
        return Err(CliError::Usage("the cases need the server's token: --token-file FILE".to_owned()));
    };
    // A server that is not there is said once and not once per case.
    drop(super::wire::Wire::open(&target).await?);
    let setting = Setting { target: &target, token, patience: Duration::from_secs(args.patience) };
    let mut counts = [0_usize; 3];
    for (name, case, protocol) in &cases {
        let began = Instant::now();
        let verdict = match left_out(&args, case) {
            Some(why) => Verdict::Left(why.to_owned()),
            None => play(&setting, case, *protocol).await,
        };
        let [good, bad, left] = &mut counts;
        *match verdict {
            Verdict::Good => good,
            Verdict::Bad(_) => bad,
            Verdict::Left(_) => left,
        } += 1;
        let line = if args.json { as_json(name, case, *protocol, &verdict, began) } else { as_text(name, case, *protocol, &verdict) };
        out.line(&line)?;
    }
    let [good, bad, left] = counts;
    out.say(&format!("{good} ok, {bad} failed, {left} left out"));
    Ok(if bad == 0 { OK } else { FAILED })
}

/// The cases to play, each with its file and version.
fn chosen(args: &ConformanceArgs) -> Result<Vec<(String, Case, u32)>, CliError> {
    let mut chosen = Vec::new();
    for (name, file) in files(&args.cases)? {
        for case in file.cases {
            let versions = case.protocols.clone().into_iter().filter(|version| args.protocol.is_none_or(|only| only == *version));
            if format!("{name}: {}", case.name).contains(&args.filter) {
                chosen.extend(versions.map(|version| (name.clone(), case.clone(), version)));
            }
        }
    }
    if chosen.is_empty() {
        return Err(CliError::Usage("no case is chosen; --list without --filter names them all".to_owned()));
    }
    Ok(chosen)
}

fn files(paths: &[PathBuf]) -> Result<Vec<(String, File)>, CliError> {
    let read = |name: &str, path: &Path, text: &str| Ok((name.to_owned(), File::read(path, text).map_err(CliError::Usage)?));
    if paths.is_empty() {
        return FILES.iter().map(|(name, text)| read(name, Path::new(&format!("{name}.json5")), text)).collect();
    }
    let mut files = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        files.push(read(&name, path, &text)?);
    }
    Ok(files)
}

fn left_out(args: &ConformanceArgs, case: &Case) -> Option<&'static str> {
    let reasons = [
        (case.changes && !args.allow_writes, "it changes the server; --allow-writes plays it"),
        (case.shell && args.no_shell, "its messages are shell scripts"),
        (case.slow && !args.slow, "it takes long; --slow plays it"),
    ];
    reasons.into_iter().find_map(|(left, why)| left.then_some(why))
}

fn title(name: &str, case: &Case, protocol: u32) -> String {
    format!("{name}: {} [protocol {protocol}]", case.name)
}

fn as_text(name: &str, case: &Case, protocol: u32, verdict: &Verdict) -> String {
    let title = title(name, case, protocol);
    match verdict {
        Verdict::Good => format!("ok    {title}"),
        Verdict::Left(why) => format!("skip  {title}: {why}"),
        Verdict::Bad(Failure { step, wanted, mismatch }) => plain(&format!("FAIL  {title}: step {step}, {wanted}: {mismatch}"), LINE),
    }
}

fn as_json(name: &str, case: &Case, protocol: u32, verdict: &Verdict, began: Instant) -> String {
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut line = json!({"file": name, "case": case.name, "protocol": protocol, "ok": matches!(verdict, Verdict::Good), "ms": ms});
    let more = match verdict {
        Verdict::Good => json!({}),
        Verdict::Left(why) => json!({"ok": null, "leftOut": why}),
        Verdict::Bad(Failure { step, wanted, mismatch }) => {
            json!({"step": step, "wanted": wanted, "path": mismatch.path, "expected": mismatch.expected, "got": mismatch.got})
        }
    };
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    line.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_case_can_be_played_and_has_a_name_of_its_own() {
        let files = files(&[]).unwrap();
        let mut names: Vec<String> =
            files.iter().flat_map(|(name, file)| file.cases.iter().map(move |case| format!("{name}: {}", case.name))).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_file_of_cases_is_built_in() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/conformance");
        let on_disk = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "json5"));
        let mut on_disk: Vec<String> = on_disk.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        let mut built_in: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        on_disk.sort_unstable();
        built_in.sort_unstable();
        assert_eq!(on_disk, built_in);
    }
}
