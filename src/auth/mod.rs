//! Who a peer is and what it may try: pure rules over addresses, headers and secrets, and what a right secret gives. Nothing here does I/O or reads a clock.

pub mod credential;
pub mod device;
pub mod limiter;
pub mod origin;
pub mod pairing;
pub mod peer;
pub mod rate;
pub mod token;
