//! What a run of the built-in agent is told, made from the configuration when its turn comes: its models with their keys, its tools, its bounds, and the conversation so far.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tracing::warn;

use super::endpoints::{endpoint, unaliased};
use super::{programs, shortening};
use crate::agent::mcp::{Server, Way};
use crate::agent::spec::{AgentSpec, Bootstrap, Budgets, ExecRules, FetchRules, FileRules, ModelFacts, Price, Task, ToolLayer, ToolRules};
use crate::config::Config;
use crate::config::agent_parts::Thinking as ConfiguredThinking;
use crate::config::agents::Agent;
use crate::config::load::Loaded;
use crate::config::resolve::AgentSettings;
use crate::config::tools::ToolPolicy;
use crate::model::endpoint::Endpoint;
use crate::model::{Block, Message, Thinking};
use crate::programs::spec::{Approvals, Kind, Picture};
use crate::protocol::isolation::{Access, Level};
use crate::runs::brief::{Briefing, ProgramTask, Recalled};
use crate::runs::control::AgentTask;
use crate::runs::spec::{Attached, Work};
use crate::sessions::key::is_subagent;
use crate::store::record::RunRecord;

/// Largest picture that a model is shown, bytes; providers take about five megabytes of base64.
const MAX_IMAGE: u64 = 3_750_000;
/// Pictures that every model with eyes sees. A request with another kind is refused as a whole, so those stand as files.
const SEEN: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// The configuration of one moment.
#[derive(Debug)]
pub struct Minds {
    loaded: Arc<Loaded>,
}

impl Minds {
    /// What this configuration says.
    #[must_use]
    pub fn new(loaded: Arc<Loaded>) -> Self {
        Self { loaded }
    }
}

/// A variable of the gateway's environment.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Briefing for Minds {
    fn brief(&self, run: &RunRecord, work: &Work, recalled: Recalled) -> Result<AgentTask, String> {
        let config = &self.loaded.config;
        let id = run.agent_id.as_str();
        let agent = config.agent(Some(id)).ok_or_else(|| format!("there is no agent \"{id}\" any more"))?;
        let endpoints = endpoints(config, &agent, &recalled)?;
        let Some((first, others)) = endpoints.split_first() else { return Err(no_model(id)) };
        let mut spec = self.spec(&agent, run, work, recalled, first)?;
        spec.fallbacks = others.iter().map(|other| facts(other, config.agents.defaults.context_tokens)).collect();
        let mcp = if work.compact.is_some() { Vec::new() } else { servers(config, work) };
        Ok(AgentTask { spec, endpoints, mcp })
    }

    fn brief_program(
        &self,
        kind: Kind,
        run: &RunRecord,
        work: &Work,
        recalled: Recalled,
        approvals: Approvals,
    ) -> Result<ProgramTask, String> {
        programs::task(&self.loaded, kind, run, work, recalled, approvals)
    }
}

fn no_model(agent: &str) -> String {
    format!(
        "agent \"{agent}\" has no model; set agents.defaults.model or the agent's own, such as \"anthropic/claude-sonnet-4-5\", or runner: \"shell\" if its messages are scripts"
    )
}

/// The models that may answer: the session's own or the agent's, then the agent's fallbacks. A fallback that cannot be had is left out.
fn endpoints(config: &Config, agent: &AgentSettings, recalled: &Recalled) -> Result<Vec<Endpoint>, String> {
    let model = agent.model.clone().unwrap_or_default();
    let default = model.primary.map(|name| unaliased(config, &name));
    let chosen = recalled.model.as_ref().map(|(provider, name)| {
        let of_default = || default.as_ref().and_then(|full| full.split_once('/')).map(|(provider, _)| provider.to_owned());
        provider.clone().or_else(of_default).map_or_else(|| name.clone(), |provider| format!("{provider}/{name}"))
    });
    let primary = chosen.or(default).ok_or_else(|| no_model(&agent.id))?;
    let mut found = vec![endpoint(config, &primary, &variable)?];
    for name in &model.fallbacks {
        match endpoint(config, name, &variable) {
            Ok(other) if found.iter().any(|known| (&known.provider, &known.model) == (&other.provider, &other.model)) => {}
            Ok(other) => found.push(other),
            Err(why) => warn!(agent = agent.id, model = name, %why, "a fallback cannot be used"),
        }
    }
    Ok(found)
}

