//! The first config file: commented, private, with a token of its own. Written once and never over an existing file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::paths::private_dir;

/// The beginning of every token, so that scanners for leaked secrets can know one.
pub const TOKEN_PREFIX: &str = "skg_";

/// A new token: the prefix, 256 random bits as 43 letters, and four letters that tell a mistyped token from a right one.
///
/// # Errors
/// The system has no randomness to give.
pub fn new_token() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no randomness from the system"))?;
    let body = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    Ok(format!("{body}{}", checksum(&body)))
}

/// The last letters of a token that begins with `body`.
fn checksum(body: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, body.as_bytes()).as_ref().first_chunk::<3>().unwrap_or(&[0; 3]))
}

/// Whether a text has the form of a token that this program makes, and is not one: a letter of it was lost or changed on the way.
#[must_use]
pub fn is_mistyped(token: &str) -> bool {
    let made_here = token.starts_with(TOKEN_PREFIX) && token.len() == TOKEN_PREFIX.len() + 47 && token.is_ascii();
    made_here && token.split_at_checked(token.len() - 4).is_none_or(|(body, sum)| checksum(body) != sum)
}

/// The text of a config that starts: local mode, token login, shell work in `workspace`.
#[must_use]
pub fn default_file(token: &str, workspace: &Path) -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    format!(
        r#"// SkyKoi Gateway. JSON5: comments and trailing commas are welcome; an unknown key or a wrong value refuses to start.
// `skykoi-gateway config check` checks this file, `config explain KEY` says what a key does and who set it.
{{
  gateway: {{
    // Runs here. Without this line nothing starts.
    mode: "local",
    // Loopback only; put nginx with TLS in front to reach it from outside.
    bind: "loopback",
    port: 18789,
    // The origins under which browsers reach it, for example ["https://koi.example.com"].
    publicUrls: [],
    auth: {{
      mode: "token",
      // Whoever has this token can run commands on this machine. Keep this file private (chmod 600).
      token: {token},
    }},
  }},

  agents: {{
    defaults: {{
      // Where commands run.
      workspace: {workspace},
      // Without a model, a message is a shell script. Name one to talk to it: model: "provider/model".
      timeoutSeconds: 600,
      maxConcurrent: 4,
    }},
  }},

  exec: {{
    // "full" runs any command, "deny" none.
    security: "full",
    // On this machine.
    host: "gateway",
  }},
}}
"#,
        token = quoted(token),
        workspace = quoted(&workspace.to_string_lossy()),
    )
}

/// The same text with a section that says where agent programs are, by the name of their runner.
#[must_use]
pub fn with_programs(text: String, programs: &[(&str, &Path)]) -> String {
    let quoted = |path: &Path| serde_json::to_string(&path.to_string_lossy()).unwrap_or_default();
    let lines: String = programs.iter().map(|(name, path)| format!("    {name}: {{ command: {} }},\n", quoted(path))).collect();
    match text.strip_suffix("}\n") {
        Some(start) if !lines.is_empty() => {
            format!(
                "{start}\n  // Agent programs; an agent with `runner: \"codex\"` or \"claude\" works with one.\n  runners: {{\n{lines}  }},\n}}\n"
            )
        }
        _ => text,
    }
}

/// Writes a new file, mode 0600, and its directory, mode 0700; on disk when this returns.
///
/// # Errors
/// The file exists already (`AlreadyExists`), or what the file system says.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    private_dir(directory)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::{FlagLayer, Sources};
    use crate::config::load::load;

    #[test]
    fn tokens_are_long_and_differ() {
        let (a, b) = (new_token().unwrap(), new_token().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), TOKEN_PREFIX.len() + 47);
        let (mut changed, at) = (a.clone(), TOKEN_PREFIX.len() + 5);
        changed.replace_range(at..=at, "~");
        assert!(!is_mistyped(&a) && is_mistyped(&changed) && !is_mistyped("skg_older-ones-had-no-sum"));
        assert!(a.starts_with(TOKEN_PREFIX) && a.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
    }

    #[test]
    fn the_first_file_is_private_starts_and_is_never_written_over() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/skykoi.json");
        let token = new_token().unwrap();
        write_new(&path, &default_file(&token, Path::new("/home/koi \"x\"/work"))).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = load(&Sources { flags: FlagLayer::from(dir.path().join("state")), ..Sources::default() }).unwrap();
        assert_eq!(loaded.start_blockers(), []);
        assert_eq!(loaded.warnings, Vec::<String>::new());
        assert_eq!(loaded.config.gateway.auth.token.as_ref().unwrap().expose(), &token);
        assert_eq!(loaded.config.agent(None).unwrap().workspace, Path::new("/home/koi \"x\"/work"));
        assert_eq!(write_new(&path, "{}").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn the_first_file_can_say_where_agent_programs_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skykoi.json");
        let plain = default_file(&new_token().unwrap(), dir.path());
        assert_eq!(with_programs(plain.clone(), &[]), plain);
        write_new(&path, &with_programs(plain, &[("codex", Path::new("/opt/\"c\"/codex")), ("claude", Path::new("/c"))])).unwrap();
        let loaded = load(&Sources { flags: FlagLayer::from(dir.path().to_owned()), ..Sources::default() }).unwrap();
        let runners = &loaded.config.runners;
        assert_eq!(runners.codex.command.as_ref().unwrap().0, ["/opt/\"c\"/codex"]);
        assert_eq!(runners.claude.command.as_ref().unwrap().0, ["/c"]);
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }
}
