//! What the host of a run makes ready for its program: the tool `exec` in the place of a shell of its own, and a way to its model that needs no key of the provider. Says how each kind of program is told of it.
//!
//! Neither is part of what the daemon sends: both are made where the program runs, with it, and are gone when it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::mcp::{CLAUDE_TOOL, SERVER};
use super::spec::Kind;
use crate::model::endpoint::Api;

/// The variable that holds a run's key for its model; its name says to others that it is a secret.
pub const MODEL_KEY: &str = "SKYKOI_MODEL_KEY";
/// The variable that holds the address at which the run's model is asked.
pub const MODEL_URL: &str = "SKYKOI_MODEL_URL";
/// How a program calls the provider that is asked for it.
const PROVIDER: &str = "gw";
/// Variables with which programs are led to providers, or find keys; none of them may stand beside what is made ready.
const OTHERS: [&str; 25] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_AWS_API_KEY",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_BEDROCK_BASE_URL",
    "ANTHROPIC_BEDROCK_MANTLE_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_FOUNDRY_API_KEY",
    "ANTHROPIC_FOUNDRY_AUTH_TOKEN",
    "ANTHROPIC_VERTEX_BASE_URL",
    "AWS_BEARER_TOKEN_BEDROCK",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_SKIP_BEDROCK_AUTH",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_GATEWAY",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_VERTEX",
    "CODEX_API_KEY",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORGANIZATION",
    "OPENAI_PROJECT",
];
/// The same where the model is at Amazon; elsewhere they may be for commands.
const OF_AMAZON: [&str; 16] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_BEDROCK_SKIP_AUTH",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_BEDROCK",
    "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// The same where the model is at Google.
const OF_GOOGLE: [&str; 7] = [
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_GENAI_API_VERSION",
    "GOOGLE_GENAI_USE_GCA",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_VERTEX_BASE_URL",
];

/// What is ready.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ready {
    /// The server of the tool `exec`; absent = the program runs its commands itself.
    pub hands: Option<Hands>,
    /// The way to its model; absent = the program asks it by itself.
    pub proxy: Option<Proxied>,
}

/// How the server of the tool is started.
#[derive(Clone, Debug, PartialEq)]
pub struct Hands {
    /// Program and arguments.
    pub words: Vec<String>,
    /// Variables that it needs; the program has them too.
    pub env: BTreeMap<String, String>,
}

/// How the model is asked.
#[derive(Clone, PartialEq)]
pub struct Proxied {
    /// The language.
    pub api: Api,
    /// Where.
    pub address: SocketAddr,
    /// The key, which is good for this run alone.
    pub key: String,
    /// The region of a provider at Amazon, if it is known.
    pub region: Option<String>,
    /// The model, as the provider knows it.
    pub model: String,
    /// Whether it can think before it answers.
    pub reasoning: bool,
    /// Whether it sees pictures.
    pub images: bool,
    /// Size of its context window in tokens.
    pub context_window: u64,
    /// Its longest answer in tokens.
    pub max_tokens: u64,
}

impl std::fmt::Debug for Proxied {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxied").field("api", &self.api).field("address", &self.address).finish_non_exhaustive()
    }
}

impl Proxied {
    /// The address as programs of the language want it: with `/v1` for OpenAI, without for the others.
    #[must_use]
    pub fn base_url(&self) -> String {
        match self.api {
            Api::AnthropicMessages | Api::BedrockConverseStream | Api::GoogleGenerativeAi => format!("http://{}", self.address),
            Api::OpenaiCompletions => format!("http://{}/v1", self.address),
        }
    }
}

impl Proxied {
    /// Variables for a model at Amazon: a bearer key takes the place of a signature.
    fn amazons(&self, kind: Kind, set: &mut impl FnMut(&str, String)) {
        if let Some(region) = &self.region {
            set("AWS_REGION", region.clone());
        }
        if kind == Kind::Pi {
            // Its file says the rest. Without this it speaks HTTP/2 to whoever it asks.
            return set("AWS_BEDROCK_FORCE_HTTP1", "1".to_owned());
        }
        set("AWS_BEARER_TOKEN_BEDROCK", self.key.clone());
        set("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", self.base_url());
        set("ANTHROPIC_BEDROCK_BASE_URL", self.base_url());
        set("CLAUDE_CODE_USE_BEDROCK", "1".to_owned());
    }
}

