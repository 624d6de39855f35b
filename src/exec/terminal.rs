//! A terminal for a command: it has a size, echoes what is typed and makes signals of keys, and its output comes in one stream.
//!
//! ```text
//! shim: master ── what is typed, what is shown ── slave: stdin, stdout and stderr of `confine {terminal} … command`
//! ```
//! The command must lead a session of its own to have it as its controlling terminal. Nothing of ours runs between fork and exec, so the hidden command `confine` founds that session and then becomes the command.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::Child;

use super::confine::Plan;
use super::process::{Leader, Running};

/// What programs find in `TERM`.
pub const TERM: &str = "xterm-256color";
/// Lines and columns.
const SIZE: (u16, u16) = (40, 120);

/// Both ends of a terminal that no process has yet.
#[derive(Debug)]
pub(super) struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    /// A terminal of 120 columns and 40 lines. It becomes nobody's controlling terminal by this.
    pub fn open() -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        // By the master itself: the file system of terminals may be another one where we are.
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let size = Winsize { ws_row: SIZE.0, ws_col: SIZE.1, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size)?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        Ok(Self { master, slave })
    }

    /// The command's end, once more.
    pub fn end(&self) -> io::Result<Stdio> {
        Ok(Stdio::from(self.slave.try_clone()?))
    }

    /// The command that has it from now on. Its output is at its end when nobody has the other end open any more. `typed` = something can be typed.
    pub fn running(self, child: Child, typed: bool) -> io::Result<Running> {
        let terminal = typed.then(|| self.master.try_clone().and_then(Sender::from_owned_fd_unchecked)).transpose()?;
        let stdout = Receiver::from_owned_fd_unchecked(self.master)?;
        // There is but one stream, so the other one is at its end at once.
        let (stderr, _) = io::pipe()?;
        Ok(Running { leader: Leader::of(vec![child])?, stdout, stderr: Receiver::from_owned_fd(stderr.into())?, terminal })
    }
}

/// Whether a session has the terminal of this master, so that a key which makes a signal reaches somebody: the kernel drops others. `confine` founds that session a while after the start.
#[must_use]
pub fn is_taken(master: impl AsFd) -> bool {
    // So it is said that there is no group in the foreground. Whatever else is wrong, what is typed will say.
    tcgetpgrp(master) != Err(Errno::OPNOTSUPP)
}

/// The words that give a command the terminal it is started on; they stand before all that shut it in. `program` is this program.
pub(super) fn step(program: &Path) -> [OsString; 3] {
    let plan = Plan { terminal: true, ..Plan::default() };
    [program.into(), "confine".into(), plan.to_text().into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::{isatty, tcgetwinsize};

    #[test]
    fn both_ends_are_one_terminal_with_a_size() {
        let terminal = Terminal::open().unwrap();
        assert!(isatty(&terminal.slave));
        let size = tcgetwinsize(&terminal.slave).unwrap();
        assert_eq!((size.ws_row, size.ws_col), SIZE);
        assert!(!is_taken(&terminal.master));
        rustix::io::write(&terminal.slave, b"shown\n").unwrap();
        // The kernel passes a text and the end of its line on one after the other.
        let (mut shown, mut bytes) = (Vec::new(), [0; 16]);
        while !shown.ends_with(b"\n") {
            let read = rustix::io::read(&terminal.master, &mut bytes).unwrap();
            shown.extend_from_slice(&bytes[..read]);
        }
        assert_eq!(shown, b"shown\r\n");
    }
}
