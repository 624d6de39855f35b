//! `commands.list`: the slash commands that a chat understands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chat::table::{Arg, COMMANDS, Spec};
use crate::protocol::error::RpcError;
use crate::protocol::scope::Scope;
use crate::rpc::call::Call;
use crate::rpc::method::Method;
use crate::rpc::methods::agent::target;

/// The slash commands that `chat.send` understands, for menus and completion.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListParams {
    /// Agent of the chat; the default one if absent. Commands that need a model are left out for an agent that has none.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Where the command would be given; `native`, the menu of a channel, has none here, and every other word means messages.
    #[serde(default)]
    pub scope: Option<String>,
    /// Accepted for existing clients; there is only one.
    #[serde(default)]
    pub provider: Option<String>,
    /// Whether to say what may follow a name; true if absent.
    #[serde(default)]
    pub include_args: Option<bool>,
}

/// The commands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListReply {
    /// One row each.
    pub commands: Vec<CommandRow>,
}

/// A command.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandRow {
    /// Its name, without the slash.
    pub name: &'static str,
    /// What a message may begin with, the slash included.
    pub text_aliases: Vec<String>,
    /// What it does, one sentence.
    pub description: &'static str,
    /// What it belongs to: `session`, `options` or `status`.
    pub category: &'static str,
    /// Always `native`: it is built in.
    pub source: &'static str,
    /// Always `text`: it is given in a message.
    pub scope: &'static str,
    /// Whether something may follow its name.
    pub accepts_args: bool,
    /// What that is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<ArgRow>,
}

/// Something that may follow a command's name.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ArgRow {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Always `string`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The words that it may be; absent = any text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
}

/// A word that an argument may be.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Choice {
    /// The word.
    pub value: &'static str,
    /// How to show it.
    pub label: &'static str,
}

/// `commands.list`.
pub struct List;

impl Method for List {
    const NAME: &'static str = "commands.list";
    const SCOPE: Scope = Scope::Read;
    type Params = ListParams;
    type Output = ListReply;

    async fn call(cx: Call, params: ListParams) -> Result<ListReply, RpcError> {
        let (agent, _) = target::resolve(&cx.gateway, Self::NAME, params.agent_id.as_deref(), None)?;
        let models = crate::chat::uses_models(&agent.runner);
        let with_args = params.include_args.unwrap_or(true);
        let texts =
            params.scope.as_deref() != Some("native") && cx.gateway.loaded().config.commands.as_ref().is_none_or(|commands| commands.text);
        let shown = COMMANDS.iter().filter(|spec| texts && (models || !spec.for_models));
        Ok(ListReply { commands: shown.map(|spec| row(spec, with_args)).collect() })
    }
}

fn row(spec: &'static Spec, with_args: bool) -> CommandRow {
    let names = [spec.name].into_iter().chain(spec.aliases.iter().copied());
    CommandRow {
        name: spec.name,
        text_aliases: names.map(|name| format!("/{name}")).collect(),
        description: spec.summary,
        category: spec.category,
        source: "native",
        scope: "text",
        accepts_args: !spec.args.is_empty(),
        args: if with_args { spec.args.iter().map(|arg| arg_row(spec, arg)).collect() } else { Vec::new() },
    }
}

fn arg_row(spec: &Spec, arg: &Arg) -> ArgRow {
    let choices = spec.choices(arg).iter().map(|word| Choice { value: word, label: word }).collect();
    ArgRow { name: arg.name, description: arg.summary, kind: "string", choices }
}
