//! The one integration test binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on must fail loudly"
)]

#[path = "../support/echo.rs"]
mod echo;
#[path = "../support/executable.rs"]
mod executable;
#[path = "../fake_model/mod.rs"]
mod fake_model;
#[path = "../support/sockets.rs"]
mod sockets;

mod approvals;
mod attachments;
mod audit_log;
mod chat;
mod chat_history;
mod command_line;
mod config_changes;
mod config_restart;
mod config_vectors;
mod conformance;
mod contract;
mod crash;
mod crash_points;
mod credentials;
mod daemon_faults;
mod daemon_life;
mod defects;
mod deploy;
mod doctor;
mod door;
#[cfg(debug_assertions)]
mod drift;
mod events;
mod exec_differential;
mod exec_policy;
mod files;
mod handshake;
mod harness;
mod http_gate;
mod isolation;
mod limits;
mod listeners;
mod live_config;
mod liveness;
#[cfg(debug_assertions)]
mod matrix;
mod minds;
mod model;
mod nginx;
mod own_tls;
mod pairing;
mod portals;
mod programs;
mod proxied;
mod raw_frames;
mod real_programs;
mod reconnects;
mod run_ends;
mod run_keys;
mod run_streams;
mod runs;
mod safe_mode;
mod secrets;
mod sessions;
mod shim;
mod shortage;
mod slow_reader;
mod start_refused;
mod stock_clients;
mod surface;
mod tidy;
mod time_steps;
mod timing;
mod vectors;