impl Minds {
    fn spec(&self, agent: &AgentSettings, run: &RunRecord, work: &Work, recalled: Recalled, first: &Endpoint) -> Result<AgentSpec, String> {
        let config = &self.loaded.config;
        let defaults = &config.agents.defaults;
        let Recalled { history, files, thinking, is_main, notes, .. } = recalled;
        let is_sub = is_subagent(&run.session_key);
        let task = work
            .compact
            .as_ref()
            .map_or(Task::Answer, |text| Task::Compact { instructions: Some(text.trim().to_owned()).filter(|text| !text.is_empty()) });
        let prompt = if work.compact.is_some() { Vec::new() } else { prompt(work, &notes, first.images) };
        let shut_in = work.isolation.level != Level::Off;
        Ok(AgentSpec {
            task,
            history_times: history.iter().map(|known| known.at).collect(),
            history: history.into_iter().map(|known| for_model(known.message, known.by.as_deref(), first)).collect(),
            prompt,
            workspace: work.cwd.clone(),
            main_session: is_main,
            extra_system_prompt: work.extra_system_prompt.clone(),
            name: Some(agent.name.clone()).filter(|name| *name != agent.id),
            shell: work.shell.to_string_lossy().into_owned(),
            timezone: defaults.user_timezone.clone(),
            thinking: thinking_of(work, thinking.as_deref(), defaults.thinking_default),
            model: facts(first, defaults.context_tokens),
            fallbacks: Vec::new(),
            bootstrap: Bootstrap { skip: defaults.skip_bootstrap == Some(true), max_chars: defaults.bootstrap_max_chars },
            tools: tools(config, agent, first, is_sub),
            files: FileRules {
                workspace_only: shut_in,
                read_only: shut_in && work.isolation.workspace != Access::ReadWrite,
                protected: self.loaded.protected(),
                attachments: work.attachments.iter().map(|file| file.path.clone()).chain(files).collect(),
            },
            exec: exec(config, agent),
            fetch: fetch(config).filter(|_| !shut_in || work.isolation.network),
            sessions: !is_sub && work.cwd == agent.workspace,
            budgets: budgets(config, agent),
            compaction: shortening::compaction(config),
            pruning: shortening::pruning(config),
        })
    }
}

/// `window` is the size that the configuration lets a conversation have, tokens.
fn facts(endpoint: &Endpoint, window: Option<u64>) -> ModelFacts {
    let cost = endpoint.cost;
    let context_window = window.map_or(endpoint.context_window, |window| window.min(endpoint.context_window));
    ModelFacts {
        provider: endpoint.provider.clone(),
        model: endpoint.model.clone(),
        api: endpoint.api.name().to_owned(),
        context_window,
        max_tokens: endpoint.max_tokens.min(context_window),
        images: endpoint.images,
        cost: Price { input: cost.input, output: cost.output, cache_read: cost.cache_read, cache_write: cost.cache_write },
    }
}

/// A message of the conversation as this model may be shown it: the sealed thoughts of another one mean nothing to it.
fn for_model(mut message: Message, by: Option<&str>, endpoint: &Endpoint) -> Message {
    if by.is_some_and(|by| by != format!("{}/{}", endpoint.provider, endpoint.model)) {
        message.content.retain(|block| !matches!(block, Block::Thinking { .. } | Block::Redacted { .. }));
    }
    message
}

