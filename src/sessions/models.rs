//! Which models a session may choose. Pure.

/// A model by its two names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelName {
    /// The provider, if the name has one.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
}

impl ModelName {
    /// The parts of `provider/model` or `model`.
    #[must_use]
    pub fn of(name: Option<&str>) -> Self {
        match name.map(|name| name.split_once('/').ok_or(name)) {
            None => Self::default(),
            Some(Ok((provider, model))) => Self { provider: Some(provider.to_owned()), model: Some(model.to_owned()) },
            Some(Err(model)) => Self { provider: None, model: Some(model.to_owned()) },
        }
    }
}

/// What the configuration says of models.
#[derive(Clone, Debug, Default)]
pub struct ModelRules {
    /// `provider/model` of those that may be chosen; empty = any.
    pub allowed: Vec<String>,
    /// Short names and what they stand for.
    pub aliases: Vec<(String, String)>,
    /// The model of sessions that choose none.
    pub default: ModelName,
}

impl ModelRules {
    /// The model that `text` chooses; none = the default one.
    ///
    /// # Errors
    /// One line for the client.
    pub fn choose(&self, text: &str) -> Result<Option<(String, String)>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("invalid model: empty".to_owned());
        }
        let of_alias = self.aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(text));
        let full = of_alias.map_or_else(|| self.full_name(text), |(_, name)| Some(name.clone()));
        let parts =
            full.as_deref().and_then(|name| name.split_once('/')).filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
        let Some((provider, model)) = parts else { return Err(format!("invalid model: {text}")) };
        let same = |known: &str| known.eq_ignore_ascii_case(&format!("{provider}/{model}"));
        if self.default.provider.as_deref() == Some(provider) && self.default.model.as_deref() == Some(model) {
            return Ok(None);
        }
        if !self.allowed.is_empty() && !self.allowed.iter().any(|known| same(known)) {
            return Err(format!("model not allowed: {provider}/{model}"));
        }
        Ok(Some((provider.to_owned(), model.to_owned())))
    }

    /// A name without a provider is the one allowed model of that name, else one of the default model's provider.
    fn full_name(&self, text: &str) -> Option<String> {
        if text.contains('/') {
            return Some(text.to_owned());
        }
        let mut known = self.allowed.iter().filter(|name| name.split_once('/').is_some_and(|(_, model)| model.eq_ignore_ascii_case(text)));
        match (known.next(), known.next()) {
            (Some(one), None) => Some(one.clone()),
            _ => self.default.provider.as_ref().map(|provider| format!("{provider}/{text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allowed: &[&str]) -> ModelRules {
        ModelRules {
            allowed: allowed.iter().map(|name| (*name).to_owned()).collect(),
            aliases: vec![("Fast".to_owned(), "b/small".to_owned())],
            default: ModelName::of(Some("a/large")),
        }
    }

    fn some(provider: &str, model: &str) -> Result<Option<(String, String)>, String> {
        Ok(Some((provider.to_owned(), model.to_owned())))
    }

    #[test]
    fn names_aliases_and_bare_names_choose_a_model() {
        let rules = rules(&["a/large", "b/small", "b/x/y"]);
        assert_eq!(rules.choose("b/small"), some("b", "small"));
        assert_eq!(rules.choose(" fast "), some("b", "small"));
        assert_eq!(rules.choose("small"), some("b", "small"));
        assert_eq!(rules.choose("b/x/y"), some("b", "x/y"));
        assert_eq!((rules.choose("a/large"), rules.choose("large")), (Ok(None), Ok(None)), "the default needs no choice");
    }

    #[test]
    fn what_is_not_allowed_or_no_name_is_refused() {
        let rules = rules(&["a/large"]);
        assert_eq!(rules.choose("b/other"), Err("model not allowed: b/other".to_owned()));
        assert_eq!(rules.choose(" "), Err("invalid model: empty".to_owned()));
        assert_eq!((rules.choose("/x"), rules.choose("x/")), (Err("invalid model: /x".to_owned()), Err("invalid model: x/".to_owned())));
        assert_eq!(ModelRules::default().choose("bare"), Err("invalid model: bare".to_owned()));
        assert_eq!(ModelRules::default().choose("any/thing"), some("any", "thing"));
    }
}
