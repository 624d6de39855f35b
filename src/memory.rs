//! Gives back the memory of code that only the start needed.
//!
//! The kernel maps program text in blocks of 64 KiB around whatever is run, so that a daemon which has read its configuration and opened its parts holds nearly all of its text. What it goes on to use is a third of that.

use std::ffi::c_void;
use std::path::Path;
use std::{fs, io};

use rustix::mm::{Advice, madvise};

/// Unmaps this program's text. What runs next is mapped again, from memory, as it is needed.
///
/// # Errors
/// The kernel does not say what is mapped, or refuses; then all stays as it was.
pub fn release_text() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    for (start, length) in text_of(&fs::read_to_string("/proc/self/maps")?, &program) {
        release(start, length)?;
    }
    Ok(())
}

/// Start and length of the executable mappings of `program`, by the text of `/proc/self/maps`.
fn text_of(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next()?, fields.next()?);
        let path = fields.nth(3)?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (access == "r-xp" && Path::new(path) == program).then_some((start, end.checked_sub(start)?))
    };
    maps.lines().filter_map(parse).collect()
}

#[expect(unsafe_code, reason = "the one call of this program that the compiler cannot check")]
fn release(start: usize, length: usize) -> io::Result<()> {
    // SAFETY: the range is a read-only, file-backed mapping of this program's own text, which nothing has written to (a position-independent program has no relocations in its text). Dropping its pages changes no byte that can be read: the next access maps the same page of the same file again.
    unsafe { madvise(std::ptr::without_provenance_mut::<c_void>(start), length, Advice::LinuxDontNeed) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_of_the_program_itself_is_named() {
        let maps = "55d0a000-55d0b000 r--p 00000000 fe:00 1 /usr/bin/skykoi-gateway\n\
                    55d0b000-55d0d000 r-xp 00001000 fe:00 1 /usr/bin/skykoi-gateway\n\
                    55d0d000-55d0e000 rw-p 00003000 fe:00 1 /usr/bin/skykoi-gateway\n\
                    7f000000-7f001000 r-xp 00000000 fe:00 2 /usr/lib/libc.so.6\n\
                    7f002000-7f003000 r-xp 00000000 00:00 0 [vdso]\nnonsense\n";
        assert_eq!(text_of(maps, Path::new("/usr/bin/skykoi-gateway")), [(0x55d0_b000, 0x2000)]);
        assert!(text_of(maps, Path::new("/other")).is_empty());
    }

    #[test]
    fn the_program_goes_on_without_its_text() {
        release_text().unwrap();
        assert_eq!("still here".len(), 10);
    }
}
