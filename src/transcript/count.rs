//! Counts the lines of a file, and never counts the same ones twice.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

/// Lines are counted in blocks of this many bytes.
const BLOCK: usize = 256 * 1024;

/// What was counted of one file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    device: u64,
    inode: u64,
    end: u64,
    lines: u64,
}

impl Count {
    /// How many newlines stand before the byte `end` of the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn lines_before(&mut self, file: &File, end: u64) -> io::Result<u64> {
        let meta = file.metadata()?;
        let same = (meta.dev(), meta.ino()) == (self.device, self.inode) && self.end <= end;
        let mut now = if same { *self } else { Self { device: meta.dev(), inode: meta.ino(), end: 0, lines: 0 } };
        if now.end < end {
            let mut block = vec![0; BLOCK.min(usize::try_from(end - now.end).unwrap_or(BLOCK))];
            while now.end < end {
                let want = block.len().min(usize::try_from(end - now.end).unwrap_or(BLOCK));
                let n = file.read_at(block.get_mut(..want).unwrap_or_default(), now.end)?;
                if n == 0 {
                    break;
                }
                now.lines += memchr::memchr_iter(b'\n', block.get(..n).unwrap_or_default()).count() as u64;
                now.end += n as u64;
            }
        }
        *self = now;
        Ok(now.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn growth_is_counted_on_and_another_file_from_its_beginning() {
        let mut file = tempfile::tempfile().unwrap();
        let mut count = Count::default();
        assert_eq!(count.lines_before(&file, 0).unwrap(), 0);
        file.write_all(b"a\nb\nc").unwrap();
        assert_eq!(count.lines_before(&file, 5).unwrap(), 2);
        file.write_all("\n".repeat(BLOCK + 1).as_bytes()).unwrap();
        assert_eq!(count.lines_before(&file, 6 + BLOCK as u64).unwrap(), 3 + BLOCK as u64);
        assert_eq!(count.lines_before(&file, 2).unwrap(), 1);
        let mut other = tempfile::tempfile().unwrap();
        other.write_all(b"\n\n\n\n").unwrap();
        assert_eq!(count.lines_before(&other, 4).unwrap(), 4);
    }
}
