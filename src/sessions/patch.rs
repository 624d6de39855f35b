//! What `sessions.patch` makes of an entry. Pure: the row goes in and comes out, or one line says why not.

use super::levels::{self, XHIGH_MODELS};
use super::models::{ModelName, ModelRules};
use crate::protocol::session::entry::SessionEntry;
use crate::protocol::session::patch::PatchParams;

/// Longest label, in characters.
pub const MAX_LABEL: usize = 64;

type Outcome = Result<(), String>;

/// Applies the patch to the entry of the session `key`.
///
/// # Errors
/// The first field that cannot be set, in words for the client.
pub fn apply(entry: &mut SessionEntry, key: &str, patch: &PatchParams, models: &ModelRules, now: u64) -> Outcome {
    entry.updated_at = entry.updated_at.max(now);
    spawned_by(entry, key, patch)?;
    label(entry, patch)?;
    off_clears(&mut entry.thinking_level, &patch.thinking_level, levels::thinking, || {
        thinking_words(entry_model(&entry.model_override, &entry.provider_override, models))
    })?;
    level(&mut entry.verbose_level, &patch.verbose_level, "verboseLevel", levels::verbose, &["on", "off", "full"])?;
    let words = |field: &'static str, words: &'static [&'static str]| move || invalid(field, words);
    off_clears(&mut entry.reasoning_level, &patch.reasoning_level, levels::reasoning, words("reasoningLevel", &["on", "off", "stream"]))?;
    off_clears(&mut entry.response_usage, &patch.response_usage, levels::usage, words("responseUsage", &["off", "tokens", "full"]))?;
    level(&mut entry.elevated_level, &patch.elevated_level, "elevatedLevel", levels::elevated, &["on", "off", "ask", "full"])?;
    word(&mut entry.exec_host, &patch.exec_host, "execHost", &["sandbox", "gateway", "node"])?;
    word(&mut entry.exec_security, &patch.exec_security, "execSecurity", &["deny", "allowlist", "full"])?;
    word(&mut entry.exec_ask, &patch.exec_ask, "execAsk", &["off", "on-miss", "always"])?;
    exec_node(entry, patch)?;
    model(entry, patch, models)?;
    xhigh(entry, patch, models)?;
    word(&mut entry.send_policy, &patch.send_policy, "sendPolicy", &["allow", "deny"])?;
    word(&mut entry.group_activation, &patch.group_activation, "groupActivation", &["mention", "always"])
}

fn invalid(field: &str, words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("invalid {field} (use {})", words.join("|"))
}

/// A field that takes one of some words.
fn word(field: &mut Option<String>, given: &Option<Option<String>>, name: &str, words: &[&'static str]) -> Outcome {
    level(field, given, name, |text| levels::one_of(text, words), words)
}

/// A field that takes a level, of which every one is kept.
fn level(
    field: &mut Option<String>,
    given: &Option<Option<String>>,
    name: &str,
    read: impl Fn(&str) -> Option<&'static str>,
    words: &[&'static str],
) -> Outcome {
    match given {
        None => {}
        Some(None) => *field = None,
        Some(Some(text)) => *field = Some(read(text).ok_or_else(|| invalid(name, words))?.to_owned()),
    }
    Ok(())
}

/// A field that takes a level, of which `off` is the same as none.
fn off_clears(
    field: &mut Option<String>,
    given: &Option<Option<String>>,
    read: impl Fn(&str) -> Option<&'static str>,
    refuse: impl Fn() -> String,
) -> Outcome {
    match given {
        None => {}
        Some(None) => *field = None,
        Some(Some(text)) => *field = Some(read(text).ok_or_else(refuse)?).filter(|level| *level != "off").map(str::to_owned),
    }
    Ok(())
}

fn spawned_by(entry: &mut SessionEntry, key: &str, patch: &PatchParams) -> Outcome {
    let refuse = |text: &str| Err(text.to_owned());
    match &patch.spawned_by {
        None => Ok(()),
        Some(None) if entry.spawned_by.is_some() => refuse("spawnedBy cannot be cleared once set"),
        Some(None) => Ok(()),
        Some(Some(text)) => {
            let text = text.trim();
            let rest = key.strip_prefix("agent:").and_then(|key| key.split_once(':')).map_or(key, |(_, rest)| rest);
            if text.is_empty() {
                return refuse("invalid spawnedBy: empty");
            }
            if !rest.starts_with("subagent:") {
                return refuse("spawnedBy is only supported for subagent:* sessions");
            }
            if entry.spawned_by.as_deref().is_some_and(|known| known != text) {
                return refuse("spawnedBy cannot be changed once set");
            }
            entry.spawned_by = Some(text.to_owned());
            Ok(())
        }
    }
}

fn label(entry: &mut SessionEntry, patch: &PatchParams) -> Outcome {
    match &patch.label {
        None => {}
        Some(None) => entry.label = None,
        Some(Some(text)) => entry.label = Some(label_of(text)?),
    }
    Ok(())
}

/// A label as it is kept.
///
/// # Errors
/// It is empty or too long.
pub fn label_of(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("invalid label: empty".to_owned());
    }
    if text.chars().count() > MAX_LABEL {
        return Err(format!("invalid label: too long (max {MAX_LABEL})"));
    }
    Ok(text.to_owned())
}

fn exec_node(entry: &mut SessionEntry, patch: &PatchParams) -> Outcome {
    match patch.exec_node.as_ref().map(|node| node.as_deref().map(str::trim)) {
        None => {}
        Some(None) => entry.exec_node = None,
        Some(Some("")) => return Err("invalid execNode: empty".to_owned()),
        Some(Some(node)) => entry.exec_node = Some(node.to_owned()),
    }
    Ok(())
}

fn model(entry: &mut SessionEntry, patch: &PatchParams, models: &ModelRules) -> Outcome {
    let chosen = match &patch.model {
        None => return Ok(()),
        Some(None) => None,
        Some(Some(text)) => models.choose(text)?,
    };
    let before = (entry.provider_override.take(), entry.model_override.take());
    if let Some((provider, model)) = chosen {
        entry.provider_override = Some(provider);
        entry.model_override = Some(model);
    }
    if before != (entry.provider_override.clone(), entry.model_override.clone()) {
        // What was chosen and measured for the old model says nothing of the new one.
        entry.auth_profile_override = None;
        entry.auth_profile_override_source = None;
        entry.auth_profile_override_compaction_count = None;
        entry.model_provider = None;
        entry.model = None;
        entry.context_tokens = None;
    }
    Ok(())
}

fn xhigh(entry: &mut SessionEntry, patch: &PatchParams, models: &ModelRules) -> Outcome {
    let name = entry_model(&entry.model_override, &entry.provider_override, models);
    if entry.thinking_level.as_deref() != Some("xhigh") || levels::knows_xhigh(name.provider.as_deref(), name.model.as_deref()) {
        return Ok(());
    }
    if patch.thinking_level.is_some() {
        let (last, first) = XHIGH_MODELS.split_last().unwrap_or((&"", &[]));
        return Err(format!("thinkingLevel \"xhigh\" is only supported for {} or {last}", first.join(", ")));
    }
    // Another model was chosen: the most that it knows.
    entry.thinking_level = Some("high".to_owned());
    Ok(())
}

fn thinking_words(model: ModelName) -> String {
    let words: &[&str] = &["off", "minimal", "low", "medium", "high", "xhigh"];
    let most = if levels::knows_xhigh(model.provider.as_deref(), model.model.as_deref()) { words.len() } else { words.len() - 1 };
    invalid("thinkingLevel", words.get(..most).unwrap_or(words))
}

fn entry_model(model: &Option<String>, provider: &Option<String>, models: &ModelRules) -> ModelName {
    match model {
        Some(model) => ModelName { provider: provider.clone(), model: Some(model.clone()) },
        None => models.default.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const SUB: &str = "agent:main:subagent:1";

    fn patched(entry: &SessionEntry, key: &str, patch: Value) -> Result<SessionEntry, String> {
        let mut patch = patch;
        patch["key"] = json!(key);
        let models = ModelRules {
            allowed: vec!["a/large".to_owned(), "openai/gpt-5.2".to_owned()],
            default: ModelName::of(Some("a/large")),
            ..ModelRules::default()
        };
        let mut entry = entry.clone();
        apply(&mut entry, key, &serde_json::from_value(patch).unwrap(), &models, 9)?;
        Ok(entry)
    }

    fn refusal(key: &str, patch: Value) -> String {
        patched(&SessionEntry::default(), key, patch).unwrap_err()
    }

    #[test]
    fn absent_stays_null_clears_and_off_is_none_where_it_is_the_same() {
        let all = json!({"thinkingLevel": "high", "verboseLevel": "off", "reasoningLevel": "stream", "responseUsage": "on", "elevatedLevel": "off", "label": " a "});
        let full = patched(&SessionEntry::default(), "agent:main:x", all).unwrap();
        let seen = |entry: &SessionEntry| {
            [
                &entry.thinking_level,
                &entry.verbose_level,
                &entry.reasoning_level,
                &entry.response_usage,
                &entry.elevated_level,
                &entry.label,
            ]
            .map(|field| field.clone().unwrap_or_default())
        };
        assert_eq!(seen(&full), ["high", "off", "stream", "tokens", "off", "a"]);
        assert_eq!(seen(&patched(&full, "agent:main:x", json!({})).unwrap()), seen(&full));
        let off = json!({"thinkingLevel": "off", "reasoningLevel": "off", "responseUsage": "off", "elevatedLevel": null, "label": null, "verboseLevel": null});
        assert_eq!(seen(&patched(&full, "agent:main:x", off).unwrap()), ["", "", "", "", "", ""]);
        assert_eq!(full.updated_at, 9);
    }

    #[test]
    fn words_that_are_none_are_refused_with_those_that_are() {
        let of = |field: &str| refusal("agent:main:x", json!({ field: "perhaps" }));
        assert_eq!(of("thinkingLevel"), r#"invalid thinkingLevel (use "off"|"minimal"|"low"|"medium"|"high")"#);
        assert_eq!(of("verboseLevel"), r#"invalid verboseLevel (use "on"|"off"|"full")"#);
        assert_eq!(of("reasoningLevel"), r#"invalid reasoningLevel (use "on"|"off"|"stream")"#);
        assert_eq!(of("responseUsage"), r#"invalid responseUsage (use "off"|"tokens"|"full")"#);
        assert_eq!(of("elevatedLevel"), r#"invalid elevatedLevel (use "on"|"off"|"ask"|"full")"#);
        assert_eq!(of("execHost"), r#"invalid execHost (use "sandbox"|"gateway"|"node")"#);
        assert_eq!(of("execSecurity"), r#"invalid execSecurity (use "deny"|"allowlist"|"full")"#);
        assert_eq!(of("execAsk"), r#"invalid execAsk (use "off"|"on-miss"|"always")"#);
        assert_eq!(of("sendPolicy"), r#"invalid sendPolicy (use "allow"|"deny")"#);
        assert_eq!(of("groupActivation"), r#"invalid groupActivation (use "mention"|"always")"#);
        assert_eq!(of("model"), "model not allowed: a/perhaps");
        assert_eq!(refusal("agent:main:x", json!({"label": " "})), "invalid label: empty");
        assert_eq!(refusal("agent:main:x", json!({"label": "x".repeat(65)})), "invalid label: too long (max 64)");
        assert_eq!(refusal("agent:main:x", json!({"execNode": ""})), "invalid execNode: empty");
    }

    #[test]
    fn who_started_a_session_is_said_once_and_only_of_sub_agents() {
        assert_eq!(refusal("agent:main:x", json!({"spawnedBy": "agent:main:main"})), "spawnedBy is only supported for subagent:* sessions");
        assert_eq!(refusal(SUB, json!({"spawnedBy": " "})), "invalid spawnedBy: empty");
        let set = patched(&SessionEntry::default(), SUB, json!({"spawnedBy": "agent:main:main"})).unwrap();
        assert!(patched(&set, SUB, json!({"spawnedBy": "agent:main:main"})).is_ok());
        assert_eq!(patched(&set, SUB, json!({"spawnedBy": "other"})).unwrap_err(), "spawnedBy cannot be changed once set");
        assert_eq!(patched(&set, SUB, json!({"spawnedBy": null})).unwrap_err(), "spawnedBy cannot be cleared once set");
    }

    #[test]
    fn a_model_is_chosen_and_given_up_and_the_highest_level_follows_it() {
        let chosen = patched(
            &SessionEntry { model: Some("old".to_owned()), ..SessionEntry::default() },
            SUB,
            json!({"model": "openai/gpt-5.2", "thinkingLevel": "xhigh"}),
        )
        .unwrap();
        assert_eq!(
            (chosen.model_override.as_deref(), chosen.provider_override.as_deref(), &chosen.model),
            (Some("gpt-5.2"), Some("openai"), &None)
        );
        for back in [json!({"model": null}), json!({"model": "a/large"})] {
            let default = patched(&chosen, SUB, back).unwrap();
            assert_eq!((default.model_override, default.thinking_level.as_deref()), (None, Some("high")));
        }
        assert!(
            refusal(SUB, json!({"thinkingLevel": "xhigh"})).starts_with("thinkingLevel \"xhigh\" is only supported for openai/gpt-5.2, ")
        );
    }

    proptest! {
        #[test]
        fn any_text_in_any_field_is_taken_or_refused_in_words(field in 0usize..14, text in "\\PC{0,80}") {
            let fields = ["label", "thinkingLevel", "verboseLevel", "reasoningLevel", "responseUsage", "elevatedLevel", "execHost", "execSecurity", "execAsk", "execNode", "model", "spawnedBy", "sendPolicy", "groupActivation"];
            if let Err(text) = patched(&SessionEntry::default(), SUB, json!({ fields[field]: text })) {
                prop_assert!(!text.is_empty());
            }
        }
    }
}
