//! How long conversations of the built-in agent become shorter, as the configuration says it: summaries, and old results that are left out of what a model is sent.

use crate::agent::spec::{CompactionRules, PruningRules};
use crate::config::Config;
use crate::config::agent_parts::{CompactionMode, PruningMode};
use crate::config::cross::duration_ms;

/// How a long conversation is summarised.
pub(super) fn compaction(config: &Config) -> CompactionRules {
    let given = config.agents.defaults.compaction.clone().unwrap_or_default();
    let flush = given.memory_flush.unwrap_or_default();
    let plain = CompactionRules::default();
    CompactionRules {
        in_parts: given.mode != Some(CompactionMode::Default),
        reserve_tokens: given.reserve_tokens_floor.unwrap_or(plain.reserve_tokens),
        keep_share: given.max_history_share.unwrap_or(plain.keep_share),
        memory_flush: flush.enabled.unwrap_or(plain.memory_flush),
        flush_prompt: flush.prompt,
        flush_system: flush.system_prompt,
    }
}

/// What is left out of what a model is sent; none if nothing is.
pub(super) fn pruning(config: &Config) -> Option<PruningRules> {
    let given = config.agents.defaults.context_pruning.clone().filter(|given| given.mode == Some(PruningMode::CacheTtl))?;
    let plain = PruningRules::default();
    let count = |given: Option<u64>, plain: usize| given.map_or(plain, |given| usize::try_from(given).unwrap_or(usize::MAX));
    let (tools, soft, hard) = (given.tools.unwrap_or_default(), given.soft_trim.unwrap_or_default(), given.hard_clear.unwrap_or_default());
    let placeholder = hard.placeholder.or(plain.placeholder).filter(|_| hard.enabled != Some(false));
    Some(PruningRules {
        ttl_ms: given.ttl.as_deref().and_then(duration_ms).unwrap_or(plain.ttl_ms),
        keep_last_assistants: count(given.keep_last_assistants.map(u64::from), plain.keep_last_assistants),
        soft_trim_ratio: given.soft_trim_ratio.unwrap_or(plain.soft_trim_ratio),
        hard_clear_ratio: given.hard_clear_ratio.unwrap_or(plain.hard_clear_ratio),
        min_prunable_chars: given.min_prunable_tool_chars.unwrap_or(plain.min_prunable_chars),
        allow: tools.allow.unwrap_or_default(),
        deny: tools.deny.unwrap_or_default(),
        max_chars: count(soft.max_chars, plain.max_chars),
        head_chars: count(soft.head_chars, plain.head_chars),
        tail_chars: count(soft.tail_chars, plain.tail_chars),
        placeholder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(defaults: Value) -> (CompactionRules, Option<PruningRules>) {
        let config: Config = serde_json::from_value(json!({ "agents": { "defaults": defaults } })).unwrap();
        (compaction(&config), pruning(&config))
    }

    #[test]
    fn summaries_are_made_in_parts_unless_the_configuration_says_otherwise() {
        let mode = |compaction: Value| of(json!({ "compaction": compaction })).0.in_parts;
        assert!(mode(json!({})) && mode(json!({ "mode": "safeguard" })) && !mode(json!({ "mode": "default" })));
    }

    #[test]
    fn results_are_left_out_only_in_the_mode_that_says_so_and_each_key_has_its_default() {
        assert_eq!(of(json!({})).1, None);
        assert_eq!(of(json!({ "contextPruning": { "mode": "off", "ttl": "1h" } })).1, None);
        assert_eq!(of(json!({ "contextPruning": { "mode": "cache-ttl" } })).1, Some(PruningRules::default()));
        let all = json!({
            "mode": "cache-ttl", "ttl": "1h", "keepLastAssistants": 0, "softTrimRatio": 0.1, "hardClearRatio": 0.2,
            "minPrunableToolChars": 7, "tools": { "allow": ["exec"], "deny": ["read"] },
            "softTrim": { "maxChars": 3, "headChars": 2, "tailChars": 1 }, "hardClear": { "enabled": true, "placeholder": "gone" },
        });
        let wanted = PruningRules {
            ttl_ms: 3_600_000,
            keep_last_assistants: 0,
            soft_trim_ratio: 0.1,
            hard_clear_ratio: 0.2,
            min_prunable_chars: 7,
            allow: vec!["exec".into()],
            deny: vec!["read".into()],
            max_chars: 3,
            head_chars: 2,
            tail_chars: 1,
            placeholder: Some("gone".into()),
        };
        assert_eq!(of(json!({ "contextPruning": all })).1, Some(wanted));
        let off = of(json!({ "contextPruning": { "mode": "cache-ttl", "hardClear": { "enabled": false, "placeholder": "gone" } } }));
        assert_eq!(off.1.unwrap().placeholder, None);
    }
}
