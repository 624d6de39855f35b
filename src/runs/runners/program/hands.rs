//! The commands of a program that has no shell of its own: it asks for them by the tool `exec` of a server that is started from this program (`shim::relay`), and that server speaks with us over a private socket.
//!
//! Who may speak: on the named socket a process of our user below the program itself, and not one of the commands, which hang from the shim. A program that is shut in reaches no socket of the file system; there it is a port of the loopback device, and a key that the program has in its environment.
//! Each command is asked about, started and ended as those of the built-in agent are, whatever the program thinks of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::agent::start_asked;
use super::teller::Teller;
use crate::agent::hands::{Asked, Hands};
use crate::agent::host::{AgentEvent, Command, Doing, Errand, Host, Starting};
use crate::agent::spec::ExecRules;
use crate::auth::token::TokenDigest;
use crate::clock::now_ms;
use crate::config::init::new_token;
use crate::exec::company::Company;
use crate::exec::isolate::SELF_INSIDE;
use crate::exec::output::Sink;
use crate::exec::proc;
use crate::programs::lines::Lines;
use crate::programs::mcp::{Act, Call, Server, done, refused};
use crate::programs::ready;
use crate::protocol::isolation::Level;
use crate::runs::control::RunSpec;
use crate::runs::launcher::this_program;
use crate::runs::sink::RunSink;
use crate::runs::socket;
use crate::runs::stop::Stop;
use crate::tasks::Tasks;

/// The variable with the key of the port.
pub const KEY: &str = "SKYKOI_EXEC_KEY";
/// Longest line of a client, in bytes.
const MAX_LINE: usize = 4 << 20;
/// Calls of one client that are open at a time.
const MAX_CALLS: usize = 32;
/// Clients at a time; a program has one, and perhaps a second while it starts the first anew.
const MAX_CLIENTS: usize = 8;
/// How long a client of the port may take to say its key.
const KEY_LIMIT: Duration = Duration::from_secs(5);
/// How much longer than the grace the end of all commands may take.
const END_LIMIT: Duration = Duration::from_secs(6);
/// Ports that are tried.
const TRIES: usize = 16;
/// Most ancestors that are looked at.
const DEPTH: usize = 4096;

/// Whom the server of the tool speaks with.
pub struct Desk {
    hands: Hands,
    teller: Arc<Teller>,
    server: Server,
    door: Door,
    tasks: Tasks,
    grace: Duration,
    was_reached: AtomicBool,
}

