//! Who a peer is and what it may try: pure rules over addresses, headers and secrets, and what a right secret gives. Nothing here does I/O or reads a clock.

pub mod budget;
pub mod credential;
pub mod device;
pub mod jwt;
pub mod keyring;
pub mod limiter;
pub mod origin;
pub mod pairing;
pub mod password;
pub mod peer;
pub mod probe;
pub mod rate;
pub mod token;
