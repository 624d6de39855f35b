//! Pictures of agents: a URL, an image file in the workspace, or a few letters.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::beneath::Dir;

/// Largest image that is shown, bytes.
const MAX_BYTES: u64 = 2 << 20;
/// Longest avatar that is text.
const MAX_LETTERS: usize = 4;

/// What an avatar's text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Avatar<'a> {
    /// An address or a data URL, as it stands.
    Url(&'a str),
    /// A path, from the workspace on.
    File(&'a str),
    /// A few letters, or a sign.
    Letters(&'a str),
}

/// What the text is; `None` if it cannot be shown.
#[must_use]
pub fn kind(text: &str) -> Option<Avatar<'_>> {
    let text = text.trim();
    let lower = text.get(..11).unwrap_or(text).to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") || lower.starts_with("data:image/") {
        return Some(Avatar::Url(text));
    }
    let is_image = text.rsplit_once('.').is_some_and(|(_, end)| mime(end).is_some());
    if text.contains("://") || text.starts_with("data:") || text.is_empty() {
        return None;
    }
    if is_image || text.contains('/') {
        return Some(Avatar::File(text));
    }
    let short = !text.chars().any(char::is_whitespace) && text.chars().count() <= MAX_LETTERS;
    short.then_some(Avatar::Letters(text))
}

/// The avatar as a URL: an address as it is, a file of the workspace as a data URL. None for letters, and for a file that is no image, too large, or not beneath the workspace.
#[must_use]
pub fn url(workspace: &Path, text: &str) -> Option<String> {
    match kind(text)? {
        Avatar::Url(url) => Some(url.to_owned()),
        Avatar::Letters(_) => None,
        Avatar::File(path) => {
            let mime = mime(path.rsplit_once('.')?.1)?;
            let (bytes, _) = Dir::open(workspace).ok()?.read(Path::new(path.trim_start_matches("./")), MAX_BYTES).ok()??;
            Some(format!("data:{mime};base64,{}", STANDARD.encode(bytes)))
        }
    }
}

fn mime(extension: &str) -> Option<&'static str> {
    Some(match extension.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "bmp" => "image/bmp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_avatar_is_an_address_a_file_or_letters() {
        for (text, expected) in [
            ("https://x/a.png", Some(Avatar::Url("https://x/a.png"))),
            ("DATA:image/png;base64,AA", Some(Avatar::Url("DATA:image/png;base64,AA"))),
            (" avatars/koi.png ", Some(Avatar::File("avatars/koi.png"))),
            ("koi.JPG", Some(Avatar::File("koi.JPG"))),
            ("🐟", Some(Avatar::Letters("🐟"))),
            ("KO", Some(Avatar::Letters("KO"))),
            ("too long", None),
            ("longer", None),
            ("", None),
            ("file:///etc/passwd", None),
            ("data:text/html,x", None),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn only_an_image_beneath_the_workspace_becomes_a_data_url() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().join("w");
        std::fs::create_dir(&workspace).unwrap();
        std::fs::write(workspace.join("a.png"), "abc").unwrap();
        std::fs::write(dir.path().join("b.png"), "out").unwrap();
        std::os::unix::fs::symlink("../b.png", workspace.join("c.png")).unwrap();
        std::fs::write(workspace.join("big.png"), vec![0; (MAX_BYTES + 1) as usize]).unwrap();
        assert_eq!(url(&workspace, "./a.png").as_deref(), Some("data:image/png;base64,YWJj"));
        for text in ["../b.png", "c.png", "big.png", "none.png", "KO", "/etc/hostname.png"] {
            assert_eq!(url(&workspace, text), None, "{text}");
        }
        assert_eq!(url(&workspace, "https://x/y").as_deref(), Some("https://x/y"));
    }
}
