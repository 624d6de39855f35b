//! Carries a turn: between the program, who is asked, and who wants it to stop. The only part that waits.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::approver::{Approver, Open};
use super::event::{Cause, End, Event};
use super::lines::Line;
use super::peer::{Peer, at};
use super::talk::{Steer, Talk, Turn};
use crate::model::{Block, Message, Role};

/// How much of stderr stands in an error, in characters.
const TAIL_SHOWN: usize = 600;

/// Something that the user says while the program works.
#[derive(Debug)]
pub struct Aside {
    /// Its name, under which it is told as a message of the conversation.
    pub name: String,
    /// The words.
    pub text: String,
    /// Told whether the program has them.
    pub taken: oneshot::Sender<bool>,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Nothing is said, no call is open and nobody is asked.
    pub silence: Duration,
    /// From asking the program to stop until it is ended.
    pub cancel: Duration,
    /// Between TERM and KILL.
    pub grace: Duration,
}

/// Carries the turn to its end and ends the program. Each event is told as it comes, the last one is [`Event::End`], which is also returned.
/// `told` are messages of the user for the program while it works; each that it has is told as a message of the conversation. What the program leaves behind is swept by who started it.
pub async fn drive(
    peer: &mut Peer,
    talk: &mut dyn Talk,
    approver: &dyn Approver,
    patience: Patience,
    stop: &CancellationToken,
    told: &mut mpsc::Receiver<Aside>,
    tell: &mut (dyn FnMut(Event) + Send),
) -> End {
    let mut turn = Turn::default();
    talk.open(&mut turn);
    let mut open = Open::default();
    let mut heard_at = Instant::now();
    let (mut wait_at, mut end_at): (Option<Instant>, Option<Instant>) = (None, None);
    let (mut listens, mut number, mut asides) = (true, 0, Vec::new());
    let at_rest = loop {
        turn.say.drain(..).for_each(|line| peer.say(&line));
        for (number, taken) in turn.told.drain(..) {
            let place = asides.iter().position(|(other, _)| *other == number);
            place.into_iter().for_each(|place| conclude(asides.swap_remove(place).1, taken, tell));
        }
        for (ask, question) in turn.ask.drain(..) {
            open.push(ask, approver.ask(question));
        }
        wait_at = turn.wait.take().map(|wait| Instant::now() + wait).or(wait_at);
        turn.tale.take().into_iter().for_each(&mut *tell);
        if turn.tale.end().is_some() {
            break true;
        }
        // A command may work for hours without a word, and a person may think about it.
        let quiet = !turn.tale.has_open_calls() && open.is_empty() && end_at.is_none();
        let silent_at = quiet.then(|| heard_at + patience.silence);
        tokio::select! {
            line = peer.next() => match line {
                Some(line) => {
                    heard_at = Instant::now();
                    take(line, talk, &mut turn);
                }
                None => {
                    let end = exited(peer, talk, patience, end_at.is_some()).await;
                    turn.tale.finish(end);
                }
            },
            (ask, decision) = open.next(), if !open.is_empty() => {
                heard_at = Instant::now();
                talk.decided(ask, decision, &mut turn);
            }
            () = stop.cancelled(), if end_at.is_none() => {
                end_at = Some(Instant::now() + patience.cancel);
                open.clear();
                talk.cancel(&mut turn);
            }
            message = told.recv(), if listens => match message {
                Some(aside) => {
                    number += 1;
                    let said = if end_at.is_none() { talk.steer(number, &aside.text, &mut turn) } else { Steer::Not };
                    match said {
                        Steer::Later => asides.push((number, aside)),
                        Steer::Taken | Steer::Not => conclude(aside, said == Steer::Taken, tell),
                    }
                }
                None => listens = false,
            },
            () = at(wait_at) => {
                wait_at = None;
                talk.waited(&mut turn);
            }
            () = at(silent_at) => {
                let why = format!("the program said nothing for {} s{}", patience.silence.as_secs(), said(&peer.stderr()));
                turn.tale.finish(End::failed(why, Some(Cause::Silent)));
                break false;
            }
            () = at(end_at) => {
                turn.tale.finish(End::cancelled());
                break false;
            }
        }
    };
    turn.tale.take().into_iter().for_each(&mut *tell);
    // What it says from now on belongs to no turn. Whether it ends well says nothing about the turn.
    if let Err(cause) = peer.end(at_rest, patience.grace).await {
        debug!(%cause, "a program could not be ended");
    }
    turn.tale.end().cloned().unwrap_or_else(End::cancelled)
}

/// What the program has been told is part of the conversation. Who does not wait for the answer any more hears of the end.
fn conclude(aside: Aside, taken: bool, tell: &mut (dyn FnMut(Event) + Send)) {
    if taken {
        let message = Message { role: Role::User, content: vec![Block::Text { text: aside.text }] };
        tell(Event::Message { message, usage: None, stop: None, model: None, told: Some(aside.name) });
    }
    let _ = aside.taken.send(taken);
}

fn take(line: Line, talk: &mut dyn Talk, turn: &mut Turn) {
    match line {
        Line::Message(message) => talk.heard(message, turn),
        Line::Garbage(bytes) => debug!(bytes, "a program said a line that is no JSON object"),
        Line::TooLong(bytes) => turn.tale.warn(format!("a line of {bytes} bytes was dropped, it is longer than a line may be"), false),
    }
}

/// The program closed its stdout in the middle of the turn.
async fn exited(peer: &mut Peer, talk: &mut dyn Talk, patience: Patience, cancelled: bool) -> End {
    let status = peer.end(true, patience.grace).await;
    if cancelled {
        return End::cancelled();
    }
    let stderr = peer.stderr();
    let how = status.map_or_else(|failed| failed.to_string(), |status| status.to_string());
    let cause = talk.exited(&stderr).unwrap_or(Cause::Exited);
    End::failed(format!("the program ended in the middle of its turn ({how}){}", said(&stderr)), Some(cause))
}

/// The end of what was said on stderr, as the end of a sentence.
fn said(stderr: &str) -> String {
    let skip = stderr.chars().count().saturating_sub(TAIL_SHOWN);
    let tail: String = stderr.chars().skip(skip).collect();
    if tail.is_empty() { String::new() } else { format!(": {tail}") }
}
