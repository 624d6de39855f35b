//! What is known of each kind of program before it is started: how it is installed, what lets it in at its provider, where it keeps its state. One row each.

use std::path::Path;

use super::spec::Kind;

/// One kind of program.
#[derive(Debug)]
pub struct Known {
    /// Its package, to be installed with npm; the Agent Client Protocol has none.
    pub package: Option<&'static str>,
    /// The variable that names the directory of its state.
    pub home_variable: &'static str,
    /// That directory when nobody names one, below the user's home directory; none = it has no directory of its own there.
    pub usual_home: Option<&'static str>,
    /// Files of that directory in which it keeps a login.
    pub logins: &'static [&'static str],
    /// Variables that let it in.
    pub keys: &'static [&'static str],
    /// Beginnings of names of variables that say whom it trusts and talks to; a request may not set them.
    pub own_variables: &'static [&'static str],
    /// Variables that keep it from what a run has no use for, such as updating itself.
    pub quiet: &'static [(&'static str, &'static str)],
    /// Providers of models that it can use, in the gateway's words; it gets the name of the model alone.
    pub providers: &'static [&'static str],
    /// Those that it can use besides only where the gateway asks them for it.
    pub by_gateway: &'static [&'static str],
    /// Whether it gets the name of the model with its provider.
    pub names_provider: bool,
    /// What one of them takes of the machine's memory with its own processes, MB, as measured.
    pub memory_mb: u64,
}

static CODEX: Known = Known {
    package: Some("@openai/codex"),
    home_variable: "CODEX_HOME",
    usual_home: Some(".codex"),
    logins: &["auth.json"],
    keys: &["OPENAI_API_KEY", "CODEX_API_KEY"],
    own_variables: &["CODEX_", "OPENAI_"],
    quiet: &[],
    providers: &["openai"],
    by_gateway: &[],
    names_provider: false,
    memory_mb: 250,
};

static CLAUDE: Known = Known {
    package: Some("@anthropic-ai/claude-code"),
    home_variable: "CLAUDE_CONFIG_DIR",
    usual_home: Some(".claude"),
    logins: &[".credentials.json"],
    keys: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"],
    own_variables: &["ANTHROPIC_", "CLAUDE_", "AWS_"],
    quiet: &[("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_AUTOUPDATER", "1"), ("DISABLE_TELEMETRY", "1")],
    providers: &["anthropic"],
    by_gateway: &["amazon-bedrock"],
    names_provider: false,
    memory_mb: 250,
};

static PI: Known = Known {
    package: Some("@earendil-works/pi-coding-agent"),
    home_variable: "PI_CODING_AGENT_DIR",
    usual_home: Some(".pi/agent"),
    logins: &["auth.json", "models.json"],
    keys: &["ANTHROPIC_API_KEY", "ANTHROPIC_OAUTH_TOKEN", "OPENAI_API_KEY", "GEMINI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"],
    own_variables: &["PI_", "ANTHROPIC_", "OPENAI_", "AWS_", "GEMINI_"],
    quiet: &[("PI_OFFLINE", "1")],
    providers: &["anthropic", "openai", "amazon-bedrock", "google"],
    by_gateway: &[],
    names_provider: true,
    memory_mb: 250,
};

static ACP: Known = Known {
    package: None,
    home_variable: "HOME",
    usual_home: None,
    logins: &[],
    keys: &[],
    own_variables: &["ANTHROPIC_", "CLAUDE_", "CODEX_", "OPENAI_", "GEMINI_", "GOOGLE_", "OPENCODE_", "AWS_", "PI_"],
    quiet: &[],
    providers: &[],
    by_gateway: &[],
    names_provider: false,
    memory_mb: 600,
};

impl Kind {
    /// What is known of programs of this kind.
    #[must_use]
    pub fn known(self) -> &'static Known {
        match self {
            Self::Codex => &CODEX,
            Self::Claude => &CLAUDE,
            Self::Pi => &PI,
            Self::Acp => &ACP,
        }
    }

    /// The kind that the runner of this name drives.
    #[must_use]
    pub fn of_runner(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How it is installed, as the end of a sentence; empty if that is not known.
    #[must_use]
    pub fn install(self) -> String {
        self.known().package.map(|package| format!("; install it with `npm install -g {package}`")).unwrap_or_default()
    }
}

impl Known {
    /// Whether a login is kept in this directory.
    #[must_use]
    pub fn has_login(&self, home: &Path) -> bool {
        self.logins.iter().any(|file| home.join(file).is_file())
    }

