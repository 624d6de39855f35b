//! The runner `agent`: the built-in loop of a model and its tools, hosted by a run's shim. Its events become lines of the journal, its commands go through the gate of the daemon, and its end becomes the run's.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ending::{Closing, Ending};
use super::shell::{start_on_terminal, start_wanted};
use crate::agent;
use crate::agent::host::{AgentEvent, Command, Compaction, Doing, End, Errand, Finish, Host, NotStarted, Spent, Starting, Whole};
use crate::agent::spec::{ModelFacts, Price};
use crate::clock::now_ms;
use crate::exec::output::Sink;
use crate::exec::process::Running;
use crate::model::notice::Notice;
use crate::model::{self, ErrorKind, StopReason, Usage};
use crate::protocol::event::agent::{AssistantText, Compacted, Lifecycle, Stream, ThinkingText, Tool, Whole as Line};
use crate::protocol::run::{Outcome, RunErrorCode, RunStatus, Said};
use crate::protocol::usage::{TokenCost, TokenUsage};
use crate::runs::control::{self, AgentTask, Judgement, RunSpec, Wanted};
use crate::runs::inbox::Listener;
use crate::runs::runner::{Job, RunError, Runner, Work};
use crate::runs::sink::RunSink;
use crate::runs::stop::Stop;

mod servers;

/// Longest result of a tool in a `tool` event, bytes; the model and the transcript have it as the loop gave it.
const RESULT: usize = 16 << 10;

/// The runner.
#[derive(Clone, Copy, Debug)]
pub struct Agent;

impl Runner for Agent {
    fn run(&self, job: Job, out: RunSink, stop: Stop) -> Work {
        Box::pin(run(job, out, stop))
    }
}

async fn run(mut job: Job, out: RunSink, stop: Stop) -> Result<Outcome, RunError> {
    let Some(task) = job.spec.agent.take() else {
        return Err(RunError::Unavailable("the daemon did not say what the agent is to do".to_owned()));
    };
    let AgentTask { spec, endpoints, mcp } = *task;
    let makers: Vec<ModelFacts> = std::iter::once(&spec.model).chain(&spec.fallbacks).cloned().collect();
    let priced = makers.iter().any(is_priced);
    // The prompt is a message of the conversation too, but not one of the journal.
    let known = spec.history.len() + usize::from(!spec.prompt.is_empty());
    let host = Arc::new(Hosted {
        makers,
        spec: job.spec.clone(),
        out: out.clone(),
        stop: stop.clone(),
        listener: out.inbox().listen(),
        messages: Mutex::new(known),
    });
    let names = endpoints.iter().map(|endpoint| format!("{}/{}", endpoint.provider, endpoint.model)).collect();
    let model: Arc<dyn model::Model> = Arc::from(model::open_with(endpoints, told_of_tries(out.clone(), names)));
    let mcp = servers::begin(mcp, &job.spec, &spec, &out, &stop).await;
    let finish = agent::run(spec, model, host, mcp).await;
    // The last words are on disk before the end of the run is.
    let _ = out.sync();
    Ok(outcome(&job, &stop, finish, priced))
}

/// Writes down each further try and each fallback. A line that cannot be written is lost; what follows is not.
fn told_of_tries(out: RunSink, names: Vec<String>) -> Arc<dyn Fn(Notice) + Send + Sync> {
    Arc::new(move |notice| {
        let line = match notice {
            Notice::Again { error, attempt, wait_ms } => Lifecycle::Retry { attempt, error: error.message, delay_ms: wait_ms, model: None },
            Notice::Next { error, endpoint } => {
                Lifecycle::Retry { attempt: 1, error: error.message, delay_ms: 0, model: names.get(endpoint).cloned() }
            }
        };
        let _ = out.emit(Stream::Lifecycle, &line);
    })
}

/// The loop's host.
struct Hosted {
    /// The models that may answer, in the order in which they are asked.
    makers: Vec<ModelFacts>,
    spec: RunSpec,
    out: RunSink,
    stop: Stop,
    /// What users say meanwhile.
    listener: Listener,
    /// Messages of the conversation so far.
    messages: Mutex<usize>,
}

