//! The rule that holds for a command: the strictest of what the configuration, the agent, the session, the approvals file and the request say.

use serde::{Deserialize, Serialize};

use crate::config::tools::{ExecAsk, ExecSecurity};

/// Which commands run, and when a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Which commands run.
    pub security: ExecSecurity,
    /// When a person is asked.
    pub ask: ExecAsk,
}

/// One place's opinion; what it does not say it leaves to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Which commands run, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<ExecSecurity>,
    /// When a person is asked, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<ExecAsk>,
}

impl Wish {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Both wishes, the stricter one where both say something.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            security: self.security.map(|own| other.security.map_or(own, |other| own.stricter(other))).or(other.security),
            ask: self.ask.map(|own| other.ask.map_or(own, |other| own.stricter(other))).or(other.ask),
        }
    }

    /// The wish in these words. A word that is none asks for the strictest, because whoever wrote it wanted something.
    #[must_use]
    pub fn of_words(security: Option<&str>, ask: Option<&str>) -> Self {
        let read = |word: &str| serde_json::from_value(word.into()).unwrap_or(ExecSecurity::Deny);
        let read_ask = |word: &str| serde_json::from_value(word.into()).unwrap_or(ExecAsk::Always);
        Self { security: security.map(read), ask: ask.map(read_ask) }
    }
}

impl Rule {
    /// This rule, narrowed by a wish. No wish ever widens it.
    #[must_use]
    pub fn narrowed(self, wish: Wish) -> Self {
        Self {
            security: wish.security.map_or(self.security, |wanted| wanted.stricter(self.security)),
            ask: wish.ask.map_or(self.ask, |wanted| wanted.stricter(self.ask)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECURITY: [ExecSecurity; 3] = [ExecSecurity::Deny, ExecSecurity::Allowlist, ExecSecurity::Full];
    const ASK: [ExecAsk; 3] = [ExecAsk::Always, ExecAsk::OnMiss, ExecAsk::Off];

    /// How strict: 0 is the strictest.
    fn rank(rule: Rule) -> (usize, usize) {
        (SECURITY.iter().position(|s| *s == rule.security).unwrap(), ASK.iter().position(|a| *a == rule.ask).unwrap())
    }

    #[test]
    fn a_word_that_is_none_is_the_strictest() {
        assert_eq!(Wish::of_words(Some("allowlist"), None), Wish { security: Some(ExecSecurity::Allowlist), ask: None });
        let nonsense = Wish::of_words(Some("all"), Some("sometimes"));
        assert_eq!(nonsense, Wish { security: Some(ExecSecurity::Deny), ask: Some(ExecAsk::Always) });
    }

    #[test]
    fn a_wish_narrows_and_never_widens_whatever_it_says() {
        for security in SECURITY {
            for ask in ASK {
                let rule = Rule { security, ask };
                assert_eq!(rule.narrowed(Wish::default()), rule);
                for wanted in SECURITY {
                    for asked in ASK {
                        let wish = Wish { security: Some(wanted), ask: Some(asked) };
                        let (before, wished, after) = (rank(rule), rank(Rule { security: wanted, ask: asked }), rank(rule.narrowed(wish)));
                        assert_eq!(after, (before.0.min(wished.0), before.1.min(wished.1)), "{rule:?} {wish:?}");
                        let own = Wish { security: Some(security), ask: Some(ask) };
                        let both = own.and(wish);
                        assert_eq!((both.security, both.ask), (Some(rule.narrowed(wish).security), Some(rule.narrowed(wish).ask)));
                        assert_eq!((own.and(Wish::default()), Wish::default().and(own)), (own, own));
                    }
                }
            }
        }
    }
}
