//! The configuration: a strict JSON5 file, read once into an immutable [`Config`].
//!
//! One file per section holds its keys, defaults and documentation; the JSON Schema, the reference and the texts of errors derive from these types. Nothing here changes the environment or a running gateway; what changes a file stands in `change` and below it.

pub mod agent_parts;
pub mod agents;
pub mod approvals;
pub mod audit;
pub mod change;
pub mod check;
pub mod cross;
pub mod diff;
pub mod edit;
pub mod env;
pub mod explain;
pub mod gateway;
pub mod hints;
pub mod host;
pub mod http;
pub mod include;
pub mod init;
pub mod isolation;
pub mod key_path;
pub mod layers;
pub mod limits;
pub mod load;
pub mod locate;
pub mod logging;
pub mod login;
pub mod login_rules;
pub mod mcp;
pub mod messages;
pub mod minor;
pub mod model_params;
pub mod model_ref;
pub mod models;
pub mod net;
pub mod open;
pub mod pairing;
pub mod parse;
pub mod paths;
pub mod problem;
pub mod read_file;
pub mod redact;
pub mod reference;
pub mod resolve;
pub mod runners;
pub mod sandbox;
pub mod save;
pub mod schedule;
pub mod schema;
pub mod secret;
mod section;
pub mod session;
pub mod substitute;
pub mod suggest;
pub mod tool_policy;
pub mod tools;

use open::{Open, OpenList};
use section::section;

section! {
    /// The whole configuration. Every key is optional except where an entry of a list says otherwise.
    struct Config {
        /// For editors: where the JSON Schema of this file stands. Ignored.
        #[serde(rename = "$schema")]
        #[schemars(extend("x-reload" = "none"))]
        schema: Option<String>,
        /// The daemon's network side.
        #[schemars(extend("x-reload" = "hot"))]
        gateway: gateway::Gateway,
        /// The agents.
        #[schemars(extend("x-reload" = "hot"))]
        agents: agents::Agents,
        /// What agents may use.
        #[schemars(extend("x-reload" = "hot"))]
        tools: tools::Tools,
        /// How commands run: another spelling of `tools.exec`. Given in both places, values must be equal.
        #[schemars(extend("x-reload" = "hot"))]
        exec: Option<tools::Exec>,
        /// Sessions.
        #[schemars(extend("x-reload" = "hot"))]
        session: session::Session,
        /// Logging.
        #[schemars(extend("x-reload" = "hot"))]
        logging: logging::Logging,
        /// The log of who did what.
        #[schemars(extend("x-reload" = "hot"))]
        audit: audit::Audit,
        /// Providers of models.
        #[schemars(extend("x-reload" = "hot"))]
        models: models::Models,
        /// Servers of the Model Context Protocol.
        #[schemars(extend("x-reload" = "hot"))]
        mcp: mcp::Mcp,
        /// Agent programs that are not part of the gateway.
        #[schemars(extend("x-reload" = "hot"))]
        runners: runners::Runners,
        /// Values for `${NAME}` in this file. They are not put into anybody's environment.
        #[schemars(extend("x-reload" = "hot"))]
        env: env::Env,
        /// How messages are queued and answered.
        #[schemars(extend("x-reload" = "hot"))]
        messages: Option<messages::Messages>,
        /// Which slash commands work.
        #[schemars(extend("x-reload" = "hot"))]
        commands: Option<messages::Commands>,
        /// Work by time.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        cron: Option<schedule::Cron>,
        /// Work by HTTP request.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        hooks: Option<schedule::Hooks>,
        /// Looks of the front end.
        #[schemars(extend("x-reload" = "none"))]
        ui: Option<minor::Ui>,
        /// Logins at providers of models.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        auth: Option<minor::ProviderLogins>,
        /// Who wrote the file last. Ignored.
        #[schemars(extend("x-reload" = "none"))]
        meta: Option<minor::Meta>,
        /// When the set-up wizard ran last. Ignored.
        #[schemars(extend("x-reload" = "none"))]
        wizard: Option<minor::Wizard>,
        /// Updates.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        update: Option<minor::Update>,
        /// Approvals of commands.
        #[schemars(extend("x-reload" = "hot"))]
        approvals: approvals::Approvals,
        /// Which agent answers which channel.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        bindings: Option<OpenList>,
        /// Groups that several agents answer.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        broadcast: Option<Open>,
        /// Audio.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        audio: Option<Open>,
        /// Media.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        media: Option<Open>,
        /// The web channel.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        web: Option<Open>,
        /// Message channels.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        channels: Option<Open>,
        /// Finding gateways in the network.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        discovery: Option<Open>,
        /// The canvas host.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        canvas_host: Option<Open>,
        /// Speech.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        talk: Option<Open>,
        /// Memory.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        memory: Option<Open>,
        /// Skills.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        skills: Option<Open>,
        /// Plugins.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        plugins: Option<Open>,
        /// A browser for agents.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        browser: Option<Open>,
        /// This machine as a node of another gateway.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        node_host: Option<Open>,
        /// Diagnostics.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        diagnostics: Option<Open>,
    }
}
