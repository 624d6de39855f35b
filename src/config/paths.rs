//! Where things are kept. Everything stands under one state directory, made private on demand.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::layers::{FlagLayer, Sources};
use super::problem::ConfigError;

/// The places of one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The user's home directory.
    pub home: PathBuf,
    /// Everything below it is ours.
    pub state_dir: PathBuf,
    /// The config file.
    pub config_path: PathBuf,
}

impl Paths {
    /// The places that flags and environment name.
    ///
    /// State: `--state-dir`, `SKYKOI_STATE_DIR`, `~/.skykoi` or with `SKYKOI_PROFILE` `~/.skykoi-<profile>`. Config: `--config`, `SKYKOI_CONFIG_PATH` (also `SKYKOI_CONFIG`), `<state>/skykoi.json`.
    ///
    /// # Errors
    /// No home directory is known and the state directory is not named.
    pub fn find(sources: &Sources) -> Result<Self, ConfigError> {
        let env = |name: &str| sources.env.get(name).filter(|text| !text.is_empty());
        let home = env("HOME").map(PathBuf::from).or_else(std::env::home_dir).filter(|home| !home.as_os_str().is_empty());
        let named = sources.flags.state_dir.clone().or_else(|| env("SKYKOI_STATE_DIR").map(PathBuf::from));
        let home = home.or_else(|| named.clone()).ok_or(ConfigError::NoHome)?;
        let state_dir = match named {
            Some(named) => absolute(&expand_home(&named, &home)),
            None => home.join(state_name(&sources.env)),
        };
        let config = sources.flags.config.clone().or_else(|| env("SKYKOI_CONFIG_PATH").or_else(|| env("SKYKOI_CONFIG")).map(PathBuf::from));
        let config_path = config.map_or_else(|| state_dir.join("skykoi.json"), |config| absolute(&expand_home(&config, &home)));
        Ok(Self { home, state_dir, config_path })
    }

    /// The usual places under a state directory.
    #[must_use]
    pub fn in_state_dir(state_dir: PathBuf, home: PathBuf) -> Self {
        let config_path = state_dir.join("skykoi.json");
        Self { home, state_dir, config_path }
    }

    /// The local socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.state_dir.join("gateway.sock")
    }

    /// The directory of the runs' journals.
    #[must_use]
    pub fn runs_dir(&self) -> PathBuf {
        self.state_dir.join("runs")
    }

    /// The database.
    #[must_use]
    pub fn db(&self) -> PathBuf {
        self.state_dir.join("state.db")
    }

    /// The lock that one gateway per state directory holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state_dir.join("gateway.lock")
    }

    /// The log, unless `logging.file` says otherwise.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state_dir.join("logs").join("gateway.jsonl")
    }

    /// The directory of the audit log.
    #[must_use]
    pub fn audit_dir(&self) -> PathBuf {
        self.state_dir.join("audit")
    }

    /// The gateway's own key, which signs the heads of the audit log.
    #[must_use]
    pub fn identity_key(&self) -> PathBuf {
        self.state_dir.join("gateway").join("identity-key.pem")
    }

    /// The directory of the certificate that the gateway makes itself.
    #[must_use]
    pub fn tls_dir(&self) -> PathBuf {
        self.state_dir.join("gateway").join("tls")
    }

    /// The certificate file.
    #[must_use]
    pub fn tls_cert(&self) -> PathBuf {
        self.tls_dir().join("gateway-cert.pem")
    }

    /// The certificate's key file.
    #[must_use]
    pub fn tls_key(&self) -> PathBuf {
        self.tls_dir().join("gateway-key.pem")
    }

    /// Makes the state directory and those of runs, mode 0700.
    ///
    /// # Errors
    /// What the file system says.
    pub fn prepare(&self) -> io::Result<()> {
        private_dir(&self.state_dir)?;
        private_dir(&self.runs_dir())
    }
}

/// Makes a directory and its parents, mode 0700; an existing one that others can write is closed to them.
///
/// # Errors
/// What the file system says.
pub fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = path.metadata()?.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & !0o022))?;
    }
    Ok(())
}

/// `~` and `~/…` as the home directory.
#[must_use]
pub fn expand_home(path: &Path, home: &Path) -> PathBuf {
    path.strip_prefix("~")
        .map_or_else(|_| path.to_owned(), |rest| if rest.as_os_str().is_empty() { home.to_owned() } else { home.join(rest) })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn state_name(env: &BTreeMap<String, String>) -> String {
    // A profile becomes part of a directory name; other letters would lead somewhere else.
    let profile = env
        .get("SKYKOI_PROFILE")
        .filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
    match profile {
        Some(profile) if profile != "default" => format!(".skykoi-{profile}"),
        _ => ".skykoi".to_owned(),
    }
}

/// Flags that name only a state directory, for tests and tools.
impl From<PathBuf> for FlagLayer {
    fn from(state_dir: PathBuf) -> Self {
        Self { state_dir: Some(state_dir), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(flags: FlagLayer, env: &[(&str, &str)]) -> Paths {
        let env = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Paths::find(&Sources { flags, env, ..Sources::default() }).unwrap()
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_home() {
        let home = ("HOME", "/home/u");
        let none = FlagLayer::default;
        assert_eq!(found(none(), &[home]).config_path, Path::new("/home/u/.skykoi/skykoi.json"));
        assert_eq!(found(none(), &[home, ("SKYKOI_PROFILE", "dev")]).state_dir, Path::new("/home/u/.skykoi-dev"));
        assert_eq!(found(none(), &[home, ("SKYKOI_PROFILE", "../x")]).state_dir, Path::new("/home/u/.skykoi"));
        let env = [home, ("SKYKOI_STATE_DIR", "~/s"), ("SKYKOI_CONFIG_PATH", "/c.json")];
        assert_eq!(found(none(), &env).state_dir, Path::new("/home/u/s"));
        assert_eq!(found(none(), &env).config_path, Path::new("/c.json"));
        let flags = FlagLayer { state_dir: Some("/f".into()), ..none() };
        assert_eq!(found(flags.clone(), &env).state_dir, Path::new("/f"));
        assert_eq!(found(flags, &[]).config_path, Path::new("/f/skykoi.json"));
        assert_eq!(found(none(), &[home, ("SKYKOI_CONFIG", "/d.json")]).config_path, Path::new("/d.json"));
    }

    #[test]
    fn directories_are_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_state_dir(dir.path().join("a/b"), dir.path().to_owned());
        paths.prepare().unwrap();
        paths.prepare().unwrap();
        for path in [dir.path().join("a"), paths.state_dir.clone(), paths.runs_dir()] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
        }
        std::fs::set_permissions(&paths.state_dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        paths.prepare().unwrap();
        assert_eq!(paths.state_dir.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    }
}
