//! The nearest valid name to a misspelt one.

/// The candidate that the word was most likely meant to be; `None` when all are far off.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let folded = fold(word);
    let mut best: Option<(usize, &str)> = None;
    let mut part = None;
    for candidate in candidates {
        let other = fold(candidate);
        let distance = strsim::damerau_levenshtein(&folded, &other);
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
        if is_part(&folded, &other) {
            part.get_or_insert(candidate);
        }
    }
    // One slip in a short word, two in a longer one, three in a long one; then the whole of which it is a part.
    let slips = (folded.chars().count() / 3).clamp(1, 3);
    best.filter(|(distance, _)| *distance <= slips && !folded.is_empty()).map(|(_, candidate)| candidate).or(part)
}

/// Case, hyphens and underscores are what people get wrong most.
fn fold(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

fn is_part(word: &str, candidate: &str) -> bool {
    word.chars().count() >= 4 && (candidate.starts_with(word) || candidate.ends_with(word) || word.starts_with(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_other_spellings_are_found() {
        let names = ["port", "bind", "trustedProxies", "dmScope", "timeoutSeconds"];
        for (word, wanted) in [
            ("prot", "port"),
            ("trusted_proxies", "trustedProxies"),
            ("dmscope", "dmScope"),
            ("timeout", "timeoutSeconds"),
            ("binds", "bind"),
        ] {
            assert_eq!(nearest(word, names), Some(wanted));
        }
    }

    #[test]
    fn something_else_entirely_has_no_neighbour() {
        for word in ["zebra", "", "xy"] {
            assert_eq!(nearest(word, ["port", "trustedProxies"]), None, "{word}");
        }
        assert_eq!(nearest("x", []), None);
    }
}
