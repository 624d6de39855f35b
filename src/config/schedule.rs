//! Sections `cron` and `hooks`: work that starts by time or by an HTTP request.

use super::open::Open;
use super::secret::Secret;
use super::section::{section, words};

section! {
    /// Work by time.
    struct Cron {
        /// Runs jobs. `SKYKOI_SKIP_CRON=1` in the environment switches it off.
        enabled: bool = true,
        /// Where jobs are kept; read and ignored, the state directory decides.
        store: Option<String>,
        /// Jobs at work at once.
        #[schemars(range(min = 1))]
        max_concurrent_runs: u32 = 1,
    }
}

words! {
    /// What a hook does.
    enum HookAction {
        /// Wakes the agent.
        Wake,
        /// Starts a run.
        Agent,
    }
}

words! {
    /// When a woken agent looks.
    enum WakeMode {
        /// Now.
        Now,
        /// At its next heartbeat.
        NextHeartbeat,
    }
}

section! {
    /// Work by HTTP request.
    struct Hooks {
        /// Takes requests.
        enabled: Option<bool>,
        /// Their path; default `/hooks`.
        path: Option<String>,
        /// The token they must carry.
        token: Option<Secret<String>>,
        /// Largest body, bytes; default 262144.
        #[schemars(range(min = 1))]
        max_body_bytes: Option<u64>,
        /// Ready-made mappings.
        presets: Option<Vec<String>>,
        /// Directory of transforming modules.
        transforms_dir: Option<String>,
        /// What requests do.
        mappings: Vec<HookMapping>,
        /// Mail.
        gmail: Option<Open>,
        /// Hooks inside the gateway.
        internal: Option<Open>,
    }
}

section! {
    /// What requests on one path do.
    struct HookMapping {
        /// Its id.
        id: Option<String>,
        /// Which requests.
        #[serde(rename = "match")]
        matches: Option<HookMatch>,
        /// What they do.
        action: Option<HookAction>,
        /// When a woken agent looks.
        wake_mode: Option<WakeMode>,
        /// What people call it.
        name: Option<String>,
        /// The session.
        session_key: Option<String>,
        /// The message.
        message_template: Option<String>,
        /// The text.
        text_template: Option<String>,
        /// Sends the answer.
        deliver: Option<bool>,
        /// Passes outside texts on without a warning frame.
        allow_unsafe_external_content: Option<bool>,
        /// The channel of the answer.
        channel: Option<String>,
        /// The receiver of the answer.
        to: Option<String>,
        /// The model.
        model: Option<String>,
        /// How much it thinks.
        thinking: Option<String>,
        /// Time limit, seconds.
        #[schemars(range(min = 1))]
        timeout_seconds: Option<u64>,
        /// A transforming module.
        transform: Option<HookTransform>,
    }
}

section! {
    /// Which requests a mapping takes.
    struct HookMatch {
        /// Their path.
        path: Option<String>,
        /// Their source.
        source: Option<String>,
    }
}

section! {
    /// A transforming module.
    struct HookTransform {
        /// The module.
        module: Option<String>,
        /// The function.
        export: Option<String>,
    }
}