enum Door {
    /// A socket with a name, which goes away with it.
    Named(UnixListener, PathBuf),
    /// A port, and the key to it.
    Port(TcpListener, TokenDigest),
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Self::Named(_, path) = self {
            // If it is gone already, that is what was wanted.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Desk {
    /// Opens the desk of a run, and says how its program finds it.
    ///
    /// # Errors
    /// Why it cannot be had, for people.
    pub async fn open(
        spec: &RunSpec,
        rules: ExecRules,
        out: &RunSink,
        stop: &Stop,
        teller: &Arc<Teller>,
        company: &Company,
    ) -> Result<(Arc<Self>, ready::Hands), String> {
        let own = this_program().map_err(|failed| format!("the path of this program is not known: {failed}"))?;
        let (door, words, env) = door(spec, &own).await?;
        let outside = Outside { spec: spec.clone(), out: out.clone(), stop: stop.clone() };
        let desk = Self {
            hands: Hands::new(rules, Arc::new(outside), spec.cwd.clone(), company.clone()),
            teller: Arc::clone(teller),
            server: Server::new(rules.timeout_ms / 1000),
            door,
            tasks: Tasks::new(),
            grace: Duration::from_millis(rules.grace_ms),
            was_reached: AtomicBool::new(false),
        };
        Ok((Arc::new(desk), ready::Hands { words, env }))
    }

    /// Lets clients in that belong to the program of this process id. Never ends.
    pub async fn serve(self: &Arc<Self>, program: u32) {
        loop {
            let accepted = match &self.door {
                Door::Named(listener, _) => match listener.accept().await {
                    Ok((stream, _)) if self.has_room() && is_of(&stream, program) => self.welcome(stream),
                    Ok(_) => Ok(()),
                    Err(failed) => Err(failed),
                },
                Door::Port(listener, key) => match listener.accept().await {
                    Ok((stream, _)) if self.has_room() => self.welcome_with(stream, key.clone()),
                    Ok(_) => Ok(()),
                    Err(failed) => Err(failed),
                },
            };
            if accepted.is_err() {
                // No descriptors left; the next one may find room.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Whether a client was ever let in.
    pub fn was_reached(&self) -> bool {
        self.was_reached.load(Ordering::Relaxed)
    }

    /// Ends what runs and tells of its end.
    pub async fn close(&self) {
        self.hands.end().await;
        self.tasks.stop(self.grace + END_LIMIT).await;
        self.teller.end_all();
        self.teller.printed(self.hands.printed());
    }

    fn has_room(&self) -> bool {
        self.tasks.len() < MAX_CLIENTS
    }

    fn welcome<S: AsyncRead + AsyncWrite + Send + 'static>(self: &Arc<Self>, stream: S) -> io::Result<()> {
        self.was_reached.store(true, Ordering::Relaxed);
        let (desk, stop) = (Arc::clone(self), self.tasks.stop_token());
        self.tasks.spawn("hands", async move { desk.converse(stream, stop).await });
        Ok(())
    }

    fn welcome_with(self: &Arc<Self>, mut stream: tokio::net::TcpStream, key: TokenDigest) -> io::Result<()> {
        let (desk, stop) = (Arc::clone(self), self.tasks.stop_token());
        self.tasks.spawn("hands", async move {
            let said = timeout(KEY_LIMIT, said_key(&mut stream)).await;
            if said.is_ok_and(|said| said.is_ok_and(|said| key.matches(&said))) {
                desk.was_reached.store(true, Ordering::Relaxed);
                desk.converse(stream, stop).await;
            }
        });
        Ok(())
    }

    /// Speaks with one client until it leaves; what it asked for ends then.
    async fn converse<S: AsyncRead + AsyncWrite + Send + 'static>(self: Arc<Self>, stream: S, stop: CancellationToken) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (sender, mut answers) = mpsc::channel::<(String, Value)>(MAX_CALLS);
        let (mut open, calls) = (HashMap::<String, DropGuard>::new(), Tasks::new());
        let (mut lines, mut heard, mut buffer) = (Lines::with_limit(MAX_LINE), Vec::new(), vec![0; 16 << 10]);
        'talk: loop {
            let mut say = Vec::new();
            tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(size) if size > 0 => lines.push(buffer.get(..size).unwrap_or_default(), &mut heard),
                    _ => break,
                },
                Some((request, answer)) = answers.recv() => {
                    // A call that was cancelled has no answer.
                    say.extend(open.remove(&request).map(|_| answer));
                }
                () = stop.cancelled() => break,
            }
            for line in heard.drain(..) {
                match self.server.heard(line) {
                    None => {}
                    Some(Act::Say(answer)) => say.push(answer),
                    Some(Act::Cancel(request)) => drop(open.remove(&request.to_string())),
                    Some(Act::Call(call)) if open.len() >= MAX_CALLS || open.contains_key(&call.request.to_string()) => {
                        say.push(refused(&call.request, "too many calls are open, or one of this id is"));
                    }
                    Some(Act::Call(call)) => {
                        let cancelled = CancellationToken::new();
                        open.insert(call.request.to_string(), cancelled.clone().drop_guard());
                        calls.spawn("hands.call", Arc::clone(&self).answer(call, cancelled, sender.clone()));
                    }
                }
            }
            for answer in say {
                let text = format!("{answer}\n");
                tokio::select! {
                    written = writer.write_all(text.as_bytes()) => if written.is_err() { break 'talk },
                    () = stop.cancelled() => break 'talk,
                }
            }
        }
        drop((open, answers));
        calls.drain(self.grace + END_LIMIT).await;
    }

    async fn answer(self: Arc<Self>, call: Call, cancelled: CancellationToken, answers: mpsc::Sender<(String, Value)>) {
        let answer = match Asked::of(call.arguments) {
            Ok(asked) => {
                let folder = self.hands.folder(&asked);
                let id = self.teller.begin(call.call_id, &asked.command, &folder);
                let came = self.hands.exec(&id, asked, &cancelled).await;
                self.teller.end(&id, &came);
                done(&call.request, &came.text, came.is_error)
            }
            Err(words) => done(&call.request, &words, true),
        };
        // If nobody takes it, the client is gone.
        let _ = answers.send((call.request.to_string(), answer)).await;
    }
}

