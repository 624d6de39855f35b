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
        /// A file for the log; default the standard error only, where the service manager keeps it.
        #[schemars(extend("x-reload" = "restart"))]
        file: Option<String>,
        /// How much goes to the standard error; default as `level`.
        console_level: Option<LogLevel>,
        /// The form of lines on the standard error.
        #[schemars(extend("x-reload" = "restart"))]
        console_style: Option<LogStyle>,
        /// What is hidden.
        redact_sensitive: RedactMode = RedactMode::Tools,
        /// Patterns of further texts that are hidden.
        #[schemars(extend("x-acts" = false))]
        redact_patterns: Option<Vec<String>>,
    }
}
