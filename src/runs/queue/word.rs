//! What the queue is told, and what it says to that.

use super::rules::Rules;

/// A run that wants its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The run.
    pub run: String,
    /// Its session.
    pub session: String,
    /// Its place in the order of arrival, as [given](Queue::admit); none = it is a run of an earlier daemon and comes last.
    pub place: Option<i64>,
    /// How it waits; none = in line, untouched by others.
    pub rules: Option<Rules>,
    /// Only messages with the same one are answered together: the agent and its runner.
    pub with: String,
    /// Size of its stored request; what is answered together is bounded by the sum.
    pub bytes: usize,
    /// It carries others already, so it is neither merged nor dropped for others.
    pub sealed: bool,
    /// Whether its runner can be told something while it works.
    pub takes_input: bool,
    /// Whether another run has started it or waits for it.
    pub nested: bool,
    /// The memory that it takes beside its commands, MB; 0 = so little that nobody has to wait for it.
    pub weight: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A run wants its turn.
    Submit(Item),
    /// A place that was [given](Queue::admit) will not be used.
    Left {
        /// The session.
        session: String,
        /// The place.
        place: i64,
    },
    /// A run is at work already, found after a restart; it takes its place even beyond `max`.
    Adopt {
        /// The run.
        run: String,
        /// Its session.
        session: String,
        /// Whether its runner can be told something while it works.
        takes_input: bool,
        /// Whether another run has started it or waits for it.
        nested: bool,
        /// The memory that it takes, as in [`Item`].
        weight: u64,
    },
    /// A run that was taken for one at work never began: it waits again, and before all others.
    PutBack(Item),
    /// The run that was to be told a message cannot be.
    Declined(String),
    /// A run has ended.
    Ended(String),
    /// Somebody wants the end of a run; one at work is the supervisor's affair.
    Remove(String),
    /// Somebody wants the end of all runs of a session.
    Clear(String),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A turn begins.
    Start(Turn),
    /// A run at work is to be aborted, to make room.
    Abort(String),
    /// A run ends without a turn.
    Drop(String, Why),
    /// The run at work is to be told this message; answer with `Declined` if it cannot be.
    Steer {
        /// The message's run.
        run: String,
        /// The run at work.
        into: String,
    },
}

/// One turn of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The run that works.
    pub run: String,
    /// Runs whose messages it answers too, oldest first.
    pub merged: Vec<String>,
    /// Runs of which it is told only the first line, oldest first.
    pub summarized: Vec<String>,
}

/// Why a run ends without a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody asked for it.
    Asked,
    /// A later message interrupted everything before it.
    Interrupted,
    /// More waited than may.
    Overflow,
}

/// Why a run is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many may wait.
    pub cap: usize,
}
