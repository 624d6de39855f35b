//! The one integration test binary.

<<<<<<< HEAD
mod deploy;
mod nginx;
=======
#[cfg(test)]
mod shim;
>>>>>>> shim
