//! The server of the tool `exec` as an agent program starts it: `skykoi-gateway mcp <where>`. Carries the lines between the program and the desk of its run, which speaks the protocol; nothing is decided here.
//!
//! `<where>` is the path of a socket, or `127.0.0.1:<port>`, whose key is in the environment.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};

use super::note;
use crate::runs::runners::program::KEY;
use crate::runs::socket;

/// Exit code: it ended with the program or the run.
const DONE: u8 = 0;
/// Exit code: the run could not be reached.
const UNREACHED: u8 = 69;

/// Carries lines until one side is done, and returns the exit code: 0, or 69 if the run cannot be reached.
#[must_use]
pub fn main() -> u8 {
    let Some(place) = std::env::args().nth(2) else {
        note("mcp: say where the run is; this command is for agent programs that a run starts");
        return UNREACHED;
    };
    match carry(&place) {
        Ok(()) => DONE,
        Err(failed) => {
            note(&format!("mcp: the run at {place} cannot be reached: {failed}"));
            UNREACHED
        }
    }
}

fn carry(place: &str) -> io::Result<()> {
    if place.starts_with('/') {
        let (address, _dir) = socket::address(place.as_ref())?;
        return both(UnixStream::connect(address)?, |stream| stream.shutdown(Shutdown::Write));
    }
    let key = std::env::var(KEY).map_err(|_| io::Error::other(format!("{KEY} is not in the environment")))?;
    let mut stream = TcpStream::connect(place)?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("{key}\n").as_bytes())?;
    both(stream, |stream| stream.shutdown(Shutdown::Write))
}

/// Carries both ways. The end of the run's side is the end; that of the program's is only told on.
fn both<S: Read + Write + AsFd>(mut run: S, hang_up: impl Fn(&S) -> io::Result<()>) -> io::Result<()> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let (program, mut out) = (stdin.lock(), stdout.lock());
    let mut buffer = vec![0; 64 << 10];
    let mut listens = true;
    loop {
        let mut waited = vec![PollFd::new(&run, PollFlags::IN)];
        waited.extend(listens.then(|| PollFd::from_borrowed_fd(program.as_fd(), PollFlags::IN)));
        match poll(&mut waited, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready: Vec<bool> = waited.iter().map(|waited| !waited.revents().is_empty()).collect();
        drop(waited);
        if ready.first() == Some(&true) {
            let size = match run.read(&mut buffer) {
                Err(failed) if is_hung_up(&failed) => 0,
                other => other?,
            };
            let Some(bytes) = buffer.get(..size).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            all(&mut out, bytes)?;
        }
        if ready.get(1) == Some(&true) {
            match rustix::io::read(program.as_fd(), &mut buffer) {
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Ok(0) | Err(_) => {
                    listens = false;
                    // If the run is gone, the next look says so.
                    let _ = hang_up(&run);
                }
                Ok(size) => match run.write_all(buffer.get(..size).unwrap_or_default()) {
                    Err(failed) if is_hung_up(&failed) => return Ok(()),
                    other => other?,
                },
            }
        }
    }
}

/// Whether the run's side ended the connection, perhaps before it took all that was said.
fn is_hung_up(failed: &io::Error) -> bool {
    matches!(failed.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Writes to a program whose end of the pipe may be one that does not wait.
fn all(out: &mut (impl Write + AsFd), mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(out.as_fd(), bytes) {
            Ok(size) => bytes = bytes.get(size..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => drop(poll(&mut [PollFd::new(&out.as_fd(), PollFlags::OUT)], None)),
            Err(failed) => return Err(failed.into()),
        }
    }
    Ok(())
}
