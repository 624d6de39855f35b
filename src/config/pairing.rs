//! Section `gateway.pairing`: devices that come in by their own key.

use super::section::{section, words};

words! {
    /// What becomes of the runs of a device that is revoked.
    enum OnRevoke {
        /// They go on to their end.
        Continue,
        /// They are aborted.
        Abort,
    }
}

section! {
    /// Devices that come in by their own key, approved one by one.
    struct Pairing {
        /// Whether every client over the network must be a paired device, also one that has the gateway's secret. Without it the secret alone is enough, as existing clients expect. The local socket needs neither. Connections that are open stay.
        required: bool = false,
        /// Whether a device without a credential may ask to be paired. Setup codes work all the same.
        requests: bool = true,
        /// What becomes of the runs of a device that is revoked. Its connections end in any case.
        on_revoke: OnRevoke = OnRevoke::Continue,
    }
}
