//! The command line of bubblewrap for level `strict`: namespaces of its own, an empty root, and into it only what a command needs.
//!
//! Trusted are the system's programs and the parts of `/etc` that programs read to work at all. The home directory, `/run` (with the bus and Docker's socket), `/var`, `/sys` and the gateway's state do not exist inside.
//! No `--die-with-parent`: the command is to have its grace when it is told to end, and the shim finds the namespace's init and ends it, which ends everything in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::protocol::isolation::Access;

/// What the command is to see.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The program `bwrap`.
    pub bwrap: &'a Path,
    /// Whether it stays in the machine's network.
    pub network: bool,
    /// Its home directory, which is empty.
    pub home: Option<&'a Path>,
    /// Where it works, and what it may do there.
    pub workspace: (&'a Path, Access),
    /// Further places that it can read.
    pub read_only: &'a [PathBuf],
    /// Files that came with its message.
    pub attachments: &'a [PathBuf],
    /// Where its program keeps its state.
    pub writable: &'a [PathBuf],
    /// This program, and where it stands inside.
    pub program: (&'a Path, &'a Path),
}

/// Top directories of the system's programs: real ones, or links into `/usr`.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/opt"];

/// What programs read of `/etc`; no file in it holds a secret.
const ETC: [&str; 38] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "default/locale",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "hosts",
    "inputrc",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "pki",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

/// Program and arguments up to and with `--`.
#[must_use]
pub fn words(view: &View<'_>) -> Vec<OsString> {
    let mut words = Words(vec![view.bwrap.into()]);
    words.flags(&["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
    if !view.network {
        words.flags(&["--unshare-net"]);
    }
    words.flags(&["--cap-drop", "ALL"]);
    for path in SYSTEM.map(Path::new) {
        match std::fs::read_link(path) {
            Ok(target) => words.two("--symlink", &target, path),
            Err(_) => words.two("--ro-bind-try", path, path),
        }
    }
    for name in ETC {
        let path = Path::new("/etc").join(name);
        words.two("--ro-bind-try", &path, &path);
    }
    words.flags(&["--proc", "/proc", "--dev", "/dev"]);
    for place in ["/tmp", "/var/tmp", "/run"] {
        words.flags(&["--tmpfs", place]);
    }
    if let Some(home) = view.home.filter(|home| home.is_absolute() && *home != Path::new("/")) {
        words.one("--tmpfs", home);
    }
    words.two("--ro-bind", view.program.0, view.program.1);
    // From the top down, so that none hides another.
    let mut places: Vec<(&Path, &str)> = view.read_only.iter().map(|path| (path.as_path(), "--ro-bind-try")).collect();
    places.extend(view.writable.iter().map(|path| (path.as_path(), "--bind-try")));
    let (workspace, access) = view.workspace;
    places.push((
        workspace,
        match access {
            Access::ReadWrite => "--bind",
            Access::ReadOnly => "--ro-bind",
            Access::None => "--tmpfs",
        },
    ));
    places.sort_by_key(|(path, _)| path.components().count());
    for (path, how) in places {
        if how == "--tmpfs" { words.one(how, path) } else { words.two(how, path, path) }
    }
    for path in view.attachments {
        words.two("--ro-bind-try", path, path);
    }
    // What was made on the way to these places cannot be written.
    words.one("--remount-ro", Path::new("/"));
    words.one("--chdir", workspace);
    words.flags(&["--"]);
    words.0
}

struct Words(Vec<OsString>);

impl Words {
    fn flags(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn one(&mut self, flag: &str, path: &Path) {
        self.0.extend([flag.into(), path.into()]);
    }

    fn two(&mut self, flag: &str, from: &Path, to: &Path) {
        self.0.extend([flag.into(), from.into(), to.into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_comes_behind_the_places_that_would_hide_it() {
        let read_only = [PathBuf::from("/home/u/koi/lib/ro"), PathBuf::from("/home/u")];
        let view = View {
            bwrap: Path::new("bwrap"),
            network: true,
            home: Some(Path::new("/home/u")),
            workspace: (Path::new("/home/u/koi"), Access::ReadWrite),
            read_only: &read_only,
            attachments: &[],
            writable: &[],
            program: (Path::new("/bin/gw"), Path::new("/run/gw")),
        };
        let text: Vec<String> = words(&view).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let at = |wanted: &[&str]| text.windows(wanted.len()).position(|window| window == wanted).unwrap();
        let home = at(&["--tmpfs", "/home/u"]);
        let above = at(&["--ro-bind-try", "/home/u", "/home/u"]);
        let workspace = at(&["--bind", "/home/u/koi", "/home/u/koi"]);
        let below = at(&["--ro-bind-try", "/home/u/koi/lib/ro", "/home/u/koi/lib/ro"]);
        assert!(home < above && above < workspace && workspace < below);
        assert!(!text.contains(&"--unshare-net".to_owned()) && !text.contains(&"--die-with-parent".to_owned()));
        assert_eq!(text.last().unwrap(), "--");
    }

    #[test]
    fn no_place_of_the_state_or_the_bus_is_among_the_trusted() {
        for secret in ["shadow", "gshadow", "sudoers", "ssh", "skykoi-gateway", "ssl/private", "ssl"] {
            assert!(!ETC.contains(&secret), "{secret}");
        }
    }
}