    /// The provider whose model is meant, where the gateway asks it for the program: the configured one, or that of the model that was named if only the gateway can ask it; none = the program's usual one.
    #[must_use]
    pub fn asked(&self, configured: Option<&str>, named: Option<&str>) -> Option<String> {
        let named = named.and_then(|full| full.split_once('/')).map(|(provider, _)| provider);
        configured.or(named.filter(|provider| self.by_gateway.contains(provider))).map(str::to_owned)
    }

    /// The model of a `provider/model` as the program spells it; none if it is no model for this program. `asked` is the provider that the gateway asks for it, if it does and knows which.
    #[must_use]
    pub fn model(&self, full: &str, asked: Option<&str>) -> Option<String> {
        let (provider, model) = full.split_once('/')?;
        let is_asked = asked == Some(provider) && !self.providers.is_empty();
        // What is asked at Amazon has its names there.
        let is_elsewhere = asked.is_some_and(|asked| self.by_gateway.contains(&asked));
        let fits = is_asked || (self.providers.contains(&provider) && !is_elsewhere);
        fits.then(|| if self.names_provider { full.to_owned() } else { model.to_owned() })
    }

    /// Whether a request may not give this variable to a run of the program: it would say whom the program talks to, and with it who gets its keys.
    #[must_use]
    pub fn is_its_own(&self, name: &str) -> bool {
        const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];
        let upper = name.to_ascii_uppercase();
        PROXIES.contains(&upper.as_str()) || self.own_variables.iter().any(|start| upper.starts_with(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_goes_to_the_program_that_can_use_it_in_its_own_spelling() {
        let of = |kind: Kind, full: &str| kind.known().model(full, None);
        assert_eq!(of(Kind::Codex, "openai/gpt-5").as_deref(), Some("gpt-5"));
        assert_eq!(of(Kind::Claude, "anthropic/claude-sonnet-4-5").as_deref(), Some("claude-sonnet-4-5"));
        assert_eq!(of(Kind::Pi, "amazon-bedrock/us.x-v1:0").as_deref(), Some("amazon-bedrock/us.x-v1:0"));
        for (kind, full) in
            [(Kind::Codex, "anthropic/x"), (Kind::Claude, "openai/x"), (Kind::Pi, "box/x"), (Kind::Acp, "openai/x"), (Kind::Pi, "x")]
        {
            assert_eq!(of(kind, full), None, "{kind:?} {full}");
        }
    }

    #[test]
    fn where_the_gateway_asks_its_provider_is_that_of_the_model() {
        let claude = Kind::Claude.known();
        let bedrock = "amazon-bedrock/eu.x-v1:0";
        for (configured, named, asked) in [
            (None, Some(bedrock), Some("amazon-bedrock")),
            (None, Some("anthropic/x"), None),
            (Some("own"), Some(bedrock), Some("own")),
            (None, None, None),
        ] {
            assert_eq!(claude.asked(configured, named).as_deref(), asked, "{configured:?} {named:?}");
        }
        let at = |asked| move |full: &str| claude.model(full, asked);
        assert_eq!(at(Some("amazon-bedrock"))(bedrock).as_deref(), Some("eu.x-v1:0"));
        assert_eq!(at(Some("amazon-bedrock"))("anthropic/x"), None, "Amazon does not know it by this name");
        assert_eq!((at(None)(bedrock), at(Some("own"))("own/m").as_deref()), (None, Some("m")));
        assert_eq!(at(Some("own"))("anthropic/x").as_deref(), Some("x"));
        assert_eq!(Kind::Pi.known().model("own/m/1", Some("own")).as_deref(), Some("own/m/1"));
        assert_eq!(Kind::Acp.known().model("own/m", Some("own")), None);
    }

    #[test]
    fn a_request_cannot_send_a_program_with_its_keys_to_somebody_else() {
        for (kind, name) in [
            (Kind::Claude, "ANTHROPIC_BASE_URL"),
            (Kind::Codex, "openai_base_url"),
            (Kind::Pi, "https_proxy"),
            (Kind::Acp, "GEMINI_API_KEY"),
        ] {
            assert!(kind.known().is_its_own(name), "{name}");
        }
        assert!(!Kind::Codex.known().is_its_own("MY_COLOUR"));
        for kind in Kind::ALL {
            assert_eq!(Kind::of_runner(kind.name()), Some(kind));
        }
        assert_eq!(Kind::of_runner("shell"), None);
    }
}
