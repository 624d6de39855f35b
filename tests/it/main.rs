//! The one integration test binary.

<<<<<<< HEAD
<<<<<<< HEAD
mod deploy;
mod nginx;
=======
#[cfg(test)]
mod shim;
>>>>>>> shim
=======
#[path = "../support/echo.rs"]
mod echo;
#[path = "../support/sockets.rs"]
mod sockets;

mod http_gate;
mod raw_frames;
>>>>>>> transport