fn thinking_of(work: &Work, session: Option<&str>, default: Option<ConfiguredThinking>) -> Thinking {
    let known = |word: &&str| crate::sessions::levels::thinking(word).is_some();
    let word = thinking_word(work.thinking.as_deref().filter(known).or(session), default);
    match word.as_deref().unwrap_or_default() {
        "minimal" => Thinking::Minimal,
        "low" => Thinking::Low,
        "medium" => Thinking::Medium,
        "high" | "xhigh" => Thinking::High,
        _ => Thinking::Off,
    }
}

/// The level of thinking that was chosen, in one spelling, or else the configured one.
pub(super) fn thinking_word(chosen: Option<&str>, default: Option<ConfiguredThinking>) -> Option<String> {
    let chosen = chosen.and_then(crate::sessions::levels::thinking).map(str::to_owned);
    chosen.or_else(|| default.map(ConfiguredThinking::name))
}

/// What the system noted for a turn, as a text; none if there is nothing.
pub(super) fn noted(notes: &[String]) -> Option<String> {
    let lines: String = notes.iter().map(|note| format!("\n- {note}")).collect();
    (!lines.is_empty()).then(|| format!("[What the system noted since your last turn:{lines}]"))
}

/// What the user says: what happened since, the message, and its files, as pictures where the model sees them and by name elsewhere.
fn prompt(work: &Work, notes: &[String], sees: bool) -> Vec<Block> {
    let texts = noted(notes).into_iter().chain([work.message.clone()]);
    let mut blocks: Vec<Block> = texts.map(|text| Block::Text { text }).collect();
    for file in &work.attachments {
        let picture = if sees { picture(file) } else { None };
        blocks.push(picture.unwrap_or_else(|| Block::Text { text: file_note(&file.name, &file.mime_type, &file.path) }));
    }
    blocks
}

/// What stands for a file that a model is not shown.
#[must_use]
pub fn file_note(name: &str, mime_type: &str, path: &Path) -> String {
    format!("[attached file: {name} ({mime_type}), at {}]", path.display())
}

/// The pictures that came with a message, as programs are given them.
pub(super) fn pictures(work: &Work) -> Vec<Picture> {
    let of = |file: &Attached| {
        let Block::Image { mime_type, data } = picture(file)? else { return None };
        Some(Picture { path: file.path.clone(), mime_type, data })
    };
    work.attachments.iter().filter_map(of).collect()
}

fn picture(file: &Attached) -> Option<Block> {
    if file.bytes > MAX_IMAGE || !SEEN.contains(&file.mime_type.as_str()) {
        return None;
    }
    let bytes = std::fs::read(&file.path).ok()?;
    Some(Block::Image { mime_type: file.mime_type.clone(), data: STANDARD.encode(bytes) })
}

fn listed<'c>(config: &'c Config, agent: &AgentSettings) -> Option<&'c Agent> {
    config.agents.list.iter().find(|listed| listed.id.eq_ignore_ascii_case(&agent.id))
}

fn budgets(config: &Config, agent: &AgentSettings) -> Budgets {
    let common = config.agents.defaults.budget.clone().unwrap_or_default();
    let own = listed(config, agent).and_then(|agent| agent.budget.clone()).unwrap_or_default();
    Budgets {
        turns: own.turns.or(common.turns).unwrap_or(Budgets::default().turns),
        tokens: own.tokens.or(common.tokens),
        cost: own.cost_usd.or(common.cost_usd),
        ms: own.seconds.or(common.seconds).map(|seconds| seconds.saturating_mul(1000)),
    }
}

