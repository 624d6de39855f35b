//! The environment of a command: names from a list, never what the daemon happens to have.
//!
//! The daemon's environment may hold its own token, keys of model providers and descriptors of its supervisor. A deny list would miss the next one, so there is an allow list, and names that look like secrets need to be configured by name.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// The variable that marks every process of a run; its value is the run's file id.
pub const MARKER: &str = "SKYKOI_RUN";

/// Names that a command may inherit from the daemon.
const ALLOWED: &[&str] = &["HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "TMPDIR", "HOSTNAME"];
/// Beginnings of names that a command may inherit.
const ALLOWED_PREFIXES: &[&str] = &["LC_", "XDG_"];
/// Names that a request may not set, and that no planned command has: with them programs and their configuration are found, and whom they trust. The gateway's own environment and its configuration may.
const NOT_BY_REQUEST: &[&str] = &[
    "BROWSER",
    "CLASSPATH",
    "GOFLAGS",
    "GRADLE_OPTS",
    "GREP_COLORS",
    "GREP_OPTIONS",
    "HISTFILE",
    "HOME",
    "HOSTALIASES",
    "JAVA_OPTS",
    "JQ_COLORS",
    "KRB5_CONFIG",
    "LESS",
    "LOCALDOMAIN",
    "LOCPATH",
    "LOGNAME",
    "MAKEFLAGS",
    "NODE_EXTRA_CA_CERTS",
    "MALLOC_CHECK_",
    "PATH",
    "POSIXLY_CORRECT",
    "RES_OPTIONS",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "R_PROFILE",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TAR_OPTIONS",
    "TERMCAP",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TMPDIR",
    "TZDIR",
    "USER",
];
const NOT_BY_REQUEST_PREFIXES: &[&str] =
    &["BUNDLE_", "BUN_", "CARGO_", "DENO_", "GIT_", "LUA_", "MALLOC_", "PHP", "PIP_", "SSH_", "UV_", "XDG_", "YARN_"];
/// Words in a name that mark it as a secret.
const SECRET_WORDS: &[&str] = &["TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "KEY", "AUTHORIZATION", "COOKIE"];
/// Names with which a program is made to load or run something else than it was asked to. The second fence: the first is that nothing passes that is not listed above.
const DANGEROUS: &[&str] = &[
    "_JAVA_OPTIONS",
    "AWKPATH",
    "AWKLIBPATH",
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "CORECLR_PROFILER_PATH",
    "COREPACK_NPM_REGISTRY",
    "EDITOR",
    "ENV",
    "FCEDIT",
    "FPATH",
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "GLOBIGNORE",
    "HGRCPATH",
    "IFS",
    "INPUTRC",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LESSCLOSE",
    "LESSEDIT",
    "LESSKEY",
    "LESSOPEN",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MAKEFILES",
    "MALLOC_TRACE",
    "MANPAGER",
    "MAVEN_OPTS",
    "NIS_PATH",
    "NLSPATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PAGER",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PROMPT_COMMAND",
    "PS4",
    "RESOLV_HOST_CONF",
    "RIPGREP_CONFIG_PATH",
    "RUSTC",
    "RUSTC_WRAPPER",
    "SHELLOPTS",
    "SSH_ASKPASS",
    "SSLKEYLOGFILE",
    "SUDO_ASKPASS",
    "SUDO_EDITOR",
    "TMPPREFIX",
    "VIMINIT",
    "EXINIT",
    "VISUAL",
    "WGETRC",
    "CURL_HOME",
    "ZDOTDIR",
];
const DANGEROUS_PREFIXES: &[&str] = &[
    "BASH_FUNC_",
    "COMPlus_",
    "CORECLR_",
    "DOTNET_",
    "DYLD_",
    "GIT_ASKPASS",
    "GIT_CONFIG",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "GIT_PROXY_COMMAND",
    "GIT_SEQUENCE_EDITOR",
    "GIT_SSH",
    "GIT_TEMPLATE_DIR",
    "LD_",
    "NPM_CONFIG_",
    "PERL",
    "PYTHON",
    "RUBY",
    "npm_config_",
];
/// Names that belong to this program and its service supervisor.
const OWN_PREFIXES: &[&str] = &["SKYKOI_", "OPENCLAW_", "LISTEN_", "WATCHDOG_"];
const OWN: &[&str] = &["NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY"];

/// Why a variable is not passed to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Empty, or with `=` or NUL in it.
    #[error("is not a name of a variable")]
    NotAName,
    /// It would change what a program loads or runs.
    #[error("changes what programs load or run")]
    Dangerous,
    /// It says where programs and their settings are.
    #[error("says where programs and their settings are, or whom they trust, which no request may")]
    NotByRequest,
    /// It is this program's own, such as its token.
    #[error("belongs to the gateway itself")]
    Own,
    /// Its value holds a NUL byte.
    #[error("has a value with a NUL byte")]
    BadValue,
}

/// The names that are never given to a command, wherever they come from. Names that only begin so are not among them.
#[must_use]
pub fn dangerous_names() -> &'static [&'static str] {
    DANGEROUS
}

/// Whether a variable may be given to a command at all, even by explicit configuration.
///
/// # Errors
/// The reason why not.
pub fn check(name: &str, value: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Refusal::NotAName);
    }
    if value.contains('\0') {
        return Err(Refusal::BadValue);
    }
    if listed(name, OWN, OWN_PREFIXES) {
        return Err(Refusal::Own);
    }
    if listed(name, DANGEROUS, DANGEROUS_PREFIXES) {
        return Err(Refusal::Dangerous);
    }
    Ok(())
}

