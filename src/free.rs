//! For tests of locks and ports, which the children that other tests start at the same time have for a moment too.

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// What `attempt` gives once what it needs is free. Other tests of this process start programs, and a child has every open file, and so every lock, between its fork and its exec.
pub fn once_free<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < deadline, "still not free after {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// A port of the loopback address where nobody answers: bound and not listening, so it refuses, and nobody else gets it while this lives.
pub fn refusing() -> tokio::net::TcpSocket {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    socket
}