impl Host for Hosted {
    fn emit(&self, event: &AgentEvent) -> io::Result<()> {
        let out = &self.out;
        match event {
            AgentEvent::Text { text, delta } => {
                out.emit(Stream::Assistant, &AssistantText { text: text.clone(), delta: delta.clone() }).map(drop)
            }
            AgentEvent::Thinking { delta } => out.emit(Stream::Thinking, &ThinkingText { delta: delta.clone() }).map(drop),
            AgentEvent::ToolStart { id, name, args } => out.emit(Stream::Tool, &Tool::start(name, id, args.clone())).map(drop),
            AgentEvent::ToolUpdate { id, partial, .. } => {
                let update = Tool::Update { tool_call_id: id.clone(), partial_result: json!(shortened(partial)) };
                out.emit(Stream::Tool, &update).map(drop)
            }
            AgentEvent::ToolResult { id, name, is_error, result, exit_code, signal, duration_ms } => {
                let line = Tool::Result {
                    name: name.clone(),
                    tool_call_id: id.clone(),
                    exit_code: *exit_code,
                    signal: signal.clone(),
                    duration_ms: *duration_ms,
                    is_error: *is_error,
                    result: Some(json!(shortened(result))),
                };
                out.emit(Stream::Tool, &line).map(drop)
            }
            AgentEvent::Message(whole) => {
                *self.messages() += 1;
                out.emit(Stream::Message, &self.line(whole)?)?;
                // What a transcript is written from survives a power cut.
                out.sync()
            }
            AgentEvent::Compaction(Compaction::End { summary, replaced, tokens_before, tokens_after }) => {
                let kept = {
                    let mut messages = self.messages();
                    let kept = messages.saturating_sub(*replaced);
                    // The summary is one now.
                    *messages = kept + 1;
                    kept
                };
                let line = Compacted {
                    summary: summary.clone(),
                    kept_messages: kept as u64,
                    tokens_before: *tokens_before,
                    tokens_after: Some(*tokens_after),
                };
                out.emit(Stream::Compaction, &line).map(drop)
            }
            // Only what came of it matters to anybody else.
            AgentEvent::Compaction(Compaction::Start { .. } | Compaction::Failed { .. }) => Ok(()),
        }
    }

    fn output(&self, tool_call_id: &str) -> Box<dyn Sink + Send> {
        Box::new(self.out.output(tool_call_id))
    }

    fn start(&self, command: Command) -> Starting<'_> {
        Box::pin(start_asked(&self.spec, &self.out, command))
    }

    fn errand(&self, errand: Errand) -> Doing<'_> {
        Box::pin(async move {
            let Errand { tool_call_id, tool, args } = errand;
            let errand = control::Errand { tool_call_id, tool: tool.to_owned(), args: args.to_string() };
            let done = self.out.asks().errand(errand).await;
            if done.is_error { Err(done.text) } else { Ok(done.text) }
        })
    }

    fn told(&self) -> Option<(String, String)> {
        self.listener.now()
    }

    fn took(&self, name: &str) {
        self.listener.answer(name, true);
    }

    fn stop(&self) -> &CancellationToken {
        self.stop.token()
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }
}

/// Asks the gate about a command of a run and starts it exactly as it was allowed.
///
/// # Errors
/// Why it did not start.
pub(super) async fn start_asked(spec: &RunSpec, out: &RunSink, command: Command) -> Result<Running, NotStarted> {
    let Command { tool_call_id, command, cwd, env, stdin, pty } = command;
    let wanted = Wanted { tool_call_id, command: command.clone(), cwd: cwd.clone(), env, native: false };
    match out.asks().ask(wanted).await {
        Judgement::Refused { denied, message } => Err(NotStarted { denied, message }),
        Judgement::Start { plan, env } => {
            let started = if pty {
                start_on_terminal(spec, plan.as_deref(), &command, &cwd, &env)
            } else {
                start_wanted(spec, plan.as_deref(), &command, &cwd, &env, stdin)
            };
            started.map_err(|failed| match failed {
                RunError::Denied(denied) => NotStarted { message: denied.reason.clone(), denied: Some(denied) },
                RunError::Unavailable(message) | RunError::Resource(message) => NotStarted { denied: None, message },
            })
        }
    }
}

