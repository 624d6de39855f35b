//! How an agent is shown: what `ui.assistant` says, then the agent's own settings, then its `IDENTITY.md`. The file is read each time, because the agent may have changed it; so these calls block.

use super::agents::Agent;
use crate::config::minor::Ui;
use crate::workspace::avatar::{self, Avatar};
use crate::workspace::identity::{self, FileIdentity};

/// Longest sign that counts as an emoji, bytes: a family with skin tones.
const MAX_EMOJI: usize = 40;

/// How an agent is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub name: Option<String>,
    /// Its theme.
    pub theme: Option<String>,
    /// A sign that stands for it.
    pub emoji: Option<String>,
    /// Its picture as it is written down: an address, a path from the workspace on, or letters.
    pub avatar: Option<String>,
    /// The picture as an address that a front end can show at once.
    pub avatar_url: Option<String>,
}

/// How an agent is shown in a list of agents.
#[must_use]
pub fn of_agent(agent: &Agent) -> Shown {
    let file = identity::read(&agent.workspace);
    let own = &agent.identity;
    let avatar = pick([own.avatar.as_ref(), file.avatar.as_ref()]);
    Shown {
        name: pick([own.name.as_ref(), agent.name.as_ref(), file.name.as_ref()]),
        theme: pick([own.theme.as_ref(), file.theme.as_ref()]),
        emoji: emoji(agent, &file),
        avatar_url: avatar.as_deref().and_then(|avatar| avatar::url(&agent.workspace, avatar)),
        avatar,
    }
}

/// How an agent is shown as the assistant of a conversation: the settings of the front end come first, and the avatar is one that can be shown as it is, an address or letters.
#[must_use]
pub fn of_assistant(agent: &Agent, ui: Option<&Ui>) -> Shown {
    let file = identity::read(&agent.workspace);
    let (own, assistant) = (&agent.identity, ui.and_then(|ui| ui.assistant.as_ref()));
    let ui_avatar = assistant.and_then(|assistant| assistant.avatar.as_ref());
    let candidates = [ui_avatar, own.avatar.as_ref(), own.emoji.as_ref(), file.avatar.as_ref(), file.emoji.as_ref()];
    let avatar = candidates.into_iter().flatten().find_map(|text| match avatar::kind(text)? {
        Avatar::Letters(letters) => Some(letters.to_owned()),
        Avatar::Url(_) | Avatar::File(_) => avatar::url(&agent.workspace, text),
    });
    let ui_name = assistant.and_then(|assistant| assistant.name.as_ref());
    Shown {
        name: pick([ui_name, own.name.as_ref(), file.name.as_ref(), agent.name.as_ref()]),
        theme: pick([own.theme.as_ref(), file.theme.as_ref()]),
        emoji: emoji(agent, &file),
        avatar_url: avatar.clone().filter(|avatar| matches!(avatar::kind(avatar), Some(Avatar::Url(_)))),
        avatar,
    }
}

/// The first text with something in it.
fn pick<'t>(texts: impl IntoIterator<Item = Option<&'t String>>) -> Option<String> {
    texts.into_iter().flatten().map(|text| text.trim()).find(|text| !text.is_empty()).map(str::to_owned)
}

/// The first sign among what may be one: an avatar can be a sign too.
fn emoji(agent: &Agent, file: &FileIdentity) -> Option<String> {
    let candidates = [agent.identity.emoji.as_ref(), file.emoji.as_ref(), agent.identity.avatar.as_ref(), file.avatar.as_ref()];
    let is_sign = |text: &&str| !text.is_empty() && text.len() <= MAX_EMOJI && !text.is_ascii() && !text.contains(['/', ':', '.']);
    candidates.into_iter().flatten().map(|text| text.trim()).find(is_sign).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::gateway::agents::Agents;
    use serde_json::json;

    fn agent(identity: serde_json::Value, workspace: &std::path::Path) -> Agent {
        let config: Config =
            serde_json::from_value(json!({ "agents": { "list": [{ "id": "a", "workspace": workspace, "identity": identity }] } })).unwrap();
        Agent::clone(Agents::new(&config, std::path::Path::new("/home/u")).get("a").unwrap())
    }

    fn ui(value: serde_json::Value) -> Ui {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_front_ends_settings_come_before_the_agents_and_those_before_its_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("IDENTITY.md"), "- Name: File\n- Emoji: 🐟\n- Theme: calm\n- Avatar: me.png\n").unwrap();
        std::fs::write(dir.path().join("me.png"), "abc").unwrap();
        let bare = of_assistant(&agent(json!({}), dir.path()), None);
        assert_eq!((bare.name.as_deref(), bare.emoji.as_deref(), bare.theme.as_deref()), (Some("File"), Some("🐟"), Some("calm")));
        assert_eq!(bare.avatar.as_deref(), Some("data:image/png;base64,YWJj"));
        let own = agent(json!({ "name": "Own", "avatar": "KO" }), dir.path());
        let shown = of_assistant(&own, None);
        assert_eq!((shown.name.as_deref(), shown.avatar.as_deref(), shown.avatar_url), (Some("Own"), Some("KO"), None));
        let ui = ui(json!({ "assistant": { "name": "Front", "avatar": "https://x/a.png" } }));
        let shown = of_assistant(&own, Some(&ui));
        assert_eq!((shown.name.as_deref(), shown.avatar_url.as_deref()), (Some("Front"), Some("https://x/a.png")));
        let listed = of_agent(&own);
        assert_eq!((listed.name.as_deref(), listed.avatar.as_deref(), listed.avatar_url), (Some("Own"), Some("KO"), None));
    }

    #[test]
    fn a_picture_that_cannot_be_shown_gives_way_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let shown = of_assistant(&agent(json!({ "avatar": "../../etc/x.png", "emoji": "🦀" }), dir.path()), None);
        assert_eq!((shown.avatar.as_deref(), shown.emoji.as_deref()), (Some("🦀"), Some("🦀")));
        let none = of_assistant(&agent(json!({ "avatar": "a long text" }), dir.path()), None);
        assert_eq!(none, Shown::default());
    }
}
