//! Takes out of a user's text what was put in for the model: the time in front and the hints with message ids.

use std::borrow::Cow;

/// The text as the user wrote it: without a leading `[Sat 2026-11-21 07:00 UTC] ` or channel envelope, and without `[message_id: …]` hints.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let text = without_envelope(text);
    if !text.contains("[message_id:") {
        return Cow::Borrowed(text);
    }
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let kept = without_hint(line);
        // A line that was nothing but the hint goes as a whole.
        if kept.len() == line.len() || !kept.trim().is_empty() {
            lines.push(kept);
        }
    }
    Cow::Owned(lines.join("\n").trim_end().to_owned())
}

/// Cuts a hint off the end of a line, or off a line that is nothing else.
fn without_hint(line: &str) -> &str {
    let Some(body) = line.trim_end().strip_suffix(']') else { return line };
    match body.rfind("[message_id:") {
        Some(at) if body.get(at..).is_some_and(|hint| !hint.contains(']')) => line.get(..at).unwrap_or_default().trim_end(),
        _ => line,
    }
}

/// Cuts off `[…] ` in front if it names a day and a time, as what the gateway and channels put there does.
fn without_envelope(text: &str) -> &str {
    let trimmed = text.trim_start();
    let Some((inside, rest)) = trimmed.strip_prefix('[').and_then(|text| text.split_once(']')) else { return text };
    let names_time = !inside.contains('\n') && inside.len() <= 200 && has_time(inside.as_bytes());
    if names_time && !rest.trim().is_empty() { rest.trim_start_matches(' ') } else { text }
}

/// Whether `yyyy-mm-dd hh:mm` (or with a `T`) stands in it.
fn has_time(text: &[u8]) -> bool {
    const FORM: &[u8] = b"0000-00-00 00:00";
    text.windows(FORM.len()).any(|window| {
        window.iter().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            b' ' => matches!(byte, b' ' | b'T'),
            form => byte == form,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defect_32_the_injected_time_and_message_ids_are_taken_out() {
        assert_eq!(clean("[Sat 2026-11-21 07:00 UTC] df -h"), "df -h");
        assert_eq!(clean("[WebChat user +5m 2026-11-21T07:00Z] hello\n[message_id: 7f3a]"), "hello");
        assert_eq!(clean("hello [message_id: 7f3a]"), "hello");
        assert_eq!(clean("a\n[message_id: 1]\nb"), "a\nb");
    }

    #[test]
    fn what_the_user_wrote_stays() {
        for text in [
            "[ -f /etc/passwd ] && echo yes",
            "[note] x",
            "  indented",
            "a [message_id: x] b",
            "[2026-11-21 07:00]",
            "",
            "\n\n",
            "[[ a ]]",
            "[message_id:",
        ] {
            assert_eq!(clean(text), text);
        }
    }
}
