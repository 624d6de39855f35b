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

/// The tool that runs commands, and its group.
const EXEC: (&str, &str) = ("exec", "group:runtime");
/// All tools of ours.
const OURS: &str = "group:skykoi";
/// Names by which tools were known before.
const OLD_NAMES: [(&str, &str); 2] = [("bash", "exec"), ("apply-patch", "apply_patch")];
/// Groups that a profile starts from.
const OF_CODING: [&str; 5] = ["group:fs", "group:runtime", "group:sessions", "group:memory", "group:web"];
const OF_MESSAGING: [&str; 2] = ["group:messaging", "group:sessions"];

/// Whether one layer permits commands, the tool `exec`.
#[must_use]
pub fn permits_exec(rules: Rules<'_>) -> bool {
    permits(rules, EXEC.0, EXEC.1)
}

/// Whether one layer permits the tool of this name, which belongs to that group.
#[must_use]
pub fn permits(rules: Rules<'_>, tool: &str, group: &str) -> bool {
    if rules.deny.is_some_and(|deny| names(deny, tool, group)) {
        return false;
    }
    if let Some(allow) = rules.allow {
        return names(allow, tool, group);
    }
    let by_profile = match rules.profile {
        None | Some(Profile::Full) => true,
        Some(Profile::Coding) => OF_CODING.contains(&group),
        Some(Profile::Messaging) => OF_MESSAGING.contains(&group),
        Some(Profile::Minimal) => false,
    };
    by_profile || rules.also_allow.is_some_and(|also| names(also, tool, group))
}

/// Whether a list names a tool, directly, by an old name, by its group or by a pattern.
fn names(list: &[String], tool: &str, group: &str) -> bool {
    list.iter().map(|name| name.trim().to_lowercase()).any(|name| {
        let name = OLD_NAMES.iter().find(|(old, _)| *old == name).map_or(name.as_str(), |(_, new)| new);
        name == group || name == OURS || matches(name, tool)
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

    #[test]
    fn sk42_deny_wins_over_allow_and_allow_over_the_profile_for_every_tool() {
        let tools = [
            ("read", "group:fs"),
            ("write", "group:fs"),
            ("exec", "group:runtime"),
            ("process", "group:runtime"),
            ("web_fetch", "group:web"),
        ];
        let permitted = |rules| tools.iter().filter(|(tool, group)| permits(rules, tool, group)).map(|(tool, _)| *tool).collect::<Vec<_>>();
        let (fs, exec, all, pattern) = (list(&["group:fs"]), list(&["Bash"]), list(&["*"]), list(&["web_*", "w*e"]));
        let none = Rules::default();
        assert_eq!(permitted(none).len(), 5);
        assert_eq!(permitted(Rules { deny: Some(&fs), ..none }), ["exec", "process", "web_fetch"]);
        assert_eq!(permitted(Rules { allow: Some(&fs), ..none }), ["read", "write"]);
        assert_eq!(permitted(Rules { allow: Some(&all), deny: Some(&exec), ..none }), ["read", "write", "process", "web_fetch"]);
        assert_eq!(permitted(Rules { allow: Some(&pattern), ..none }), ["write", "web_fetch"]);
        assert_eq!(permitted(Rules { allow: Some(&all), deny: Some(&all), ..none }), Vec::<&str>::new());
        assert_eq!(permitted(Rules { profile: Some(Profile::Minimal), also_allow: Some(&fs), ..none }), ["read", "write"]);
        assert_eq!(permitted(Rules { profile: Some(Profile::Minimal), allow: Some(&exec), ..none }), ["exec"]);
        assert_eq!(permitted(Rules { profile: Some(Profile::Messaging), ..none }), Vec::<&str>::new());
        assert_eq!(permitted(Rules { profile: Some(Profile::Coding), deny: Some(&pattern), ..none }), ["read", "exec", "process"]);
    }
}
