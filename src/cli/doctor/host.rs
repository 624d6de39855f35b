//! The machine around the gateway: what a run of its user could reach or become.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Scene;
use super::finding::Finding;
use crate::exec::isolate::Wrapped;
use crate::exec::process::{OOM_SCORE_ADJ, Script, spawn};

/// Where clouds answer with the machine's credentials.
const METADATA: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), 80),
];
/// They are next door, or not there.
const METADATA_LIMIT: Duration = Duration::from_secs(1);
/// How long `sudo` may think.
const SUDO_LIMIT: Duration = Duration::from_secs(3);
/// Groups whose members can become root: by starting containers, by reading disks, by passwords that are already there.
const GROUPS_OF_ROOT: &[(&str, &str)] = &[
    ("docker", "a container with the host's disk in it"),
    ("lxd", "a container with the host's disk in it"),
    ("incus-admin", "a container with the host's disk in it"),
    ("podman", "a container with the host's disk in it"),
    ("disk", "the disk itself, without asking the file system"),
    ("kvm", "nothing by itself, but devices of the host"),
    ("shadow", "the digests of all passwords"),
];

/// What a run could reach or become.
pub async fn security(scene: &Scene) -> Vec<Finding> {
    let mut findings = metadata(&METADATA, METADATA_LIMIT).await;
    findings.push(groups());
    findings.extend(search_path(scene));
    findings.push(sudo(scene).await);
    if rustix::process::geteuid().is_root() {
        findings.push(Finding::critical(
            "user",
            "this is root: whoever may write owns the machine",
            "run the gateway, and this command, as a user of its own",
        ));
    }
    findings
}

async fn metadata(addresses: &[SocketAddr], limit: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in addresses {
        if matches!(timeout(limit, TcpStream::connect(address)).await, Ok(Ok(_))) {
            let mend = "take the machine's role away, or ask for tokens with a hop limit of 1 and give runs a sandbox without network; \
                        iptables -A OUTPUT -m owner --uid-owner <user> -d 169.254.169.254 -j REJECT keeps this user from it";
            findings.push(Finding::warning(
                "metadata",
                format!("the cloud's metadata service answers at {}: a run can take the machine's role", address.ip()),
                mend,
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("metadata", "no metadata service of a cloud answers"));
    }
    findings
}

fn groups() -> Finding {
    let mine: Vec<u32> = rustix::process::getgroups()
        .unwrap_or_default()
        .iter()
        .map(|group| group.as_raw())
        .chain([rustix::process::getegid().as_raw()])
        .collect();
    let table = fs::read_to_string("/etc/group").unwrap_or_default();
    let found = groups_of_root(&table, &mine);
    let Some((first, _)) = found.first() else {
        return Finding::ok("groups", "this user is in no group that leads to root");
    };
    let ways: Vec<String> = found.iter().map(|(name, way)| format!("{name} ({way})")).collect();
    Finding::critical(
        "groups",
        format!("this user can become root through: {}", ways.join(", ")),
        format!("gpasswd -d USER {first}; use rootless containers"),
    )
}

fn groups_of_root(table: &str, mine: &[u32]) -> Vec<(&'static str, &'static str)> {
    let number =
        |name: &str| table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').nth(1)?.parse::<u32>().ok());
    GROUPS_OF_ROOT.iter().filter(|(name, _)| number(name).is_some_and(|number| mine.contains(&number))).copied().collect()
}

/// The daemon's search path, if it can be read, and ours.
fn search_path(scene: &Scene) -> Vec<Finding> {
    let environment = scene.pid().and_then(|pid| fs::read(format!("/proc/{pid}/environ")).ok());
    let of_daemon = environment.as_deref().and_then(|bytes| bytes.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"PATH=")));
    let path = of_daemon.map_or_else(|| std::env::var("PATH").unwrap_or_default(), |path| String::from_utf8_lossy(path).into_owned());
    let prepended = scene.texts("/exec/pathPrepend").into_iter().chain(scene.texts("/tools/exec/pathPrepend"));
    let mut findings: Vec<Finding> = prepended.chain(path.split(':')).filter_map(entry).collect();
    if findings.is_empty() {
        findings.push(Finding::ok("path", "nobody else can put a program on the search path"));
    }
    findings
}

fn entry(dir: &str) -> Option<Finding> {
    if !Path::new(dir).is_absolute() {
        return Some(Finding::critical(
            "path",
            format!("PATH has the entry '{dir}', which is wherever a run happens to be"),
            "name whole directories in PATH only",
        ));
    }
    let mode = fs::metadata(dir).ok()?.permissions().mode() & 0o7777;
    (mode & 0o002 != 0).then(|| {
        Finding::critical(
            "path",
            format!("everybody can put programs in {dir}, which is on PATH (mode {mode:04o})"),
            format!("chmod o-w {dir}, or take it off PATH"),
        )
    })
}

async fn sudo(scene: &Scene) -> Finding {
    let fenced = scene
        .pid()
        .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok())
        .is_some_and(|status| status.lines().any(|line| line == "NoNewPrivs:\t1"));
    if fenced {
        return Finding::ok("sudo", "runs cannot gain privileges, whatever sudo allows (NoNewPrivileges)");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let script = Script {
        shell: "/bin/sh".to_owned(),
        text: "exec sudo -n true".to_owned(),
        cwd: "/".into(),
        env: BTreeMap::from([("PATH".to_owned(), path)]),
        wrapped: Wrapped::default(),
        oom_score_adj: OOM_SCORE_ADJ,
    };
    let asked = async {
        let mut running = spawn(&script).ok()?;
        let ended = timeout(SUDO_LIMIT, running.leader.wait()).await;
        running.leader.signal_group(rustix::process::Signal::KILL);
        ended.ok()?.ok()
    };
    match asked.await {
        Some(status) if status.success() => Finding::critical(
            "sudo",
            "this user becomes root by sudo without a password, and so does a run",
            "take NOPASSWD out of /etc/sudoers.d for this user, or set NoNewPrivileges=yes in the unit",
        ),
        Some(_) => Finding::ok("sudo", "this user does not become root without a password"),
        None => Finding::note("sudo", "could not be tried", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Severity;

    #[test]
    fn groups_that_lead_to_root_are_found_by_their_number() {
        let table = "root:x:0:\ndockerish:x:7:\ndocker:x:998:koi\ndisk:x:6:\n";
        let names = |mine: &[u32]| groups_of_root(table, mine).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!((names(&[998, 7]), names(&[6, 998]), names(&[7, 1000])), (vec!["docker"], vec!["docker", "disk"], vec![]));
    }

    #[test]
    fn entries_that_others_can_fill_or_that_move_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(entry(path), None);
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(entry(path).is_some_and(|finding| finding.severity == Severity::Critical));
        assert!(entry("").is_some() && entry("bin").is_some() && entry("/no/such/place").is_none());
    }

    #[tokio::test]
    async fn a_metadata_service_is_found_where_one_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        assert_eq!(metadata(&[there], Duration::from_secs(60)).await[0].severity, Severity::Warning);
        let silent = crate::free::refusing();
        assert_eq!(metadata(&[silent.local_addr().unwrap()], Duration::from_secs(60)).await[0].severity, Severity::Ok);
    }
}
