//! The model that follows a script, and the host that takes everything down.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::agent::host::{AgentEvent, Command, Doing, Errand, Finish, Host, NotStarted, Starting};
use crate::agent::mcp::Mcp;
use crate::agent::spec::{AgentSpec, Bootstrap, Budgets, CompactionRules, ExecRules, FileRules, ModelFacts, Price, Task, ToolRules};
use crate::exec::isolate::Wrapped;
use crate::exec::output::Sink;
use crate::exec::process::{OOM_SCORE_ADJ, Script, spawn_fed, spawn_on_terminal};
use crate::model::{Block, ErrorKind, Event, Events, Message, Model, ModelError, Request, Role, StopReason, Thinking, Usage};
use crate::protocol::event::agent::Source;

/// A turn that says `go`, with small limits.
pub(in crate::agent) fn spec(workspace: &Path) -> AgentSpec {
    AgentSpec {
        task: Task::Answer,
        history: Vec::new(),
        history_times: Vec::new(),
        prompt: vec![Block::Text { text: "go".into() }],
        workspace: workspace.to_path_buf(),
        main_session: false,
        extra_system_prompt: None,
        name: None,
        shell: "/bin/sh".into(),
        timezone: Some("UTC".into()),
        thinking: Thinking::Off,
        model: ModelFacts {
            provider: "fake".into(),
            model: "m".into(),
            api: "fake".into(),
            context_window: 200_000,
            max_tokens: 8192,
            images: true,
            cost: Price { input: 1.0, output: 2.0, ..Price::default() },
        },
        fallbacks: Vec::new(),
        bootstrap: Bootstrap::default(),
        tools: ToolRules { apply_patch: true, ..ToolRules::default() },
        files: FileRules::default(),
        // What ends by itself is waited for, also on a machine that is slow.
        exec: ExecRules { background_ms: 60_000, grace_ms: 200, ..ExecRules::default() },
        fetch: None,
        sessions: false,
        budgets: Budgets::default(),
        compaction: CompactionRules::default(),
        pruning: None,
    }
}

pub type Answer = Vec<Result<Event, ModelError>>;

/// Says text and is done.
pub fn says(text: &str) -> Answer {
    vec![Ok(Event::Text(text.into())), Ok(Event::BlockEnd), Ok(Event::Usage(usage(10, 5))), Ok(Event::Stop(StopReason::End))]
}

/// Uses tools: id, name, text of the arguments.
pub fn calls(uses: &[(&str, &str, &str)]) -> Answer {
    let mut answer = Vec::new();
    for (id, name, args) in uses {
        answer.push(Ok(Event::ToolStart { id: (*id).into(), name: (*name).into() }));
        let half = args.floor_char_boundary(args.len() / 2);
        answer.extend([&args[..half], &args[half..]].map(|part| Ok(Event::ToolArgs(part.to_owned()))));
        answer.push(Ok(Event::BlockEnd));
    }
    answer.extend([Ok(Event::Usage(usage(10, 5))), Ok(Event::Stop(StopReason::ToolUse))]);
    answer
}

pub fn fails(kind: ErrorKind) -> Answer {
    vec![Err(ModelError { kind, message: format!("the provider says {kind:?}"), retry_after_ms: None })]
}

pub fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

/// Follows a script; after its end it says `done`.
pub struct Scripted {
    answers: Mutex<VecDeque<Answer>>,
    pub requests: Mutex<Vec<Request>>,
    host: Arc<Noted>,
}

impl Model for Scripted {
    fn ask(&self, request: &Request) -> Events {
        self.requests.lock().unwrap().push(request.clone());
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or_else(|| says("done"));
        let host = Arc::clone(&self.host);
        Box::pin(tokio_stream::StreamExt::map(tokio_stream::iter(answer), move |event| {
            host.step();
            event
        }))
    }
}

/// Takes everything down; may be told to stop, or to refuse, at some step.
#[derive(Default)]
pub struct Noted {
    pub events: Mutex<Vec<AgentEvent>>,
    pub output: Arc<Mutex<Vec<(String, String)>>>,
    pub stop: CancellationToken,
    pub steps: AtomicUsize,
    pub stop_at: Option<usize>,
    pub refuse_at: Option<usize>,
    pub deny: Option<String>,
    /// What the user says once the model has said so many messages: name and text.
    pub asides: Mutex<Vec<(usize, (String, String))>>,
    pub taken: Mutex<Vec<String>>,
}

impl Noted {
    fn step(&self) -> usize {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        if self.stop_at == Some(step) {
            self.stop.cancel();
        }
        step
    }

