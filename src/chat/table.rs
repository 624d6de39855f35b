//! The slash commands, as data: parser, `/help`, `/commands` and `commands.list` read this table.

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Starts the session afresh; the words of `session.resetTriggers` do so too.
    Reset,
    /// Ends the session's runs.
    Stop,
    /// Says how things are.
    Status,
    /// Says what one can do, shortly.
    Help,
    /// Says what one can do, completely.
    Commands,
    /// How messages wait while a run is at work.
    Queue,
    /// Which model answers.
    Model,
    /// Which models there are.
    Models,
    /// Puts a summary in the place of the conversation.
    Compact,
    /// A level of the session.
    Level(Level),
}

/// A level of the session: a field of its entry that takes one of a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The parameter of `sessions.patch`.
    pub field: &'static str,
    /// What it is called in an answer.
    pub title: &'static str,
    /// The words.
    pub words: &'static [&'static str],
    /// What is to be said where it was set, if it does less than its name says.
    pub note: Option<&'static str>,
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name, without the slash.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// What it does, one sentence.
    pub summary: &'static str,
    /// What follows the name; empty = nothing.
    pub usage: &'static str,
    /// What it belongs to: `session`, `options` or `status`.
    pub category: &'static str,
    /// Whether it means something only to a model.
    pub for_models: bool,
    /// What it does.
    pub kind: Kind,
    /// What may follow its name.
    pub args: &'static [Arg],
}

/// Something that may follow a command's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub summary: &'static str,
    /// The words that it may be; empty = any text.
    pub choices: &'static [&'static str],
}

/// Words of `/think`.
pub const THINKING: &[&str] = &["off", "minimal", "low", "medium", "high", "xhigh"];
/// Words of `/verbose`.
pub const VERBOSE: &[&str] = &["on", "off", "full"];
/// Words of `/reasoning`.
pub const REASONING: &[&str] = &["on", "off", "stream"];
/// Words of `/elevated`.
pub const ELEVATED: &[&str] = &["on", "off", "ask", "full"];
/// Words of `/usage`.
pub const USAGE: &[&str] = &["off", "tokens", "full"];
/// Modes of `/queue`.
pub const QUEUE_MODES: &[&str] = &["collect", "followup", "steer", "steer-backlog", "interrupt"];
/// What `/queue drop:` takes.
pub const QUEUE_DROPS: &[&str] = &["summarize", "old", "new"];

const fn plain(name: &'static str, summary: &'static str, category: &'static str, kind: Kind) -> Spec {
    Spec { name, aliases: &[], summary, usage: "", category, for_models: false, kind, args: &[] }
}

/// Every command, in the order shown.
pub static COMMANDS: &[Spec] = &[
    Spec {
        usage: "[message]",
        args: &[Arg { name: "message", summary: "First message of the new session.", choices: &[] }],
        ..plain("new", "Starts the session afresh.", "session", Kind::Reset)
    },
    Spec {
        usage: "[message]",
        args: &[Arg { name: "message", summary: "First message of the new session.", choices: &[] }],
        ..plain("reset", "Starts the session afresh.", "session", Kind::Reset)
    },
    plain("stop", "Ends the session's runs, waiting ones too.", "session", Kind::Stop),
    plain("status", "Says how the session and the gateway are.", "status", Kind::Status),
    plain("help", "Says what one can do here.", "status", Kind::Help),
    plain("commands", "Lists all commands.", "status", Kind::Commands),
    Spec {
        usage: "[mode] [debounce:1s] [cap:20] [drop:summarize] | reset",
        args: &[
            Arg { name: "mode", summary: "What happens to a message while a run is at work.", choices: QUEUE_MODES },
            Arg { name: "debounce", summary: "Quiet time before waiting messages are taken, such as 500ms or 2s.", choices: &[] },
            Arg { name: "cap", summary: "Most messages that wait.", choices: &[] },
            Arg { name: "drop", summary: "What goes when more come.", choices: QUEUE_DROPS },
        ],
        ..plain("queue", "Shows or sets how messages wait while a run is at work.", "options", Kind::Queue)
    },
    Spec {
        usage: "[provider/model]",
        for_models: true,
        args: &[Arg { name: "model", summary: "The model; `default` for the agent's own.", choices: &[] }],
        ..plain("model", "Shows or sets the session's model.", "options", Kind::Model)
    },
    Spec { for_models: true, ..plain("models", "Lists the models.", "status", Kind::Models) },
    Spec {
        usage: "[what to look after]",
        for_models: true,
        args: &[Arg { name: "instructions", summary: "What the summary is to look after.", choices: &[] }],
        ..plain("compact", "Puts a summary in the place of the conversation.", "session", Kind::Compact)
    },
    level(
        "think",
        &["thinking", "t"],
        "Shows or sets how much the model thinks.",
        Level { field: "thinkingLevel", title: "Thinking level", words: THINKING, note: None },
    ),
    level(
        "verbose",
        &["v"],
        "Shows or sets how much is told of tools.",
        Level { field: "verboseLevel", title: "Verbosity", words: VERBOSE, note: None },
    ),
    level(
        "reasoning",
        &["reason"],
        "Shows or sets whether front ends show the model's thoughts.",
        Level {
            field: "reasoningLevel",
            title: "Reasoning",
            words: REASONING,
            note: Some("Front ends show thoughts by it; they are streamed and kept either way."),
        },
    ),
    level(
        "elevated",
        &["elev"],
        "Shows or sets the elevated level, which front ends know and which permits nothing here.",
        Level {
            field: "elevatedLevel",
            title: "Elevated mode",
            words: ELEVATED,
            note: Some("It is kept for front ends and permits nothing: which commands run is said by the configuration and by approvals."),
        },
    ),
    level(
        "usage",
        &[],
        "Shows or sets what stands below an answer of what it used.",
        Level { field: "responseUsage", title: "Usage line", words: USAGE, note: None },
    ),
];

const fn level(name: &'static str, aliases: &'static [&'static str], summary: &'static str, level: Level) -> Spec {
    Spec { aliases, usage: "[level]", for_models: true, args: LEVEL_ARGS, ..plain(name, summary, "options", Kind::Level(level)) }
}

const LEVEL_ARGS: &[Arg] = &[Arg { name: "level", summary: "The level.", choices: &[] }];

/// The command that goes by this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Spec> {
    COMMANDS.iter().find(|spec| [spec.name].iter().chain(spec.aliases).any(|known| known.eq_ignore_ascii_case(name)))
}

impl Spec {
    /// The words that the argument `arg` may be.
    #[must_use]
    pub fn choices(&self, arg: &Arg) -> &'static [&'static str] {
        match self.kind {
            Kind::Level(level) => level.words,
            _ => arg.choices,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice_and_every_summary_is_a_sentence() {
        let mut names: Vec<_> = COMMANDS.iter().flat_map(|spec| [spec.name].into_iter().chain(spec.aliases.iter().copied())).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(COMMANDS.iter().all(|spec| spec.summary.ends_with('.') && names.iter().all(|name| name.to_lowercase() == *name)));
    }

    #[test]
    fn names_are_found_in_any_case_and_by_alias() {
        assert_eq!(find("T").unwrap().name, "think");
        assert!(find("bin").is_none());
    }
}
