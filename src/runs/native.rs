//! What the rules for commands mean for an agent program that starts its commands itself.
//!
//! A list of allowed commands holds for programs that the gateway starts, by their files, arguments and environment. Of what another program starts only the words are known: its shell, its login files and its environment may make anything of them. So such a command is never allowed by the list; a person may allow its words, once.
//! What the program itself holds to be harmless, such as reading, it may do without asking anybody; where that is too much, it must not be the runner.

use crate::config::tools::{ExecAsk, ExecSecurity};
use crate::exec::policy::{Denied, Rule};
use crate::programs::spec::{Approvals, Kind};
use crate::runs::policy::AgentRule;

/// The rule by which a single command of such a program is judged.
///
/// # Errors
/// Nobody may be asked, so it does not run.
pub(super) fn rule(rule: Rule) -> Result<Rule, Denied> {
    match (rule.security, rule.ask) {
        (ExecSecurity::Allowlist, ExecAsk::Off) => Err(Denied::by_rule(
            "NATIVE",
            "exec.security is \"allowlist\", which cannot hold for a command that the program starts itself, and exec.ask is \"off\", so nobody can allow it",
        )),
        (ExecSecurity::Allowlist, _) => Ok(Rule { security: ExecSecurity::Full, ask: ExecAsk::Always }),
        _ => Ok(rule),
    }
}

/// Who decides about the commands of a program of this kind.
///
/// # Errors
/// The rules do not let it work at all.
pub(super) fn approvals(kind: Kind, agent: &AgentRule) -> Result<Approvals, Denied> {
    let name = kind.name();
    if !agent.may_exec {
        let reason = format!(
            "the rules of `tools` (allow, deny, profile) do not let this agent run commands, and the runner \"{name}\" runs them itself"
        );
        return Err(Denied::by_rule("TOOLS", reason));
    }
    match (agent.rule.security, agent.rule.ask) {
        (ExecSecurity::Deny, _) => {
            let reason = format!(
                "exec.security is \"deny\": no command may run, and the runner \"{name}\" runs them itself; use the runner \"agent\""
            );
            Err(Denied::by_rule("DENY", reason))
        }
        (ExecSecurity::Full, ExecAsk::Off) => Ok(Approvals::Never),
        // It would tell nobody.
        (ExecSecurity::Full, ExecAsk::OnMiss) if !kind.asks() => Ok(Approvals::Never),
        (ExecSecurity::Full, ExecAsk::OnMiss) => Ok(Approvals::Record),
        (ExecSecurity::Allowlist, _) | (ExecSecurity::Full, ExecAsk::Always) if !kind.asks() => {
            let reason = format!(
                "the runner \"{name}\" asks nobody before it runs a command, so it works only with exec.security \"full\" and without exec.ask \"always\"; use another runner, or change exec"
            );
            Err(Denied::by_rule("NEVER_ASKS", reason))
        }
        (ExecSecurity::Allowlist, _) | (ExecSecurity::Full, ExecAsk::Always) => Ok(Approvals::Ask),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(security: ExecSecurity, ask: ExecAsk) -> AgentRule {
        AgentRule { rule: Rule { security, ask }, safe_bins: Vec::new(), may_exec: true }
    }

    #[test]
    fn who_is_asked_follows_from_the_rules_and_one_that_never_asks_works_only_where_nobody_must_be() {
        use ExecAsk::{Always, Off, OnMiss};
        use ExecSecurity::{Allowlist, Deny, Full};
        for (security, ask, codex, pi) in [
            (Full, Off, Ok(Approvals::Never), Ok(Approvals::Never)),
            (Full, OnMiss, Ok(Approvals::Record), Ok(Approvals::Never)),
            (Full, Always, Ok(Approvals::Ask), Err("NEVER_ASKS")),
            (Allowlist, Off, Ok(Approvals::Ask), Err("NEVER_ASKS")),
            (Allowlist, OnMiss, Ok(Approvals::Ask), Err("NEVER_ASKS")),
            (Deny, Off, Err("DENY"), Err("DENY")),
        ] {
            let of = |kind| approvals(kind, &agent(security, ask)).map_err(|denied| denied.token);
            assert_eq!((of(Kind::Codex), of(Kind::Pi)), (codex.map_err(str::to_owned), pi.map_err(str::to_owned)), "{security:?} {ask:?}");
        }
        let none = AgentRule { may_exec: false, ..agent(Full, Off) };
        assert_eq!(approvals(Kind::Claude, &none).unwrap_err().token, "TOOLS");
    }

    #[test]
    fn a_list_never_allows_what_a_program_starts_itself() {
        let of = |security, ask| rule(Rule { security, ask }).map_err(|denied| denied.token);
        let asked = Rule { security: ExecSecurity::Full, ask: ExecAsk::Always };
        assert_eq!(of(ExecSecurity::Allowlist, ExecAsk::OnMiss), Ok(asked));
        assert_eq!(of(ExecSecurity::Allowlist, ExecAsk::Always), Ok(asked));
        assert_eq!(of(ExecSecurity::Allowlist, ExecAsk::Off), Err("NATIVE".to_owned()));
        let free = Rule { security: ExecSecurity::Full, ask: ExecAsk::Off };
        assert_eq!(rule(free).ok(), Some(free));
    }
}
