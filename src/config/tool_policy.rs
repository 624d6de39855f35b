//! Whether the rules of `tools` permit a tool. Deny wins, then the list of what is allowed, then the profile. Pure.

use super::tools::Profile;

/// One layer of rules: the common one, or an agent's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'c> {
    /// The set to start from.
    pub profile: Option<Profile>,
    /// Only these, if given.
    pub allow: Option<&'c [String]>,
    /// These besides the profile.
    pub also_allow: Option<&'c [String]>,
    /// Never these.
    pub deny: Option<&'c [String]>,
}

/// The tool that runs commands.
const EXEC: &str = "exec";

/// Whether one layer permits commands, the tool `exec`.
#[must_use]
pub fn permits_exec(rules: Rules<'_>) -> bool {
    if rules.deny.is_some_and(names_exec) {
        return false;
    }
    match (rules.allow, rules.profile) {
        (Some(allow), _) => names_exec(allow),
        (None, Some(Profile::Minimal | Profile::Messaging)) => rules.also_allow.is_some_and(names_exec),
        (None, _) => true,
    }
}

/// Whether a list names `exec`, directly, by its old name, by its group or by a pattern.
fn names_exec(list: &[String]) -> bool {
    list.iter().map(|name| name.trim().to_lowercase()).any(|name| match name.as_str() {
        "bash" | "group:runtime" | "group:skykoi" => true,
        pattern => matches(pattern, EXEC),
    })
}

/// `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => {
            let Some(left) = name.strip_prefix(head) else { return false };
            (0..=left.len()).filter_map(|at| left.get(at..)).any(|tail| matches(rest, tail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn deny_wins_over_everything() {
        for name in ["exec", "EXEC", "bash", "group:runtime", "*", "ex*", "*c"] {
            let (allow, deny) = (list(&["exec"]), list(&[name]));
            assert!(!permits_exec(Rules { allow: Some(&allow), deny: Some(&deny), ..Rules::default() }), "{name}");
        }
        let deny = list(&["browser", "execute", "group:fs"]);
        assert!(permits_exec(Rules { deny: Some(&deny), ..Rules::default() }));
    }

    #[test]
    fn a_list_of_what_is_allowed_excludes_the_rest() {
        let (some, none) = (list(&["read", "bash"]), list(&["read"]));
        assert!(permits_exec(Rules { allow: Some(&some), ..Rules::default() }));
        assert!(!permits_exec(Rules { allow: Some(&none), ..Rules::default() }));
    }

    #[test]
    fn a_profile_without_commands_can_be_widened() {
        let more = list(&["exec"]);
        let minimal = Rules { profile: Some(Profile::Minimal), ..Rules::default() };
        assert!(!permits_exec(minimal));
        assert!(permits_exec(Rules { also_allow: Some(&more), ..minimal }));
        assert!(permits_exec(Rules { profile: Some(Profile::Coding), ..Rules::default() }));
    }
}
