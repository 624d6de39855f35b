//! Following one run to its end, through lost connections and restarts of the gateway, without a missing or a doubled line.
//!
//! ```text
//!  start ── `agent` with our key ──accepted──┐
//!  known run ────────────────────────────────┴─> subscribe after the last seq ── events ──> terminal event: the end
//!     ^                                                   │
//!     └────────── connect again (at most 60 s) <── lost ──┘
//! ```
//! The key makes the request safe to repeat, the seq makes the output exact. The end is the run's terminal event, because that is the last of its lines; the final answer, which may overtake output, only stands in when no such event comes.

use std::future::pending;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Answer, Client, Incoming};
use super::error::CliError;
use super::interrupt::Interrupts;
use super::output::Output;
use super::shown::Shown;
use super::target::Target;
use crate::protocol::event::agent::Lifecycle;
use crate::protocol::run::Outcome;

/// How patient a command is with a gateway that is gone.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Wait before the first try; doubled for each further one.
    pub first: Duration,
    /// Longest wait between two tries.
    pub longest: Duration,
    /// After this much time without a connection, give up.
    pub total: Duration,
    /// How long the last lines may come after the final answer.
    pub after_final: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            total: Duration::from_secs(60),
            after_final: Duration::from_secs(10),
        }
    }
}

/// Longest `agent.wait` that is asked for, in ms; the gateway cuts it to its own limit.
const WAIT_MS: u64 = 24 * 60 * 60 * 1000;

/// One run that is being followed.
pub struct Watch<'a, 'o> {
    target: &'a Target,
    patience: Patience,
    out: &'a mut Output<'o>,
    as_json: bool,
    interrupts: &'a mut Interrupts,
    /// Parameters of `agent`, until it is known that the run exists.
    request: Option<Value>,
    run_id: Option<String>,
    last_seq: u64,
    shown: Shown,
    abort_wanted: bool,
    trouble: Option<Trouble>,
}

/// The time since a connection was lost and the gateway has done nothing for us.
#[derive(Clone, Copy)]
struct Trouble {
    pause: Duration,
    give_up: Instant,
}

/// What the connection of the moment is waiting for.
#[derive(Default)]
struct Asked {
    agent: Option<String>,
    subscribe: Option<String>,
    wait: Option<String>,
    /// The final answer, and when to believe it without the terminal event.
    last_word: Option<(Outcome, u64, Instant)>,
}

impl<'a, 'o> Watch<'a, 'o> {
    /// Starts a run with these parameters of `agent`, which must hold an `idempotencyKey`.
    pub fn start(target: &'a Target, request: Value, as_json: bool, out: &'a mut Output<'o>, interrupts: &'a mut Interrupts) -> Self {
        Self::new(target, Some(request), None, 0, as_json, out, interrupts)
    }

    /// Follows a run from behind `after`.
    pub fn known(
        target: &'a Target,
        run_id: String,
        after: u64,
        as_json: bool,
        out: &'a mut Output<'o>,
        interrupts: &'a mut Interrupts,
    ) -> Self {
        Self::new(target, None, Some(run_id), after, as_json, out, interrupts)
    }

