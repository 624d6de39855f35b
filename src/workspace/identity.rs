//! What an agent says of itself in `IDENTITY.md`: lines such as `- **Name:** Koi`.

use std::path::Path;

use super::beneath::Dir;

/// Largest file that is looked into, bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileIdentity {
    /// Its name.
    pub name: Option<String>,
    /// Its theme.
    pub theme: Option<String>,
    /// Its sign.
    pub emoji: Option<String>,
    /// Its picture.
    pub avatar: Option<String>,
}

/// Reads the file of a workspace; nothing if it cannot be read.
#[must_use]
pub fn read(workspace: &Path) -> FileIdentity {
    let text = Dir::open(workspace).and_then(|dir| dir.read(Path::new("IDENTITY.md"), MAX_BYTES));
    text.ok().flatten().map(|(bytes, _)| parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
}

/// What a text says. The last line of a kind decides, so that one that was added later wins; an empty one and one that only holds an example say nothing.
#[must_use]
pub fn parse(text: &str) -> FileIdentity {
    let mut found = FileIdentity::default();
    for line in text.lines() {
        let line = line.trim().trim_start_matches("- ").trim_start_matches("* ");
        let Some((label, value)) = line.split_once(':') else { continue };
        let value = value.trim().trim_matches(['*', '_', '`']).trim();
        if value.is_empty() || value.starts_with('(') || value.starts_with('<') {
            continue;
        }
        let place = match label.trim().trim_matches(['*', '_']).to_lowercase().as_str() {
            "name" => &mut found.name,
            "theme" | "vibe" => &mut found.theme,
            "emoji" => &mut found.emoji,
            "avatar" => &mut found.avatar,
            _ => continue,
        };
        *place = Some(value.to_owned());
    }
    found
}

/// A text with these lines added at its end; those that are none are left out.
#[must_use]
pub fn with_lines(text: &str, lines: &[(&str, Option<&str>)]) -> String {
    let mut text = text.trim_end().to_owned();
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    for (label, value) in lines {
        if let Some(value) = value {
            let one_line: Vec<&str> = value.split_whitespace().collect();
            text.push_str(&format!("- {label}: {}\n", one_line.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_however_they_are_marked() {
        let text = "# Identity\n\n- **Name:** Koi\n* Emoji: 🐟\nAvatar : `avatars/koi.png`\n- _Vibe_: calm\n- Creature: fish\nNotes: x\n- Theme: (pick one)\n";
        let expected = FileIdentity {
            name: Some("Koi".into()),
            theme: Some("calm".into()),
            emoji: Some("🐟".into()),
            avatar: Some("avatars/koi.png".into()),
        };
        assert_eq!(parse(text), expected);
        assert_eq!(parse("- Name:\n- Emoji: <one>\nnonsense"), FileIdentity::default());
    }

    #[test]
    fn what_is_added_later_wins_and_cannot_bring_lines_of_its_own() {
        let text = with_lines("- Name: Old\n", &[("Name", Some("New\n- Emoji: x")), ("Emoji", None), ("Avatar", Some("a.png"))]);
        let found = parse(&text);
        assert_eq!((found.name.as_deref(), found.emoji, found.avatar.as_deref()), (Some("New - Emoji: x"), None, Some("a.png")));
        assert_eq!(with_lines("", &[("Name", Some("A"))]), "- Name: A\n");
    }

    #[test]
    fn the_file_of_a_workspace_is_read_and_a_missing_one_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), FileIdentity::default());
        std::fs::write(dir.path().join("IDENTITY.md"), "Name: A").unwrap();
        assert_eq!(read(dir.path()).name.as_deref(), Some("A"));
        assert_eq!(read(&dir.path().join("none")), FileIdentity::default());
    }
}
