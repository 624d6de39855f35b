//! The one integration test binary.
#[cfg(test)]
mod config_vectors;