    fn new(
        target: &'a Target,
        request: Option<Value>,
        run_id: Option<String>,
        last_seq: u64,
        as_json: bool,
        out: &'a mut Output<'o>,
        interrupts: &'a mut Interrupts,
    ) -> Self {
        Self {
            target,
            patience: Patience::default(),
            out,
            as_json,
            interrupts,
            request,
            run_id,
            last_seq,
            shown: Shown::default(),
            abort_wanted: false,
            trouble: None,
        }
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The run's id, once it is known.
    #[must_use]
    pub fn run_id(&self) -> Option<&str> {
        self.run_id.as_deref()
    }

    /// Follows the run to its end.
    ///
    /// # Errors
    /// The gateway refuses, stays away, or Ctrl-C was pressed twice; the run may go on.
    pub async fn to_end(&mut self) -> Result<Outcome, CliError> {
        let mut client = Client::connect(self.target).await?;
        loop {
            match self.on(&mut client).await {
                Err(CliError::Unreachable(why)) => client = self.again(&why).await?,
                // A gateway that is too busy for a first request says so to the caller; one that is just starting is waited for.
                Err(CliError::Refused(refusal)) if refusal.retryable && (self.run_id.is_some() || self.trouble.is_some()) => {
                    client = self.again(&refusal.message).await?;
                }
                ended => return ended,
            }
        }
    }

    /// Connects again, with growing pauses that end when the gateway does something for us.
    async fn again(&mut self, why: &str) -> Result<Client, CliError> {
        if self.trouble.is_none() {
            self.out.say(&format!("{why}; what was started goes on there, connecting again"));
        }
        let first = Trouble { pause: self.patience.first, give_up: Instant::now() + self.patience.total };
        loop {
            let trouble = *self.trouble.get_or_insert(first);
            tokio::select! {
                () = tokio::time::sleep(trouble.pause) => {}
                () = self.interrupts.next() => self.interrupted()?,
            }
            self.trouble = Some(Trouble { pause: (trouble.pause * 2).min(self.patience.longest), ..trouble });
            match Client::connect(self.target).await {
                Ok(client) if Instant::now() < trouble.give_up => return Ok(client),
                Err(CliError::Refused(refusal)) if !refusal.retryable => return Err(CliError::Refused(refusal)),
                Err(_) if Instant::now() < trouble.give_up => {}
                Ok(_) => return Err(self.given_up(why)),
                Err(error) => return Err(self.given_up(&error.to_string())),
            }
        }
    }

    fn given_up(&self, why: &str) -> CliError {
        let hint = self.run_id.as_deref().map(|run_id| format!("\nSee how it went on: skykoi-gateway runs follow {run_id}"));
        CliError::Unreachable(format!("{why}{}", hint.unwrap_or_default()))
    }

    /// Follows the run on one connection.
    async fn on(&mut self, client: &mut Client) -> Result<Outcome, CliError> {
        let mut asked = Asked::default();
        if self.run_id.is_some() {
            self.subscribe(client, &mut asked).await?;
        } else if let Some(request) = &self.request {
            asked.agent = Some(client.send("agent", request).await?);
        }
        loop {
            let last_call = asked.last_word.as_ref().map(|(_, _, until)| *until);
            let incoming = tokio::select! {
                incoming = client.next() => incoming?,
                () = self.interrupts.next() => {
                    self.interrupted()?;
                    self.abort(client).await?;
                    continue;
                }
                () = at(last_call) => return asked.last_word.map(|(outcome, ..)| outcome).ok_or(CliError::Interrupted),
            };
            match incoming {
                Incoming::Event { name, payload } if name == "agent" => {
                    if let Some(outcome) = self.event(client, &mut asked, &payload).await? {
                        return Ok(outcome);
                    }
                }
                Incoming::Event { .. } => {}
                Incoming::Answer(answer) => self.answer(client, &mut asked, answer).await?,
            }
            if let Some((outcome, head, _)) = &asked.last_word
                && *head <= self.last_seq
            {
                return Ok(outcome.clone());
            }
        }
    }

    async fn subscribe(&mut self, client: &mut Client, asked: &mut Asked) -> Result<(), CliError> {
        let Some(run_id) = self.run_id.clone() else { return Ok(()) };
        asked.subscribe = Some(client.send("runs.subscribe", &json!({"runId": run_id, "after": self.last_seq})).await?);
        if asked.agent.is_none() && asked.wait.is_none() {
            asked.wait = Some(client.send("agent.wait", &json!({"runId": run_id, "timeoutMs": WAIT_MS})).await?);
        }
        if self.abort_wanted { self.abort(client).await } else { Ok(()) }
    }

    /// Prints an event of our run that is next in line. Returns the outcome when it was the last.
    async fn event(&mut self, client: &mut Client, asked: &mut Asked, event: &Value) -> Result<Option<Outcome>, CliError> {
        if event.get("runId").and_then(Value::as_str) != self.run_id.as_deref() || self.run_id.is_none() {
            return Ok(None);
        }
        let seq = event.get("seq").and_then(Value::as_u64).unwrap_or(0);
        if seq <= self.last_seq {
            return Ok(None);
        }
        if seq != self.last_seq + 1 {
            // Something between was not delivered; it is asked for again, and this event will come with it.
            if asked.subscribe.is_none() {
                self.subscribe(client, asked).await?;
            }
            return Ok(None);
        }
        self.last_seq = seq;
        self.trouble = None;
        if self.as_json {
            self.out.line(&event.to_string())?
        } else {
            self.shown.event(event, self.out)?
        }
        if event.get("stream").and_then(Value::as_str) != Some("lifecycle") {
            return Ok(None);
        }
        let data = event.get("data").cloned().unwrap_or_default();
        let step: Lifecycle = match serde_json::from_value(data) {
            Ok(step) => step,
            // A later gateway may know more steps; none of them is an end.
            Err(_) if !matches!(event.pointer("/data/phase").and_then(Value::as_str), Some("end" | "error")) => return Ok(None),
            Err(error) => return Err(CliError::Protocol(error.to_string())),
        };
        Ok(step.into_outcome())
    }

    async fn answer(&mut self, client: &mut Client, asked: &mut Asked, answer: Answer) -> Result<(), CliError> {
        let id = Some(answer.id.as_str());
        if id == asked.agent.as_deref() {
            return self.agent_answer(client, asked, answer).await;
        }
        if id == asked.subscribe.as_deref() {
            asked.subscribe = None;
            answer.into_result()?;
            self.trouble = None;
            return Ok(());
        }
        if id == asked.wait.as_deref() {
            // A credential that may only read cannot wait; the terminal event comes all the same.
            self.last_word(asked, &answer.payload, "outcome");
        }
        Ok(())
    }

    /// `accepted`, then the final; or the final at once, for a request that was made before.
    async fn agent_answer(&mut self, client: &mut Client, asked: &mut Asked, answer: Answer) -> Result<(), CliError> {
        let run_id = answer.payload.get("runId").and_then(Value::as_str).map(str::to_owned);
        let Some(run_id) = run_id else {
            return answer.into_result().and(Err(CliError::Protocol("an answer to `agent` without a runId".to_owned())));
        };
        self.request = None;
        if self.run_id.is_none() {
            self.run_id = Some(run_id);
            self.subscribe(client, asked).await?;
        }
        self.last_word(asked, &answer.payload, "result");
        Ok(())
    }

    /// Keeps the outcome of a final answer, if it is one.
    fn last_word(&self, asked: &mut Asked, payload: &Value, key: &str) {
        let outcome = payload.get(key).cloned().and_then(|outcome| serde_json::from_value::<Outcome>(outcome).ok());
        if let Some(outcome) = outcome {
            // Without a head it is not known how many lines there are, so they get their time.
            let head = payload.get("head").and_then(Value::as_u64).unwrap_or(u64::MAX);
            asked.last_word = Some((outcome, head, Instant::now() + self.patience.after_final));
        }
    }

    fn interrupted(&mut self) -> Result<(), CliError> {
        if self.abort_wanted {
            return Err(CliError::Interrupted);
        }
        self.abort_wanted = true;
        self.out.say("aborting the run; press Ctrl-C again to leave without waiting for its end");
        Ok(())
    }

    async fn abort(&mut self, client: &mut Client) -> Result<(), CliError> {
        // Before the run is known there is nothing to abort; it is done as soon as it is.
        let Some(run_id) = &self.run_id else { return Ok(()) };
        client.send("runs.abort", &json!({"runId": run_id})).await.map(drop)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => pending().await,
    }
}

/// Says how a run ended if that is not what a command that worked would say, and gives the exit code.
pub fn conclude(out: &mut Output<'_>, run_id: Option<&str>, outcome: &Outcome) -> u8 {
    let code = super::output::exit_code(outcome);
    if code != 0 {
        out.say(&format!("{} (run {})", outcome.summary, run_id.unwrap_or("?")));
    }
    if outcome.truncated || outcome.dropped_bytes > 0 {
        out.say(&format!("{} bytes of output were not kept", outcome.dropped_bytes));
    }
    code
}
