//! The words for levels and modes, with the spellings that people use. Pure.

/// How much a model thinks.
#[must_use]
pub fn thinking(text: &str) -> Option<&'static str> {
    Some(match plain(text).as_str() {
        "off" => "off",
        "minimal" | "min" | "think" => "minimal",
        "low" | "on" | "enable" | "enabled" | "thinkhard" => "low",
        "medium" | "mid" | "med" | "thinkharder" | "harder" => "medium",
        "high" | "ultra" | "ultrathink" | "thinkhardest" | "highest" | "max" => "high",
        "xhigh" | "extrahigh" => "xhigh",
        _ => return None,
    })
}

/// How much is told of tools.
#[must_use]
pub fn verbose(text: &str) -> Option<&'static str> {
    Some(match plain(text).as_str() {
        "off" | "false" | "no" | "0" => "off",
        "on" | "true" | "yes" | "1" | "minimal" => "on",
        "full" | "all" | "everything" => "full",
        _ => return None,
    })
}

/// Whether front ends show thoughts.
#[must_use]
pub fn reasoning(text: &str) -> Option<&'static str> {
    Some(match plain(text).as_str() {
        "off" | "false" | "no" | "0" | "hide" | "hidden" | "disable" | "disabled" => "off",
        "on" | "true" | "yes" | "1" | "show" | "visible" | "enable" | "enabled" => "on",
        "stream" | "streaming" | "draft" | "live" => "stream",
        _ => return None,
    })
}

/// Kept for front ends; it permits nothing here.
#[must_use]
pub fn elevated(text: &str) -> Option<&'static str> {
    Some(match plain(text).as_str() {
        "off" | "false" | "no" | "0" => "off",
        "on" | "true" | "yes" | "1" => "on",
        "ask" | "prompt" | "approval" | "approve" => "ask",
        "full" | "auto" | "autoapprove" => "full",
        _ => return None,
    })
}

/// What stands below an answer of what it used.
#[must_use]
pub fn usage(text: &str) -> Option<&'static str> {
    Some(match plain(text).as_str() {
        "off" | "false" | "no" | "0" | "disable" | "disabled" => "off",
        "on" | "true" | "yes" | "1" | "enable" | "enabled" | "tokens" | "token" | "tok" | "minimal" | "min" => "tokens",
        "full" | "session" => "full",
        _ => return None,
    })
}

/// The word of `known` that the text is, in any case.
#[must_use]
pub fn one_of(text: &str, known: &[&'static str]) -> Option<&'static str> {
    let text = text.trim().to_lowercase();
    known.iter().find(|word| **word == text).copied()
}

/// Models that know the level `xhigh`.
pub const XHIGH_MODELS: [&str; 6] = [
    "openai/gpt-5.2",
    "openai-codex/gpt-5.3-codex",
    "openai-codex/gpt-5.2-codex",
    "openai-codex/gpt-5.1-codex",
    "github-copilot/gpt-5.2-codex",
    "github-copilot/gpt-5.2",
];

/// Whether a model knows the level `xhigh`.
#[must_use]
pub fn knows_xhigh(provider: Option<&str>, model: Option<&str>) -> bool {
    let Some(model) = model.map(str::to_lowercase) else { return false };
    XHIGH_MODELS.iter().any(|known| match (known.split_once('/'), provider) {
        (Some((by, name)), Some(provider)) => by.eq_ignore_ascii_case(provider) && name == model,
        (Some((_, name)), None) => name == model,
        _ => false,
    })
}

/// Lower case, without what people put between the parts of a word.
fn plain(text: &str) -> String {
    text.trim().to_lowercase().chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_level_are_one_word() {
        assert_eq!(
            (thinking("X-High"), thinking(" MAX "), thinking("on"), thinking("much")),
            (Some("xhigh"), Some("high"), Some("low"), None)
        );
        assert_eq!(
            (verbose("all"), reasoning("draft"), elevated("auto-approve"), usage("on")),
            (Some("full"), Some("stream"), Some("full"), Some("tokens"))
        );
        assert_eq!((one_of(" On-Miss", &["off", "on-miss"]), one_of("onmiss", &["on-miss"])), (Some("on-miss"), None));
    }

    #[test]
    fn only_some_models_know_xhigh() {
        assert!(knows_xhigh(Some("OpenAI"), Some("gpt-5.2")) && knows_xhigh(None, Some("gpt-5.2")));
        assert!(!knows_xhigh(Some("anthropic"), Some("gpt-5.2")) && !knows_xhigh(Some("openai"), None));
    }
}
