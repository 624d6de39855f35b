//! Texts cut to what a model is given: the beginning and the end stay, and what is left out is counted.

/// Most bytes of a result.
pub(in crate::agent) const RESULT_BYTES: usize = 30 * 1024;

/// The text, or its beginning and end with a note between them, at most about `most` bytes.
pub(in crate::agent) fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let (head, tail) = (head(text, most / 2), tail(text, most / 2));
    format!("{head}\n[… {} bytes left out …]\n{tail}", text.len() - head.len() - tail.len())
}

/// The beginning, at most `most` bytes, ending with a line if one ends in its last half.
pub(in crate::agent) fn head(text: &str, most: usize) -> &str {
    let cut = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
    if cut.len() == text.len() {
        return text;
    }
    match cut.rfind('\n') {
        Some(at) if at >= cut.len() / 2 => cut.get(..at).unwrap_or(cut),
        _ => cut,
    }
}

/// The end, at most `most` bytes, beginning with a line if one begins in its first half.
pub(in crate::agent) fn tail(text: &str, most: usize) -> &str {
    let cut = text.get(text.ceil_char_boundary(text.len().saturating_sub(most))..).unwrap_or_default();
    if cut.len() == text.len() {
        return text;
    }
    match cut.find('\n') {
        Some(at) if at < cut.len() / 2 => cut.get(at + 1..).unwrap_or(cut),
        _ => cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end_by_lines() {
        let lines: Vec<String> = (0..10_000).map(|n| format!("line {n}")).collect();
        let text = bounded(&lines.join("\n"), 1000);
        assert!(text.len() < 1100 && text.starts_with("line 0\nline 1\n") && text.ends_with("\nline 9999"), "{text}");
        let middle = text.lines().find(|line| !line.starts_with("line ")).unwrap();
        assert!(middle.starts_with("[… ") && middle.ends_with(" bytes left out …]"), "{middle}");
        assert_eq!(bounded("short", 1000), "short");
    }

    proptest! {
        #[test]
        fn no_character_is_cut_and_the_count_is_right(text in "[a-zé😀\n]{0,200}", most in 0_usize..100) {
            let cut = bounded(&text, most);
            if text.len() > most {
                let (head, rest) = cut.split_once("\n[… ").unwrap();
                let (count, tail) = rest.split_once(" bytes left out …]\n").unwrap();
                prop_assert_eq!(count.parse::<usize>().unwrap() + head.len() + tail.len(), text.len());
                prop_assert!(text.starts_with(head) && text.ends_with(tail));
            } else {
                prop_assert_eq!(cut, text);
            }
        }
    }
}
