//! The one integration test binary.

mod deploy;
mod nginx;
