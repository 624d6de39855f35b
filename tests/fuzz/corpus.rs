//! The kept inputs of a target: files in `tests/fuzz/corpus/<target>`, and what the target takes from other vectors.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use crate::targets::Target;

/// The directory of a target's inputs.
pub fn directory(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name)
}

/// All inputs to begin with, in a fixed order.
pub fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory(target)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no inputs", directory(target).display());
    files.iter().map(|file| std::fs::read(file).unwrap()).chain((target.seeds)()).collect()
}

/// Keeps an input that failed, and says how to run it again.
pub fn keep(target: &Target, input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let file = directory(target).join(format!("failed-{:016x}", hasher.finish()));
    std::fs::write(&file, input).unwrap();
    format!(
        "the input is kept in {}; run it again with\n  SKYKOI_FUZZ_TARGETS={} SKYKOI_FUZZ_REPLAY={} cargo test --test fuzz",
        file.display(),
        target.name,
        file.display()
    )
}