impl Ready {
    /// Variables to take out of the program's environment.
    #[must_use]
    pub fn without(&self) -> Vec<&'static str> {
        let Some(proxy) = &self.proxy else { return Vec::new() };
        let of_api: &[&str] = match proxy.api {
            Api::BedrockConverseStream => &OF_AMAZON,
            Api::GoogleGenerativeAi => &OF_GOOGLE,
            Api::AnthropicMessages | Api::OpenaiCompletions => &[],
        };
        [&OTHERS, of_api].concat()
    }

    /// Variables of the program.
    #[must_use]
    pub fn env(&self, kind: Kind) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
        if let Some(hands) = &self.hands {
            hands.env.iter().for_each(|(name, value)| set(name, value.clone()));
            if kind == Kind::Claude {
                // It waits for servers before its first words, and for a command as long as that may take and be thought about.
                set("MCP_TOOL_TIMEOUT", i32::MAX.to_string());
            }
        }
        if let Some(proxy) = &self.proxy {
            set(MODEL_KEY, proxy.key.clone());
            set(MODEL_URL, proxy.base_url());
            match (kind, proxy.api) {
                (Kind::Codex, _) => {}
                (_, Api::BedrockConverseStream) => proxy.amazons(kind, &mut set),
                (Kind::Claude, _) => {
                    set("ANTHROPIC_BASE_URL", proxy.base_url());
                    set("ANTHROPIC_AUTH_TOKEN", proxy.key.clone());
                }
                (Kind::Acp, Api::AnthropicMessages) => {
                    set("ANTHROPIC_BASE_URL", proxy.base_url());
                    set("ANTHROPIC_API_KEY", proxy.key.clone());
                }
                (Kind::Acp, Api::GoogleGenerativeAi) => {
                    set("GOOGLE_GEMINI_BASE_URL", proxy.base_url());
                    set("GEMINI_API_KEY", proxy.key.clone());
                }
                (Kind::Acp, _) => {
                    set("OPENAI_BASE_URL", proxy.base_url());
                    set("OPENAI_API_KEY", proxy.key.clone());
                }
                (Kind::Pi, _) => {}
            }
        }
        env
    }

    /// Codex's options, which stand before its command.
    pub(super) fn codex(&self, argv: &mut Vec<String>) {
        let mut set = |key: &str, value: Value| argv.extend(["-c".to_owned(), format!("{key}={value}")]);
        if let Some(proxy) = &self.proxy {
            let of = |key: &str| format!("model_providers.{PROVIDER}.{key}");
            set("model_provider", json!(PROVIDER));
            set(&of("name"), json!("SkyKoi Gateway"));
            set(&of("base_url"), json!(proxy.base_url()));
            set(&of("wire_api"), json!("responses"));
            set(&of("env_key"), json!(MODEL_KEY));
        }
        if let Some(hands) = &self.hands {
            let of = |key: &str| format!("mcp_servers.{SERVER}.{key}");
            let (program, rest) = hands.words.split_first().map_or((json!(""), json!([])), |(first, rest)| (json!(first), json!(rest)));
            set(&of("command"), program);
            set(&of("args"), rest);
            set(&of("env_vars"), json!(hands.env.keys().collect::<Vec<_>>()));
            // Whether a command may run is asked by the tool itself, and takes as long as a person does.
            set(&of("default_tools_approval_mode"), json!("approve"));
            set(&of("tool_timeout_sec"), json!(i32::MAX));
            set(&of("required"), json!(true));
            argv.extend(["--disable", "shell_tool", "--disable", "unified_exec"].map(str::to_owned));
        }
    }

    /// Claude Code's options.
    pub(super) fn claude(&self, argv: &mut Vec<String>) {
        let Some(hands) = &self.hands else { return };
        let (program, rest) = hands.words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        let servers = json!({ "mcpServers": { SERVER: { "type": "stdio", "command": program, "args": rest } } });
        argv.extend(["--tools", "", "--strict-mcp-config", "--mcp-config", &servers.to_string()].map(str::to_owned));
        // Settings of the folder may hold commands of their own.
        argv.extend(["--setting-sources", "user", "--allowedTools", CLAUDE_TOOL].map(str::to_owned));
    }

    /// pi's options.
    pub(super) fn pi(&self, argv: &mut Vec<String>) {
        if let Some(proxy) = &self.proxy {
            argv.extend(["--provider", PROVIDER, "--model", &proxy.model].map(str::to_owned));
        }
    }

    /// The file that tells pi of its provider; it lies in the folder that `PI_CODING_AGENT_DIR` names.
    #[must_use]
    pub fn pi_models(&self) -> Option<Value> {
        let proxy = self.proxy.as_ref()?;
        // What is not said here pi takes for lacking: thoughts and pictures would be left out.
        let input = if proxy.images { json!(["text", "image"]) } else { json!(["text"]) };
        let (window, most) = (proxy.context_window, proxy.max_tokens);
        let models =
            json!([{ "id": proxy.model, "reasoning": proxy.reasoning, "input": input, "contextWindow": window, "maxTokens": most }]);
        let provider = json!({ "baseUrl": proxy.base_url(), "api": proxy.api.name(), "apiKey": format!("${MODEL_KEY}"), "authHeader": true, "models": models });
        Some(json!({ "providers": { PROVIDER: provider } }))
    }

    /// The servers that an ACP program is told of when its session begins.
    pub(super) fn acp_servers(&self) -> Value {
        let server = self.hands.iter().map(|hands| {
            let (program, rest) = hands.words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
            let env: Vec<Value> = hands.env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            json!({ "name": SERVER, "command": program, "args": rest, "env": env })
        });
        server.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::spec::ProgramSpec;

    fn ready() -> Ready {
        let hands = Hands { words: vec!["/bin/gw".into(), "mcp".into(), "/run/a b".into()], env: BTreeMap::new() };
        let proxy = Proxied {
            api: Api::AnthropicMessages,
            address: "127.0.0.1:4711".parse().unwrap(),
            key: "run-key-canary".into(),
            region: None,
            model: "m".into(),
            reasoning: true,
            images: true,
            context_window: 100_000,
            max_tokens: 4000,
        };
        Ready { hands: Some(hands), proxy: Some(proxy) }
    }

    #[test]
    fn the_key_of_a_run_is_in_the_environment_alone_and_nobody_elses_is() {
        for kind in Kind::ALL {
            let mut spec = ProgramSpec::new(kind, vec![kind.name().to_owned()]);
            spec.ready = ready();
            assert!(!spec.argv().join(" ").contains("canary") && !format!("{spec:?} {:?}", spec.ready).contains("canary"), "{kind:?}");
            let models = spec.ready.pi_models().unwrap();
            assert!(!models.to_string().contains("canary"));
            assert_eq!(models["providers"][PROVIDER]["models"][0]["input"], json!(["text", "image"]), "{models}");
            let env = spec.ready.env(kind);
            assert_eq!(env[MODEL_KEY], "run-key-canary");
            assert!(env.keys().all(|name| !name.ends_with("URL") || env[name].starts_with("http://127.0.0.1:4711")), "{env:?}");
        }
        let without = ready().without();
        assert!(without.contains(&"ANTHROPIC_API_KEY") && !without.contains(&"AWS_SECRET_ACCESS_KEY"));
    }

    #[test]
    fn a_model_at_amazon_is_asked_with_a_bearer_key_and_no_other_credentials() {
        let mut ready = ready();
        if let Some(proxy) = &mut ready.proxy {
            (proxy.api, proxy.region) = (Api::BedrockConverseStream, Some("eu-west-1".to_owned()));
        }
        let claude = ready.env(Kind::Claude);
        for (name, value) in [
            ("CLAUDE_CODE_USE_BEDROCK", "1"),
            ("AWS_REGION", "eu-west-1"),
            ("ANTHROPIC_BEDROCK_BASE_URL", "http://127.0.0.1:4711"),
            ("AWS_BEARER_TOKEN_BEDROCK", "run-key-canary"),
        ] {
            assert_eq!(claude.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!claude.contains_key("ANTHROPIC_BASE_URL") && !claude.contains_key("ANTHROPIC_AUTH_TOKEN"), "{claude:?}");
        assert!(["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "ANTHROPIC_BASE_URL"].iter().all(|name| ready.without().contains(name)));
        assert_eq!(ready.env(Kind::Pi).get("AWS_BEDROCK_FORCE_HTTP1").map(String::as_str), Some("1"));
        let models = ready.pi_models().unwrap();
        assert_eq!(models["providers"][PROVIDER]["api"], "bedrock-converse-stream", "{models}");
        assert_eq!(models["providers"][PROVIDER]["baseUrl"], "http://127.0.0.1:4711", "{models}");
    }

    #[test]
    fn a_model_at_google_is_asked_with_the_key_of_the_run() {
        let mut ready = ready();
        if let Some(proxy) = &mut ready.proxy {
            proxy.api = Api::GoogleGenerativeAi;
        }
        let env = ready.env(Kind::Acp);
        assert_eq!((env["GEMINI_API_KEY"].as_str(), env["GOOGLE_GEMINI_BASE_URL"].as_str()), ("run-key-canary", "http://127.0.0.1:4711"));
        assert!(!env.contains_key("OPENAI_API_KEY") && ready.without().contains(&"GOOGLE_API_KEY"), "{env:?}");
    }

    #[test]
    fn each_program_is_told_in_its_own_words_and_what_is_not_ready_is_not_told() {
        let argv = |kind: Kind, ready: Ready| {
            let mut spec = ProgramSpec::new(kind, vec![kind.name().to_owned()]);
            spec.ready = ready;
            spec.argv().join(" ")
        };
        let codex = argv(Kind::Codex, ready());
        assert!(codex.ends_with("--disable shell_tool --disable unified_exec app-server"), "{codex}");
        assert!(
            codex.contains(r#"-c mcp_servers.gw.args=["mcp","/run/a b"]"#) && codex.contains("env_key=\"SKYKOI_MODEL_KEY\""),
            "{codex}"
        );
        let claude = argv(Kind::Claude, ready());
        assert!(claude.contains(r#""args":["mcp","/run/a b"]"#) && claude.contains("--allowedTools mcp__gw__exec"), "{claude}");
        assert!(argv(Kind::Pi, ready()).contains("--provider gw --model m"));
        assert_eq!(ready().acp_servers()[0]["command"], "/bin/gw");
        assert_eq!(Ready::default().acp_servers(), json!([]));
        assert_eq!(argv(Kind::Codex, Ready::default()), "codex app-server");
        assert!(!argv(Kind::Claude, Ready::default()).contains("--tools"));
    }
}