    /// What belongs into the transcript.
    pub fn messages(&self) -> Vec<Message> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                AgentEvent::Message(whole) => Some(whole.message.clone()),
                _ => None,
            })
            .collect()
    }

    /// Results of tools: id, whether it failed, text.
    pub fn results(&self) -> Vec<(String, bool, String)> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                AgentEvent::ToolResult { id, is_error, result, .. } => Some((id.clone(), *is_error, result.clone())),
                _ => None,
            })
            .collect()
    }

    /// Begins and ends of tools in their order, such as `+a`, `-a`.
    pub fn order(&self) -> String {
        let events = self.events.lock().unwrap();
        let marks = events.iter().filter_map(|event| match event {
            AgentEvent::ToolStart { id, .. } => Some(format!("+{id}")),
            AgentEvent::ToolResult { id, .. } => Some(format!("-{id}")),
            _ => None,
        });
        marks.collect::<Vec<_>>().join(" ")
    }
}

struct Lines(Arc<Mutex<Vec<(String, String)>>>, String);

impl Sink for Lines {
    fn chunk(&mut self, _: Source, text: &str, _: Option<u64>) -> bool {
        self.0.lock().unwrap().push((self.1.clone(), text.to_owned()));
        true
    }
}

impl Host for Noted {
    fn emit(&self, event: &AgentEvent) -> io::Result<()> {
        let step = self.step();
        if self.refuse_at.is_some_and(|at| step >= at) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.events.lock().unwrap().push(event.clone());
        Ok(())
    }

    fn output(&self, tool_call_id: &str) -> Box<dyn Sink + Send> {
        Box::new(Lines(Arc::clone(&self.output), tool_call_id.to_owned()))
    }

    fn start(&self, command: Command) -> Starting<'_> {
        Box::pin(async move {
            self.step();
            tokio::task::yield_now().await;
            let refused = |message: String| NotStarted { denied: None, message };
            if let Some(why) = &self.deny {
                return Err(refused(why.clone()));
            }
            let mut env = command.env;
            env.insert("PATH".into(), "/usr/bin:/bin".into());
            let begun = command.command.contains("touch begun").then(|| command.cwd.join("begun"));
            let (shell, wrapped) = ("/bin/sh".to_owned(), Wrapped::default());
            let script = Script { shell, text: command.command, cwd: command.cwd, env, wrapped, oom_score_adj: OOM_SCORE_ADJ };
            let running = if command.pty {
                // There is no program of ours to be `confine`: a script of this name in the folder is.
                spawn_on_terminal(&script, Path::new("/bin/sh"))
            } else {
                spawn_fed(&script, command.stdin)
            };
            let running = running.map_err(|failed| refused(failed.to_string()))?;
            // Its time begins when it says so: however slowly it starts, what it printed before is there.
            if let Some(begun) = begun {
                until("the command has begun", || begun.exists()).await;
            }
            Ok(running)
        })
    }

    fn errand(&self, errand: Errand) -> Doing<'_> {
        Box::pin(async move {
            self.step();
            tokio::task::yield_now().await;
            if self.deny.is_some() {
                Err(format!("no {}", errand.tool))
            } else {
                Ok(format!("{} {} {}", errand.tool_call_id, errand.tool, errand.args))
            }
        })
    }

    fn told(&self) -> Option<(String, String)> {
        let said = self.messages().iter().filter(|message| message.role == Role::Assistant).count();
        let mut asides = self.asides.lock().unwrap();
        let due = asides.first().is_some_and(|(at, _)| *at <= said);
        due.then(|| asides.remove(0).1)
    }

    fn took(&self, name: &str) {
        self.taken.lock().unwrap().push(name.to_owned());
    }

    fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    fn now_ms(&self) -> u64 {
        1_795_262_400_000
    }
}

/// Runs a turn to its end.
pub async fn play(spec: AgentSpec, host: impl Into<Arc<Noted>>, script: Vec<Answer>) -> (Finish, Arc<Noted>, Vec<Request>) {
    let host = host.into();
    let model = Arc::new(Scripted { answers: Mutex::new(script.into()), requests: Mutex::default(), host: Arc::clone(&host) });
    let finish = crate::agent::run(spec, Arc::clone(&model) as Arc<dyn Model>, Arc::clone(&host) as Arc<dyn Host>, Mcp::default()).await;
    let requests = std::mem::take(&mut *model.requests.lock().unwrap());
    (finish, host, requests)
}

/// Looks again and again until it holds; processes and their output give no other sign here.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let looks = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looks).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// The arguments of a call as text.
pub fn args(value: &Value) -> String {
    value.to_string()
}
