//! How much a model thinks, in the words of each program. Levels that not all models of a program have become the nearest that they do.

use super::spec::{Kind, ProgramSpec};

/// Variable by which Claude Code is told how many tokens its model may think, if that one has a bound.
const TOKENS: &str = "MAX_THINKING_TOKENS";
/// The same for models that find the bound themselves; older releases do not know it.
const EFFORT: &str = "CLAUDE_CODE_EFFORT_LEVEL";

impl ProgramSpec {
    /// Sets the level: `off`, `minimal`, `low`, `medium`, `high` or `xhigh`. `by_person` says that somebody chose it for this turn or session, and it is not just configured.
    pub fn think(&mut self, level: &str, by_person: bool) {
        match self.kind {
            Kind::Codex => {
                let effort = match level {
                    "off" | "minimal" | "low" => "low",
                    "medium" => "medium",
                    _ => "high",
                };
                self.thinking = Some(effort.to_owned());
            }
            Kind::Claude => {
                let (tokens, effort) = match level {
                    "off" => ("0", "low"),
                    "minimal" => ("1024", "low"),
                    "low" => ("4096", "low"),
                    "medium" => ("10000", "medium"),
                    "xhigh" => ("31999", "xhigh"),
                    _ => ("31999", "high"),
                };
                for (name, value) in [(TOKENS, tokens), (EFFORT, effort)] {
                    self.env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
                }
            }
            Kind::Pi => self.thinking = Some(level.to_owned()),
            // Its words are its own, so only what somebody chose is tried.
            Kind::Acp => self.thinking = by_person.then(|| level.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_hears_of_thinking_in_its_own_words() {
        let of = |kind: Kind, level: &str, by_person| {
            let mut spec = ProgramSpec::new(kind, Vec::new());
            spec.think(level, by_person);
            spec.thinking.or_else(|| spec.env.get(TOKENS).cloned())
        };
        for (kind, level, want) in [
            (Kind::Codex, "off", "low"),
            (Kind::Codex, "xhigh", "high"),
            (Kind::Claude, "off", "0"),
            (Kind::Claude, "medium", "10000"),
            (Kind::Pi, "xhigh", "xhigh"),
            (Kind::Acp, "low", "low"),
        ] {
            assert_eq!(of(kind, level, true).as_deref(), Some(want), "{kind:?} {level}");
        }
        assert_eq!(of(Kind::Acp, "high", false), None);
        let mut claude = ProgramSpec::new(Kind::Claude, Vec::new());
        claude.think("xhigh", false);
        assert_eq!((claude.env[TOKENS].as_str(), claude.env[EFFORT].as_str()), ("31999", "xhigh"));
        let mut own = ProgramSpec::new(Kind::Claude, Vec::new());
        own.env.insert(TOKENS.to_owned(), "7".to_owned());
        own.think("high", true);
        assert_eq!(own.env[TOKENS], "7", "what is configured wins");
    }
}