fn tools(config: &Config, agent: &AgentSettings, endpoint: &Endpoint, is_sub: bool) -> ToolRules {
    let own = listed(config, agent).and_then(|listed| listed.tools.as_ref());
    let common = &config.tools;
    let mut layers = vec![ToolLayer {
        profile: common.profile,
        allow: common.allow.clone(),
        also_allow: common.also_allow.clone(),
        deny: common.deny.clone(),
    }];
    layers.extend(own.map(|own| ToolLayer {
        profile: own.profile,
        allow: own.allow.clone(),
        also_allow: own.also_allow.clone(),
        deny: own.deny.clone(),
    }));
    let full = format!("{}/{}", endpoint.provider, endpoint.model);
    for rules in [Some(&common.by_provider), own.map(|own| &own.by_provider)].into_iter().flatten() {
        layers.extend([&endpoint.provider, &full].into_iter().filter_map(|name| rules.get(name)).map(layer));
    }
    layers.extend(common.subagents.as_ref().filter(|_| is_sub).and_then(|rules| rules.tools.as_ref()).map(layer));
    let exec = [config.exec.as_ref(), common.exec.as_ref()].into_iter().flatten().find_map(|exec| exec.apply_patch.as_ref());
    let apply_patch = exec.is_some_and(|patch| {
        let listed = |models: &Vec<String>| models.iter().any(|name| *name == full || *name == endpoint.model);
        patch.enabled == Some(true) && patch.allow_models.as_ref().is_none_or(listed)
    });
    ToolRules { layers, apply_patch }
}

fn layer(policy: &ToolPolicy) -> ToolLayer {
    ToolLayer { profile: policy.profile, allow: policy.allow.clone(), also_allow: policy.also_allow.clone(), deny: policy.deny.clone() }
}

/// How commands of an agent run.
pub(super) fn exec(config: &Config, agent: &AgentSettings) -> ExecRules {
    let defaults = &config.agents.defaults;
    ExecRules {
        background_ms: agent.exec.background_ms,
        timeout_ms: agent.exec.timeout_sec.saturating_mul(1000),
        cleanup_ms: agent.exec.cleanup_ms,
        notify_on_exit: agent.exec.notify_on_exit,
        grace_ms: defaults.grace_ms,
        cap_bytes: defaults.output.journal_cap_bytes,
        tail_bytes: defaults.output.tail_bytes,
        max_bytes_per_second: defaults.output.max_bytes_per_second,
        ..ExecRules::default()
    }
}

fn fetch(config: &Config) -> Option<FetchRules> {
    let fetch = config.tools.web.as_ref().and_then(|web| web.fetch.clone()).unwrap_or_default();
    if fetch.enabled == Some(false) {
        return None;
    }
    let plain = FetchRules::default();
    let count = |given: Option<u64>, plain: usize| given.and_then(|given| usize::try_from(given).ok()).unwrap_or(plain);
    Some(FetchRules {
        max_chars: count(fetch.max_chars, plain.max_chars),
        max_chars_cap: count(fetch.max_chars_cap, plain.max_chars_cap),
        timeout_ms: fetch.timeout_seconds.map_or(plain.timeout_ms, |seconds| u64::from(seconds) * 1000),
        max_redirects: fetch.max_redirects.unwrap_or(plain.max_redirects),
        user_agent: fetch.user_agent,
    })
}

/// The MCP servers that are in use. Those that are reached by HTTP are asked from outside of the run's isolation, so a run without network has none of them.
fn servers(config: &Config, work: &Work) -> Vec<Server> {
    let is_open = work.isolation.level == Level::Off || work.isolation.network;
    let servers = config.mcp.servers.iter().filter(|(_, server)| server.enabled).filter_map(|(name, server)| {
        let way = match (&server.command, &server.url) {
            (Some(command), _) => Way::Command {
                words: std::iter::once(command).chain(&server.args).cloned().collect(),
                env: server.env.clone(),
                cwd: server.cwd.as_ref().map(Into::into),
            },
            (None, Some(url)) if is_open => Way::Http { url: url.clone(), headers: server.headers.clone() },
            (None, _) => return None,
        };
        let tools = server.tools.clone().unwrap_or_default();
        let timeout_ms = u64::from(server.timeout_seconds) * 1000;
        Some(Server { name: name.clone(), way, timeout_ms, allow: tools.allow, deny: tools.deny })
    });
    servers.collect()
}
