//! The harness: a real daemon in a directory of its own, and clients that keep a model of what they were told.
//!
//! Tests wait for events, never for time: `Client::until` reads frames until the model satisfies them. The client itself asserts what always holds: connection `seq` without holes, per-run `seq` in order and once.

pub mod approver;
pub mod client;
pub mod device;
pub mod disk;
pub mod gateway;
pub mod model;
pub mod raw;

pub use client::Client;
pub use device::Device;
pub use disk::kill_9;
pub use gateway::Gateway;

/// Tells each failure on the real standard error at once, beside the line of the test that failed: the reports at the end of a long run are what is cut off from its output first.
pub fn tell_failures_at_once() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let text = format!("failure in {}: {panic}\n", thread.name().unwrap_or("a thread"));
            // The test runner keeps what is printed by macros for its report; this goes past it.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
            usual(panic);
        }));
    });
}
