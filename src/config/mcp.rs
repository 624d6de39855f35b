//! Section `mcp`: servers of the Model Context Protocol, whose tools agents may use.

use std::collections::BTreeMap;

use super::key_path::KeyPath;
use super::problem::Problem;
use super::secret::Secret;
use super::section::section;

/// Longest name of a server; it is a part of the names of its tools.
const MAX_NAME: usize = 24;

section! {
    /// Servers of the Model Context Protocol.
    struct Mcp {
        /// The servers by name: up to 24 letters, digits, `-` or `_`, without `__`. A tool of one is called `mcp__<server>__<tool>`.
        servers: BTreeMap<String, McpServer>,
    }
}

section! {
    /// A server of the Model Context Protocol: a `command` that is started for each run, inside the run's isolation and with its environment, or a `url`.
    struct McpServer {
        /// Uses it; default true.
        enabled: bool = true,
        /// The program, by name or path. It is the operator's, so no rule for commands is asked about it.
        command: Option<String>,
        /// Its arguments. They can be seen by every user of this machine; secrets belong into `env`.
        args: Vec<String>,
        /// Variables for it besides those that a run's commands have. Commands of the run do not get them.
        env: BTreeMap<String, Secret<String>>,
        /// The folder to run in, absolute; default the run's own.
        cwd: Option<String>,
        /// The address of a server that is reached by streamable HTTP, `https://…`, or `http://…` on this machine.
        url: Option<String>,
        /// Sent to it with every request.
        headers: BTreeMap<String, Secret<String>>,
        /// Time limit of one call, seconds.
        #[schemars(range(min = 1, max = 3600))]
        timeout_seconds: u32 = 60,
        /// Which of its tools are offered; the rules of `tools` come on top.
        tools: Option<McpTools>,
    }
}

section! {
    /// Which tools of a server are offered, by its own names for them; `*` matches any, deny wins.
    struct McpTools {
        /// Only these.
        allow: Option<Vec<String>>,
        /// Never these.
        deny: Option<Vec<String>>,
    }
}

/// What is wrong with the servers.
pub(super) fn wrong(mcp: &Mcp, problems: &mut Vec<Problem>) {
    for (name, server) in &mcp.servers {
        let path = KeyPath::parse("mcp.servers").key(name);
        if !is_name(name) {
            problems.push(Problem::value(path.clone(), "is no name of a server: up to 24 letters, digits, `-` or `_`, without `__`"));
        }
        match (&server.command, &server.url) {
            (Some(_), None) => {
                if !server.headers.is_empty() {
                    problems.push(Problem::value(path.key("headers"), "means something only with url"));
                }
                if server.cwd.as_ref().is_some_and(|cwd| !cwd.starts_with('/')) {
                    problems.push(Problem::value(path.key("cwd"), "must be absolute"));
                }
            }
            (None, Some(url)) => {
                if !may_be_asked(url) {
                    problems.push(Problem::value(
                        path.key("url"),
                        "must be https://…, or http://… on this machine (127.0.0.1, [::1] or localhost)",
                    ));
                }
                if !server.args.is_empty() || !server.env.is_empty() || server.cwd.is_some() {
                    problems.push(Problem::value(path.clone(), "args, env and cwd mean something only with command"));
                }
            }
            _ => problems.push(Problem::value(path, "needs either command or url")),
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) && !name.contains("__")
}

/// Secrets travel with the requests, so in clear only to this machine.
fn may_be_asked(url: &str) -> bool {
    if let Some(rest) = url.strip_prefix("https://") {
        return !rest.is_empty() && !rest.starts_with('/');
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority
        .strip_prefix('[')
        .map_or_else(|| authority.split(':').next().unwrap_or_default(), |inner| inner.split(']').next().unwrap_or_default());
    matches!(host, "127.0.0.1" | "::1" | "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mcp: Mcp = serde_json::from_str(text).unwrap();
        let mut problems = Vec::new();
        wrong(&mcp, &mut problems);
        problems.iter().map(|problem| format!("{problem:?}")).collect()
    }

    #[test]
    fn a_server_is_a_command_or_an_address() {
        assert!(problems(r#"{"servers":{"a":{"command":"x","env":{"K":"v"},"cwd":"/x"},"b-1":{"url":"https://h/mcp","headers":{"a":"b"}},"c":{"url":"http://[::1]:9/x"}}}"#).is_empty());
        for (text, said) in [
            (r#"{"servers":{"a":{}}}"#, "either command or url"),
            (r#"{"servers":{"a":{"command":"x","url":"https://h"}}}"#, "either command or url"),
            (r#"{"servers":{"a__b":{"command":"x"}}}"#, "no name of a server"),
            (r#"{"servers":{"a":{"url":"http://example.com/"}}}"#, "must be https"),
            (r#"{"servers":{"a":{"url":"http://127.0.0.1.example.com/"}}}"#, "must be https"),
            (r#"{"servers":{"a":{"url":"https://h","args":["x"]}}}"#, "only with command"),
            (r#"{"servers":{"a":{"command":"x","cwd":"y"}}}"#, "must be absolute"),
        ] {
            let found = problems(text);
            assert!(found.len() == 1 && found[0].contains(said), "{text}: {found:?}");
        }
    }
}
