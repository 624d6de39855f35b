//! Gives back the memory of code and constants that were needed once.
//!
//! The kernel maps a program's file in blocks of 64 KiB around whatever is used, so that a daemon which has read its configuration and opened its parts holds nearly all of its file. What it goes on to use is a fifth of that.

use std::ffi::c_void;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use rustix::mm::{Advice, madvise};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// When the start of a process is over, and what only the start needed is of no more use.
const START: Duration = Duration::from_secs(2);
/// Pause between two looks from then on. Mapping again what is in use takes less than a millisecond.
const PAUSE: Duration = Duration::from_secs(60);

/// Gives back what is not in use, again and again until `stop`.
pub async fn keep(stop: CancellationToken) {
    let mut pause = START;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if let Err(cause) = release_file() {
            debug!(%cause, "the program's file stays mapped");
        }
        pause = PAUSE;
    }
}

/// Unmaps the pages of this program's file that are as they are on disk. What is used next is mapped again, from memory, as it is needed.
///
/// # Errors
/// The kernel does not say what is mapped, or refuses; then all stays as it was.
pub fn release_file() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    for (start, length) in clean_parts(&fs::read_to_string("/proc/self/smaps")?, &program) {
        release(start, length)?;
    }
    Ok(())
}

/// Start and length of the mappings of `program` that cannot be written and of which no page differs from the file, by the text of `/proc/self/smaps`.
fn clean_parts(smaps: &str, program: &Path) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    let mut mapping = None;
    for line in smaps.lines() {
        match line.split_once(' ') {
            // A page that was written once, as the linker does with relocations, would come back as it was before.
            Some(("Anonymous:", size)) if size.trim() == "0 kB" => parts.extend(mapping.take()),
            Some((name, _)) if name.ends_with(':') => {}
            _ => mapping = read_only_part(line, program),
        }
    }
    parts
}

/// Start and length of the mapping that this line heads, if it is one of `program` that only can be read or run.
fn read_only_part(head: &str, program: &Path) -> Option<(usize, usize)> {
    let mut fields = head.split_whitespace();
    let (range, access, path) = (fields.next()?, fields.next()?, fields.nth(3)?);
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    (matches!(access, "r-xp" | "r--p") && Path::new(path) == program).then_some((start, end.checked_sub(start)?))
}

#[expect(unsafe_code, reason = "the one call of this program that the compiler cannot check")]
fn release(start: usize, length: usize) -> io::Result<()> {
    // SAFETY: the range is a private mapping of this program's own file that cannot be written and of which no page was ever changed (the kernel counts those as anonymous, and what the dynamic linker relocates is relocated before `main`). Dropping its pages changes no byte that can be read: the next access maps the same page of the same file again.
    unsafe { madvise(std::ptr::without_provenance_mut::<c_void>(start), length, Advice::LinuxDontNeed) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0a000-55d0b000 r--p 00000000 fe:00 1      /usr/bin/skykoi-gateway
Rss:                   4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
55d0b000-55d0d000 r-xp 00001000 fe:00 1      /usr/bin/skykoi-gateway
Rss:                   8 kB
Anonymous:             0 kB
55d0d000-55d0e000 r--p 00003000 fe:00 1      /usr/bin/skykoi-gateway
Rss:                   4 kB
Anonymous:             4 kB
55d0e000-55d0f000 rw-p 00004000 fe:00 1      /usr/bin/skykoi-gateway
Anonymous:             0 kB
7f000000-7f001000 r-xp 00000000 fe:00 2      /usr/lib/libc.so.6
Anonymous:             0 kB
7f002000-7f003000 r-xp 00000000 00:00 0      [vdso]
Anonymous:             0 kB
nonsense
";

    #[test]
    fn only_unchanged_parts_of_the_program_itself_are_named() {
        assert_eq!(clean_parts(SMAPS, Path::new("/usr/bin/skykoi-gateway")), [(0x55d0_a000, 0x1000), (0x55d0_b000, 0x2000)]);
        assert!(clean_parts(SMAPS, Path::new("/other")).is_empty());
    }

    #[test]
    fn the_program_goes_on_without_its_file_and_holds_less() {
        let resident = || {
            let own = fs::read_link("/proc/self/exe").unwrap();
            let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
            assert!(clean_parts(&smaps, &own).len() >= 2, "text and constants: {smaps}");
            let statm = fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(2).unwrap().parse::<u64>().unwrap()
        };
        // Other tests run beside this one and map what they use, so one of several looks has to show it.
        let shrank = (0..100).any(|_| {
            let before = resident();
            release_file().unwrap();
            resident() < before
        });
        assert!(shrank, "nothing was given back");
        assert_eq!("still here".len(), 10);
    }
}
