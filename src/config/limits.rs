//! `gateway.limits`: the bounds of connections, frames, calls and crashes. The ones clients must respect are announced in the hello's policy.
//!
//! Every bound has a floor and a ceiling, so that no config can switch a protection off or ask for more than a small machine has.

use super::section::section;

section! {
    /// Bounds of connections, frames and calls.
    struct Limits {
        /// Largest message after hello, bytes.
        #[schemars(range(min = 65_536, max = 268_435_456))]
        max_payload: usize = 26_214_400,
        /// Largest message before hello, bytes.
        #[schemars(range(min = 4096, max = 1_048_576))]
        max_preauth_payload: usize = 65_536,
        /// Most fragments of one message; more closes the connection with 1009.
        #[schemars(range(min = 16, max = 1_048_576))]
        max_fragments: usize = 65_536,
        /// How long a fragmented message may stay unfinished, ms.
        #[schemars(range(min = 100, max = 600_000))]
        message_timeout_ms: u64 = 10_000,
        /// Bytes waiting for a slow client before it is closed with 1008. Never below the 1.5 MiB that stock front ends count on.
        #[schemars(range(min = 1_572_864, max = 268_435_456))]
        max_buffered_bytes: usize = 2_097_152,
        /// Time between `tick` events, ms.
        #[schemars(range(min = 1000, max = 600_000))]
        tick_interval_ms: u64 = 30_000,
        /// Time between `health` events while nothing changes, ms.
        #[schemars(range(min = 1000, max = 600_000))]
        health_interval_ms: u64 = 60_000,
        /// Time from the upgrade to a complete `connect`, ms.
        #[schemars(range(min = 100, max = 120_000))]
        handshake_timeout_ms: u64 = 10_000,
        /// Time between WebSocket pings, ms; below the 60 s after which a reverse proxy gives up by default.
        #[schemars(range(min = 100, max = 600_000))]
        ping_interval_ms: u64 = 25_000,
        /// Time a pong may take before the connection is dropped, ms.
        #[schemars(range(min = 100, max = 600_000))]
        pong_timeout_ms: u64 = 25_000,
        /// Time one write may stall before the connection is dropped, ms.
        #[schemars(range(min = 100, max = 600_000))]
        write_timeout_ms: u64 = 10_000,
        /// Most connections in all.
        #[schemars(range(min = 1, max = 1_000_000))]
        max_connections: usize = 20_000,
        /// Most connections that have not said hello.
        #[schemars(range(min = 1, max = 100_000))]
        max_handshakes: usize = 512,
        /// The same for one address.
        #[schemars(range(min = 1, max = 100_000))]
        max_handshakes_per_address: usize = 32,
        /// Most calls of one connection at work at once.
        #[schemars(range(min = 1, max = 10_000))]
        max_calls_per_connection: usize = 32,
        /// Most calls at work in all.
        #[schemars(range(min = 1, max = 100_000))]
        max_calls: usize = 512,
        /// Calls that change something, per second and connection.
        #[schemars(range(min = 1, max = 1_000_000))]
        writes_per_second: u32 = 200,
        /// How many of them may come at once.
        #[schemars(range(min = 1, max = 1_000_000))]
        write_burst: u32 = 400,
        /// The same, per second, for all connections with one credential together and for all from one address; twice `writesPerSecond` when absent. Loopback is no such address, because a proxy may be there, and the owner at the local socket has no such bound.
        #[schemars(range(min = 1, max = 1_000_000))]
        shared_writes_per_second: Option<u32>,
        /// How many of them may come at once; twice `writeBurst` when absent.
        #[schemars(range(min = 1, max = 1_000_000))]
        shared_write_burst: Option<u32>,
        /// Calls that only read, per second, for all connections with one credential that does not grant `operator.admin` together, and for all such from one address.
        #[schemars(range(min = 1, max = 1_000_000))]
        reads_per_second: u32 = 500,
        /// How many of them may come at once.
        #[schemars(range(min = 1, max = 1_000_000))]
        read_burst: u32 = 2000,
        /// Upgrades to WebSocket from one address in a minute that come to no hello; loopback excepted.
        #[schemars(range(min = 1, max = 1_000_000))]
        connects_per_minute: u32 = 60,
        /// How many daemons in a row must have ended without an orderly stop, all of them started within `safeModeWindowMs`, for the next one to start in safe mode: it serves clients and new requests, but holds the runs that it finds queued.
        #[schemars(range(min = 1, max = 1000))]
        safe_mode_boots: usize = 3,
        /// The time within which they must have started, and after which a daemon in safe mode leaves it, ms.
        #[schemars(range(min = 1000, max = 86_400_000))]
        safe_mode_window_ms: u64 = 300_000,
    }
}
