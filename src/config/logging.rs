//! Section `logging`: what is logged, where and how.

use super::section::{section, words};

words! {
    /// How much is logged.
    enum LogLevel {
        /// Nothing.
        Silent,
        /// As `error`.
        Fatal,
        /// A person must look.
        Error,
        /// Something was coped with.
        Warn,
        /// The life of things.
        Info,
        /// Frames, with secrets and texts cut.
        Debug,
        /// Everything.
        Trace,
    }
}

words! {
    /// The form of log lines.
    enum LogStyle {
        /// For people.
        Pretty,
        /// For people, short.
        Compact,
        /// For machines.
        Json,
    }
}

words! {
    /// What is hidden in logs.
    enum RedactMode {
        /// Only the gateway's own secrets.
        Off,
        /// Also what looks like a secret in the arguments of tools.
        Tools,
    }
}

section! {
    /// Logging.
    struct Logging {
        /// How much goes to the log. Environment `SKYKOI_LOG_LEVEL`.
        level: LogLevel = LogLevel::Info,
        /// The file of the log, one JSON record per line, which `logs.tail` reads; default `<state>/logs/gateway.jsonl`.
        #[schemars(extend("x-reload" = "restart"))]
        file: Option<String>,
        /// Size at which the file is turned over, bytes; the last two full ones are kept beside it.
        #[schemars(range(min = 65_536, max = 1_073_741_824), extend("x-reload" = "restart"))]
        max_file_bytes: u64 = 16_777_216,
        /// How much goes to the standard error; default as `level`.
        console_level: Option<LogLevel>,
        /// The form of lines on the standard error.
        console_style: Option<LogStyle>,
        /// What is hidden.
        redact_sensitive: RedactMode = RedactMode::Tools,
        /// Patterns of further texts that are hidden.
        #[schemars(extend("x-acts" = false))]
        redact_patterns: Option<Vec<String>>,
    }
}