impl Hosted {
    fn messages(&self) -> std::sync::MutexGuard<'_, usize> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, whole: &Whole) -> io::Result<Line> {
        let message = serde_json::to_value(&whole.message)?;
        if whole.message.role == model::Role::User {
            return Ok(Line { message, told: whole.told.clone(), ..Line::default() });
        }
        let maker = self.makers.get(whole.by).or(self.makers.first());
        let stop_reason = match (&whole.stop, &whole.broken) {
            (_, Some(why)) if why == "aborted" => "aborted".to_owned(),
            (_, Some(_)) => "error".to_owned(),
            (Some(StopReason::ToolUse), None) => "toolUse".to_owned(),
            (Some(StopReason::MaxTokens), None) => "length".to_owned(),
            (Some(StopReason::Refusal), None) => "refusal".to_owned(),
            (Some(StopReason::Other(word)), None) => word.clone(),
            (Some(StopReason::End) | None, None) => "stop".to_owned(),
        };
        Ok(Line {
            message,
            provider: maker.map(|maker| maker.provider.clone()),
            model: maker.map(|maker| maker.model.clone()),
            api: maker.map(|maker| maker.api.clone()),
            usage: Some(used(whole.usage, whole.spent, maker.is_some_and(is_priced))),
            stop_reason: Some(stop_reason),
            error: whole.broken.clone().filter(|why| why != "aborted"),
            told: None,
        })
    }
}

fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(RESULT)).unwrap_or(text)
}

/// Whether it is known what it costs.
fn is_priced(model: &ModelFacts) -> bool {
    model.cost != Price::default()
}

/// Tokens with what they cost, as far as there is a price.
fn used(usage: Usage, spent: Spent, priced: bool) -> TokenUsage {
    let Spent { input, output, cache_read, cache_write } = spent;
    let cost = priced.then(|| TokenCost { input, output, cache_read, cache_write, total: spent.total() });
    TokenUsage { input: usage.input, output: usage.output, cache_read: usage.cache_read, cache_write: usage.cache_write, cost }
}

fn outcome(job: &Job, stop: &Stop, finish: Finish, priced: bool) -> Outcome {
    let closing = Closing::now(job);
    let fault = finish.end.code().map(str::to_owned);
    let ending = match &finish.end {
        End::Stopped => closing.stopped(stop).unwrap_or_else(|| closing.aborted()),
        End::Done => Ending::new(RunStatus::Ok, None, format!("completed in {}", closing.took)),
        End::MaxTokens | End::Refused | End::Budget(_) | End::Model(ErrorKind::Refusal) => {
            Ending::new(RunStatus::Error, None, finish.summary)
        }
        End::Model(_) | End::Failed => Ending::new(RunStatus::Error, Some(RunErrorCode::Unavailable), finish.summary),
    };
    Outcome {
        fault,
        usage: (finish.turns > 0).then(|| used(finish.usage, finish.spent, priced)),
        payloads: Said::of(&finish.text),
        ..closing.outcome(ending, finish.printed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::host::Budget;
    use crate::exec::output::Counts;
    use crate::runs::control::tests::sample_spec;
    use crate::runs::stop::Cause;

    fn ended(end: End, cause: Option<Cause>) -> Outcome {
        let stop = Stop::new();
        if let Some(cause) = cause {
            stop.call(cause);
        }
        let job = Job { spec: sample_spec(), started_at: 1, started: tokio::time::Instant::now() };
        let usage = Usage { input: 1_000_000, output: 10, ..Usage::default() };
        let finish = Finish {
            end,
            summary: "why".into(),
            text: String::new(),
            usage,
            spent: Spent { input: 3.0, ..Spent::default() },
            turns: 1,
            printed: Counts::default(),
        };
        outcome(&job, &stop, finish, true)
    }

    #[test]
    fn each_end_of_a_turn_is_an_end_of_its_run() {
        let of = |end, cause| {
            let outcome = ended(end, cause);
            (outcome.status, outcome.served(), outcome.fault)
        };
        let fault = |word: &str| Some(word.to_owned());
        assert_eq!(of(End::Done, None), (RunStatus::Ok, true, None));
        assert_eq!(of(End::Stopped, Some(Cause::Abort("rpc".into()))), (RunStatus::Aborted, true, None));
        assert_eq!(of(End::Stopped, Some(Cause::Timeout)), (RunStatus::Timeout, false, None));
        assert_eq!(of(End::Budget(Budget::Turns), None), (RunStatus::Error, true, fault("BUDGET_TURNS")));
        assert_eq!(of(End::Model(ErrorKind::Auth), None), (RunStatus::Error, false, fault("MODEL_AUTH")));
        // A run that is done before it is told to stop is done.
        assert_eq!(of(End::Done, Some(Cause::Timeout)).0, RunStatus::Ok);
        let usage = ended(End::Done, None).usage.unwrap();
        assert_eq!((usage.total(), usage.cost.unwrap().total), (1_000_010, 3.0));
    }
}
