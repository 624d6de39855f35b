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

impl Rule {
    /// Nothing runs.
    pub const DENY: Self = Self { security: ExecSecurity::Deny, ask: ExecAsk::Always };

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
                    }
                }
            }
        }
    }
}