/// Whether a request may give this variable to a command: as [`check`], and only plain names.
///
/// # Errors
/// The reason why not.
pub fn check_requested(name: &str, value: &str) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(if listed(name, DANGEROUS, DANGEROUS_PREFIXES) { Refusal::Dangerous } else { Refusal::NotAName });
    }
    check(name, value)?;
    if listed(name, NOT_BY_REQUEST, NOT_BY_REQUEST_PREFIXES) { Err(Refusal::NotByRequest) } else { Ok(()) }
}

/// Whether a name is one with which programs are made to load, run or trust something else, whoever sets it.
#[must_use]
pub fn steers_programs(name: &str) -> bool {
    listed(name, DANGEROUS, DANGEROUS_PREFIXES) || listed(name, NOT_BY_REQUEST, NOT_BY_REQUEST_PREFIXES)
}

/// The environment of a run's commands.
///
/// `inherited` is the daemon's environment; `passthrough` are further names that the configuration lets through (a name that looks like a secret passes only this way); `set` are configured variables, which win; `file_id` becomes the marker.
/// What [`check`] refuses never gets in, wherever it comes from.
#[must_use]
pub fn child_env(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    passthrough: &[String],
    set: &BTreeMap<String, String>,
    file_id: &str,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (name, value) in inherited {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let named = passthrough.iter().any(|wanted| wanted == name);
        if named || (listed(name, ALLOWED, ALLOWED_PREFIXES) && !looks_secret(name)) {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    env.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
    env.retain(|name, value| check(name, value).is_ok());
    env.insert(MARKER.to_owned(), file_id.to_owned());
    env
}

/// Whether a name looks like that of a secret.
#[must_use]
pub fn looks_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| upper.contains(word))
}

fn listed(name: &str, names: &[&str], prefixes: &[&str]) -> bool {
    names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(inherited: &[(&str, &str)], passthrough: &[&str], set: &[(&str, &str)]) -> Vec<String> {
        let inherited = inherited.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let passthrough: Vec<String> = passthrough.iter().map(|name| (*name).to_owned()).collect();
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        child_env(inherited, &passthrough, &set, "f1").into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn only_listed_names_pass_and_the_marker_is_always_there() {
        let have = [("HOME", "/h"), ("LC_ALL", "C"), ("XDG_RUNTIME_DIR", "/r"), ("AWS_PROFILE", "x"), ("FOO", "1"), ("SKYKOI_RUN", "old")];
        assert_eq!(env(&have, &[], &[]), ["HOME=/h", "LC_ALL=C", "SKYKOI_RUN=f1", "XDG_RUNTIME_DIR=/r"]);
    }

    #[test]
    fn secrets_pass_only_by_name_and_the_gateways_own_never() {
        let have = [("OPENAI_API_KEY", "k"), ("XDG_TOKEN", "t"), ("SKYKOI_GATEWAY_TOKEN", "s"), ("NOTIFY_SOCKET", "n")];
        assert_eq!(env(&have, &[], &[]), ["SKYKOI_RUN=f1"]);
        let all = ["OPENAI_API_KEY", "SKYKOI_GATEWAY_TOKEN", "NOTIFY_SOCKET"];
        assert_eq!(env(&have, &all, &[("SKYKOI_GATEWAY_PASSWORD", "p")]), ["OPENAI_API_KEY=k", "SKYKOI_RUN=f1"]);
    }

    #[test]
    fn whoever_lists_the_dangerous_names_gets_them_all() {
        assert!(dangerous_names().contains(&"BASH_ENV") && dangerous_names().len() > 10);
        for name in dangerous_names() {
            assert_eq!(check(name, "x"), Err(Refusal::Dangerous), "{name}");
        }
    }

    #[test]
    fn names_that_change_what_programs_load_are_refused_from_everywhere() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "BASH_ENV",
            "ENV",
            "NODE_OPTIONS",
            "BASH_FUNC_ls%%",
            "GLIBC_TUNABLES",
            "GIT_SSH_COMMAND",
            "PAGER",
        ] {
            assert_eq!(check(name, "x"), Err(Refusal::Dangerous), "{name}");
            assert_eq!(env(&[(name, "x")], &[name], &[(name, "y")]), ["SKYKOI_RUN=f1"]);
        }
        assert_eq!(check("", "x"), Err(Refusal::NotAName));
        assert_eq!(check("A=B", "x"), Err(Refusal::NotAName));
        assert_eq!(check("A", "x\0"), Err(Refusal::BadValue));
        assert_eq!(check("PATH", "/bin"), Ok(()));
    }

    #[test]
    fn a_request_may_neither_move_the_home_nor_the_path() {
        for name in NOT_BY_REQUEST {
            assert_eq!(check_requested(name, "/x"), Err(Refusal::NotByRequest), "{name}");
        }
        for name in ["", "1A", "A B", "A=B", "Ä"] {
            assert_eq!(check_requested(name, "x"), Err(Refusal::NotAName), "{name}");
        }
        assert_eq!(check_requested("BASH_FUNC_ls%%", "x"), Err(Refusal::Dangerous));
        assert_eq!(check_requested("SKYKOI_RUN", "x"), Err(Refusal::Own));
        assert_eq!(check_requested("MY_SETTING", "x"), Ok(()));
    }

    #[test]
    fn a_configured_value_wins_over_the_inherited_one() {
        assert_eq!(env(&[("PATH", "/a")], &[], &[("PATH", "/b")]), ["PATH=/b", "SKYKOI_RUN=f1"]);
    }
}
