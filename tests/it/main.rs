//! The one integration test binary.

#[path = "../support/echo.rs"]
mod echo;
#[path = "../support/sockets.rs"]
mod sockets;

mod http_gate;
mod raw_frames;
