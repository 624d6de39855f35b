//! The one integration test binary.

#[path = "../support/echo.rs"]
mod echo;
#[path = "../support/sockets.rs"]
mod sockets;

mod deploy;
mod http_gate;
mod nginx;
mod raw_frames;
mod shim;
