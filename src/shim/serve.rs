//! The control connections of a shim: the daemon that started it on the stream it came with, later daemons on the named socket.
//!
//! Each connection is told the newest length of the journal, never a backlog of old ones; a daemon that does not read keeps only its own connection waiting.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::note;
use crate::runs::asks::Asks;
use crate::runs::control::{FromShim, ToShim, receive, send};
use crate::runs::sink::RunSink;
use crate::runs::socket;
use crate::runs::stop::{Cause, Stop};
use crate::tasks::Tasks;

/// Most tasks of a shim at a time; a connection takes two, and there is one daemon and perhaps its successor.
const MAX_TASKS: usize = 20;
/// Answers that wait to be sent on one connection.
const REPLIES: usize = 16;
/// Pause after a connection that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The named socket; its file goes away with this.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        socket::remove(&self.0);
    }
}

/// Serves the first connection and, if there is a path, the named socket. Without the socket the run still works; a later daemon then follows the file alone.
pub fn start(tasks: &Tasks, out: &RunSink, stop: &Stop, first: UnixStream, path: Option<&Path>) -> Option<Socket> {
    spawn_connection(tasks, out, stop, first);
    let path = path?.to_owned();
    let socket = Socket(path.clone());
    let (spawner, out, stop, token) = (tasks.clone(), out.clone(), stop.clone(), tasks.stop_token());
    tasks.spawn("listen", async move {
        // The command comes first: nobody looks for the socket before a daemon has been started anew.
        tokio::task::yield_now().await;
        let listener = match socket::open(&path) {
            Ok(listener) => listener,
            Err(failed) => return note(&format!("failed to open the control socket {}: {failed}", path.display())),
        };
        tokio::select! {
            () = accept(&spawner, &out, &stop, listener) => {}
            () = token.cancelled() => {}
        }
    });
    Some(socket)
}

async fn accept(tasks: &Tasks, out: &RunSink, stop: &Stop, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if tasks.len() < MAX_TASKS => spawn_connection(tasks, out, stop, stream),
            // Too many, or no descriptors left; the next one may find room.
            _ => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn spawn_connection(tasks: &Tasks, out: &RunSink, stop: &Stop, stream: UnixStream) {
    let (reader, writer) = stream.into_split();
    let lengths = out.lengths();
    let ended = CancellationToken::new();
    let (reply, replies) = mpsc::channel(REPLIES);
    let told = tell(writer, lengths, out.asks().clone(), replies, tasks.stop_token(), ended.clone());
    tasks.spawn("tell", told);
    let (stop, out, token) = (stop.clone(), out.clone(), tasks.stop_token());
    tasks.spawn("listen", async move {
        tokio::select! {
            () = hear(reader, &stop, &out, &reply) => {}
            () = token.cancelled() => {}
        }
        ended.cancel();
    });
}

/// Sends the newest length whenever it changes, the last one after `stopping` too, and every open question once.
async fn tell(
    mut writer: impl AsyncWrite + Unpin,
    mut lengths: watch::Receiver<u64>,
    asks: Asks,
    mut replies: mpsc::Receiver<FromShim>,
    stopping: CancellationToken,
    gone: CancellationToken,
) {
    lengths.mark_changed();
    let (mut questions, mut known) = (asks.changes(), Vec::new());
    questions.mark_changed();
    loop {
        let last = tokio::select! {
            biased;
            changed = lengths.changed() => changed.is_err(),
            _ = questions.changed() => {
                for question in asks.news(&mut known) {
                    if send(&mut writer, &question).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            Some(reply) = replies.recv() => {
                if send(&mut writer, &reply).await.is_err() {
                    return;
                }
                continue;
            }
            () = stopping.cancelled() => true,
            () = gone.cancelled() => true,
        };
        let bytes = *lengths.borrow_and_update();
        if !last && send(&mut writer, &FromShim::Len { bytes }).await.is_err() {
            return;
        }
        if last {
            return;
        }
    }
}

/// Acts on what a daemon says, until it is gone. That it is gone changes nothing for the run.
async fn hear(mut reader: impl AsyncRead + Unpin, stop: &Stop, out: &RunSink, reply: &mpsc::Sender<FromShim>) {
    loop {
        match receive::<ToShim>(&mut reader).await {
            Ok(Some(ToShim::Abort { reason })) => stop.call(Cause::Abort(reason)),
            Ok(Some(ToShim::Answer { ask, judgement })) => out.asks().answer(ask, *judgement),
            Ok(Some(ToShim::Done { ask, done })) => out.asks().done(ask, done),
            Ok(Some(ToShim::Tell { tell, text })) => out.inbox().tell(tell, text, reply.clone()),
            Ok(Some(ToShim::Hello { .. } | ToShim::Unknown)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}
