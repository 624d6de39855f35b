//! Room on file systems. These calls can hang with the disk, so they belong on a thread that may block.

use std::path::Path;

use crate::protocol::system::DiskSpace;

/// The file system of this directory, or of the nearest one above it that exists.
#[must_use]
pub fn space(path: &Path) -> Option<DiskSpace> {
    let stat = path.ancestors().find_map(|place| rustix::fs::statvfs(place).ok())?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(DiskSpace {
        path: path.display().to_string(),
        total: bytes(stat.f_blocks),
        used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        available: bytes(stat.f_bavail),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_still_to_be_made_has_the_room_of_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        let space = space(&dir.path().join("not/yet")).unwrap();
        assert!(space.total >= space.used && space.total >= space.available && space.total > 0, "{space:?}");
        assert!(space.path.ends_with("not/yet"));
    }
}