/// The door of a run, the words with which the server is started, and what it needs in its environment.
async fn door(spec: &RunSpec, own: &Path) -> Result<(Door, Vec<String>, BTreeMap<String, String>), String> {
    let isolation = spec.confinement.as_ref().map(|confinement| &confinement.isolation);
    let level = isolation.map_or(Level::Off, |isolation| isolation.level);
    let program = if level == Level::Strict { Path::new(SELF_INSIDE) } else { own };
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| format!("the path {} is not UTF-8", path.display()));
    if level == Level::Off {
        let control = spec.socket_path.as_deref().ok_or("the run has no folder for its socket")?;
        let path = control.with_extension("exec");
        let listener = socket::open(&path).map_err(|failed| format!("the socket {} cannot be opened: {failed}", path.display()))?;
        let words = vec![text(program)?, "mcp".to_owned(), text(&path)?];
        return Ok((Door::Named(listener, path), words, BTreeMap::new()));
    }
    if !isolation.is_some_and(|isolation| isolation.network) {
        return Err("the tool exec of the gateway cannot be reached from an isolated run without a network; set sandbox.network to \"on\", or exec to \"native\" for this runner".to_owned());
    }
    let listener = loopback(spec).await?;
    let address = listener.local_addr().map_err(|failed| failed.to_string())?;
    let key = new_token().map_err(|failed| failed.to_string())?;
    let digest = TokenDigest::of(&key);
    let words = vec![text(program)?, "mcp".to_owned(), address.to_string()];
    Ok((Door::Port(listener, digest), words, BTreeMap::from([(KEY.to_owned(), key)])))
}

/// Whether the other side is of our user, and the program or something below it.
fn is_of(stream: &UnixStream, program: u32) -> bool {
    let Ok(peer) = stream.peer_cred() else { return false };
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    peer.uid() == rustix::process::geteuid().as_raw() && pid.is_some_and(|pid| is_below(pid, program))
}

fn is_below(pid: u32, program: u32) -> bool {
    let mut at = pid;
    for _ in 0..DEPTH {
        if at == program {
            return true;
        }
        match proc::stat(at) {
            Some(process) if process.ppid > 1 => at = process.ppid,
            _ => return false,
        }
    }
    false
}

/// The first line of a client of the port.
async fn said_key(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut said = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return String::from_utf8(said).map_err(io::Error::other),
            _ if said.len() > 256 => return Err(io::ErrorKind::InvalidData.into()),
            byte => said.push(byte),
        }
    }
}

/// A port of the loopback device, which nobody outside of this machine reaches and the run does.
pub(super) async fn loopback(spec: &RunSpec) -> Result<TcpListener, String> {
    let closed = spec.confinement.as_ref().map(|confinement| confinement.closed_ports.as_slice()).unwrap_or_default();
    let mut passed = Vec::new();
    for _ in 0..TRIES {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|failed| format!("no port of the loopback device can be had: {failed}"))?;
        if listener.local_addr().is_ok_and(|address| !closed.contains(&address.port())) {
            return Ok(listener);
        }
        // Held until another one is found, so that it does not come again.
        passed.push(listener);
    }
    Err("every port that the system offers is closed to isolated runs".to_owned())
}

/// What the commands meet: the run that they are part of.
struct Outside {
    spec: RunSpec,
    out: RunSink,
    stop: Stop,
}

impl Host for Outside {
    fn emit(&self, _: &AgentEvent) -> io::Result<()> {
        // What happens is told by the program, and of its commands by the desk.
        Ok(())
    }

    fn output(&self, tool_call_id: &str) -> Box<dyn Sink + Send> {
        Box::new(self.out.output(tool_call_id))
    }

    fn start(&self, command: Command) -> Starting<'_> {
        Box::pin(start_asked(&self.spec, &self.out, command))
    }

    fn errand(&self, errand: Errand) -> Doing<'_> {
        // The one tool that is offered here needs none.
        Box::pin(async move { Err(format!("the tool {} is not offered to agent programs", errand.tool)) })
    }

    fn stop(&self) -> &CancellationToken {
        self.stop.token()
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hangs_below_the_program_is_of_it() {
        let own = std::process::id();
        let parent = proc::stat(own).unwrap().ppid;
        assert!(is_below(own, own) && is_below(own, parent));
        assert!(!is_below(parent, own) && !is_below(1, own) && !is_below(u32::MAX, own));
    }

    #[tokio::test]
    async fn a_key_is_one_short_line() {
        assert_eq!(said_key(&mut &b"abc\nrest"[..]).await.unwrap(), "abc");
        assert!(said_key(&mut &b"abc"[..]).await.is_err());
        assert!(said_key(&mut &[b'x'; 1000][..]).await.is_err());
    }
}
