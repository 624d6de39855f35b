//! The test matrix: every row has a test of its name, or a reason why not.

use std::path::Path;

use skykoi_gateway::cli::matrix::{faults, find};

#[test]
fn every_row_of_the_matrix_has_a_test_or_a_reason() {
    let found = find(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(found.len() > 50, "the sources are not where they were: {found:?}");
    let faults = faults(&found);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
