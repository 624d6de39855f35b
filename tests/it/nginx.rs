//! A real nginx with the site that is shipped, for the tests that need one.
//!
//! The shipped file is used as it is, but for what an unprivileged test cannot have: its port, the gateway's port,
//! the certificate's place and the log's place are replaced, and a minimal main file is put around it.

#![expect(clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test ends where its machine does not do what it must")]

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of the machine; tests run nginx, openssl, systemd-analyze and shells.
#[expect(clippy::disallowed_methods, reason = "a test starts real programs to check the shipped files with them")]
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(repository());
    command
}

/// Says that a check was skipped, and why: nothing is skipped silently.
pub fn skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

/// Runs a command to its end; `None` when the program is not on this machine, which is printed, so that a skipped check is seen.
pub fn run_or_skip(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            skip(&format!("{} is not installed (scripts/test-deps installs it)", command.get_program().to_string_lossy()));
            None
        }
        Err(error) => panic!("{:?}: {error}", command.get_program()),
    }
}

/// The name of nginx: Debian keeps it in a directory that is not on everybody's PATH.
fn nginx() -> Command {
    program(if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" })
}

/// A running nginx that terminates TLS on loopback and proxies to a port of the test's own. Stopped when dropped.
pub struct Nginx {
    /// Where it listens, on 127.0.0.1 and ::1.
    pub port: u16,
    dir: TempDir,
}

impl Nginx {
    /// Starts nginx in front of `127.0.0.1:upstream`; it listens when this returns. `None` = no nginx or no openssl here.
    pub fn start(upstream: u16) -> Option<Self> {
        let dir = TempDir::new().expect("a directory for nginx");
        let certificate =
            run_or_skip(program("deploy/make-cert.sh").arg("--dir").arg(dir.path().join("tls")).args(["koi.test", "127.0.0.1"]))?;
        assert!(certificate.status.success(), "make-cert.sh: {}", String::from_utf8_lossy(&certificate.stderr));
        // A free port may be taken by another process between the look and the start, so a failed start is tried again.
        let mut last = String::new();
        for _ in 0..5 {
            let port = free_port();
            let config = write_config(dir.path(), port, upstream);
            let started = run_or_skip(nginx().arg("-c").arg(&config))?;
            if started.status.success() {
                let nginx = Self { port, dir };
                nginx.wait_for_pid();
                return Some(nginx);
            }
            last = String::from_utf8_lossy(&started.stderr).into_owned();
        }
        panic!("nginx does not start: {last}");
    }

    /// It listens before it is a daemon, and says its number afterwards.
    fn wait_for_pid(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while !fs::read_to_string(self.dir.path().join("nginx.pid")).is_ok_and(|pid| pid.ends_with('\n')) {
            assert!(Instant::now() < until, "nginx has not said its number");
            std::thread::yield_now();
        }
    }

    /// The certificate that clients have to trust, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("tls/cert.pem")
    }

    /// What the site has logged so far.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("skykoi-gateway.access.log")).expect("the site's access log")
    }

    /// Has nginx read its configuration again: new workers take new connections, the old ones keep theirs.
    pub fn reload(&self) {
        let asked = nginx().arg("-c").arg(self.dir.path().join("nginx.conf")).args(["-s", "reload"]).output();
        assert!(asked.expect("nginx -s reload").status.success());
    }

    /// Kills nginx with all its workers, as a crash of the machine's proxy would.
    pub fn kill(&self) {
        let master: i32 = fs::read_to_string(self.dir.path().join("nginx.pid")).expect("its pid").trim().parse().expect("a number");
        let workers = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).expect("its workers");
        let pids = std::iter::once(master).chain(workers.split_whitespace().filter_map(|pid| pid.parse().ok()));
        for pid in pids.filter_map(rustix::process::Pid::from_raw) {
            // A worker may have ended with its master.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Starts it again after [`Self::kill`], on the same port.
    pub fn start_again(&self) {
        // The port is free only when the last of the killed processes is gone.
        let mut last = String::new();
        for _ in 0..100 {
            let started = nginx().arg("-c").arg(self.dir.path().join("nginx.conf")).output().expect("nginx");
            if started.status.success() {
                return;
            }
            last = String::from_utf8_lossy(&started.stderr).into_owned();
        }
        panic!("nginx does not start again: {last}");
    }

    /// Stops nginx and waits until its last log line is written.
    pub fn stop(&self) {
        let pid = fs::read_to_string(self.dir.path().join("nginx.pid")).unwrap_or_default();
        let _ = nginx().arg("-c").arg(self.dir.path().join("nginx.conf")).args(["-s", "stop"]).output();
        // The master removes its pid file as the last thing it does; `tail --pid` waits for the process itself.
        if !pid.trim().is_empty() {
            let _ = program("timeout").args(["10", "tail", "-s", "0.05", "--pid", pid.trim(), "-f", "/dev/null"]).output();
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.dir.path().join("nginx.pid").exists() {
            self.stop();
        }
    }
}

/// Has nginx check the shipped site (`nginx -t`); the text is what it says. `None` = no nginx or no openssl here.
pub fn check_site() -> Option<(bool, String)> {
    let dir = TempDir::new().expect("a directory for nginx");
    run_or_skip(program("deploy/make-cert.sh").arg("--dir").arg(dir.path().join("tls")))?;
    let config = write_config(dir.path(), free_port(), 1);
    let checked = run_or_skip(nginx().arg("-t").arg("-c").arg(&config))?;
    Some((checked.status.success(), String::from_utf8_lossy(&checked.stderr).into_owned()))
}

/// A port that was free a moment ago; only for who must name one. It lies below those that the kernel takes for connections by itself (from 32768), so that no client gets it in between.
pub fn free_port() -> u16 {
    let mut random = std::iter::repeat_with(|| 12_000 + uuid::Uuid::new_v4().as_fields().1 % 20_000);
    random.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("a free port")
}

/// A port where nobody answers: bound and not listening, so it refuses, and nobody else gets it while this lives.
pub fn refusing() -> tokio::net::TcpSocket {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    socket
}

/// Writes the rewritten site and a main file around it, and returns the main file.
fn write_config(dir: &Path, port: u16, upstream: u16) -> PathBuf {
    let shipped = fs::read_to_string(repository().join("nginx/skykoi-gateway.conf")).expect("the shipped site");
    let place = dir.display().to_string();
    let mut site = shipped;
    // Each pair must be there: a site that was changed past this list would be tested with the machine's own ports.
    for (from, to) in [
        ("listen 443 ssl;", format!("listen 127.0.0.1:{port} ssl;")),
        ("listen [::]:443 ssl;", if has_ipv6() { format!("listen [::1]:{port} ssl;") } else { String::new() }),
        ("127.0.0.1:18789", format!("127.0.0.1:{upstream}")),
        ("/etc/skykoi-gateway/tls", format!("{place}/tls")),
        ("/var/log/nginx", place.clone()),
    ] {
        assert!(site.contains(from), "the shipped site has no {from:?} any more");
        site = site.replace(from, &to);
    }
    fs::write(dir.join("site.conf"), site).expect("the site");
    let main = format!(
        "pid {place}/nginx.pid;\nerror_log {place}/error.log;\nworker_processes 1;\nevents {{ worker_connections 256; }}\n\
         http {{\n  client_body_temp_path {place}/body;\n  proxy_temp_path {place}/proxy;\n  fastcgi_temp_path {place}/fastcgi;\n  \
         uwsgi_temp_path {place}/uwsgi;\n  scgi_temp_path {place}/scgi;\n  include {place}/site.conf;\n}}\n"
    );
    let config = dir.join("nginx.conf");
    fs::write(&config, main).expect("nginx.conf");
    config
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}
