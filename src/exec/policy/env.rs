//! The environment of a planned command: fewer names than a shell gets, and a `PATH` that nobody chose.
//!
//! A bounded program needs its language and its time zone. What names folders of the user, editors, pagers or shells only makes it load or start something that nobody decided about, so it is left out; what the configuration lets through by name stays, unless its name is one with which programs are made to do other things than they were told to.

use std::collections::BTreeMap;

use super::trust::SEARCH;
use crate::exec::env::{MARKER, steers_programs};

/// Names that a planned command has from the daemon.
const PLAIN: &str = "LANG LANGUAGE TZ TERM HOSTNAME";
/// Those that a request may not change, but the daemon's own are true.
const OF_THE_USER: [&str; 2] = ["USER", "LOGNAME"];
/// Beginnings of such names; the gateway's own word on attachments is among them.
const PLAIN_PREFIXES: &str = "LC_ SKYKOI_ATTACHMENT";

/// What a planned command gets of a run's environment. `passthrough` are the names that the configuration lets through.
#[must_use]
pub fn planned(env: BTreeMap<String, String>, passthrough: &[String]) -> BTreeMap<String, String> {
    let plain = |name: &str| listed(name, PLAIN, PLAIN_PREFIXES) || OF_THE_USER.contains(&name);
    let named = |name: &str| passthrough.iter().any(|wanted| wanted == name) && !steers_programs(name);
    let mut env: BTreeMap<_, _> = env.into_iter().filter(|(name, _)| name == MARKER || plain(name) || named(name)).collect();
    env.insert("PATH".to_owned(), SEARCH.join(":"));
    env
}

fn listed(name: &str, names: &str, prefixes: &str) -> bool {
    names.split_whitespace().any(|known| known == name) || prefixes.split_whitespace().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::env::child_env;
    use std::ffi::OsString;

    /// The names of the catalogue, one or more for each of its patterns.
    const DANGEROUS: &str = "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES BASH_ENV ENV BASH_FUNC_ls%% SHELLOPTS PS4 IFS GIT_EXEC_PATH \
    GIT_SSH_COMMAND GIT_CONFIG_COUNT GIT_CONFIG_GLOBAL GIT_EXTERNAL_DIFF PAGER EDITOR LESSOPEN JAVA_TOOL_OPTIONS MAVEN_OPTS \
    GLIBC_TUNABLES PYTHONPATH PYTHONSTARTUP PYTHONHOME PERL5LIB PERL5OPT RUBYOPT RUBYLIB NODE_OPTIONS DOTNET_STARTUP_HOOKS HOME \
    ZDOTDIR SSLKEYLOGFILE OPENSSL_CONF NPM_CONFIG_USERCONFIG GCONV_PATH PROMPT_COMMAND";

    #[test]
    fn m69_no_dangerous_name_reaches_a_planned_command_by_inheritance_or_configuration() {
        for name in DANGEROUS.split_whitespace() {
            let inherited = [(OsString::from(name), OsString::from("evil"))];
            let passthrough = [name.to_owned()];
            let set = BTreeMap::from([(name.to_owned(), "evil".to_owned())]);
            for named in [&[][..], &passthrough[..]] {
                for set in [&BTreeMap::new(), &set] {
                    let env = planned(child_env(inherited.clone(), named, set, "f1"), named);
                    assert!(!env.contains_key(name) && !env.values().any(|value| value == "evil"), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_planned_command_has_a_path_of_ours_and_what_was_named() {
        let set = [
            ("PATH", "/evil"),
            ("LANG", "C"),
            ("LC_ALL", "C"),
            ("AWS_REGION", "x"),
            ("OTHER", "y"),
            ("SKYKOI_RUN", "f"),
            ("SKYKOI_ATTACHMENT_1", "/a"),
        ];
        let env = set.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let env = planned(env, &["AWS_REGION".to_owned(), "PATH".to_owned()]);
        assert_eq!(
            env.keys().map(String::as_str).collect::<Vec<_>>(),
            ["AWS_REGION", "LANG", "LC_ALL", "PATH", "SKYKOI_ATTACHMENT_1", "SKYKOI_RUN"]
        );
        assert_eq!(env["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    }
}
