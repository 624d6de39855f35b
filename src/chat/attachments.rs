//! Attachments of a message: decoded, measured, and named after what their bytes are. Pure; [`super::media`] writes them down.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most attachments of one message.
pub const MAX_COUNT: usize = 32;
/// Largest image, in bytes, as hello announces it.
pub const MAX_IMAGE_BYTES: usize = 6_291_456;

/// A file sent with a message. Other keys are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `image`, `file`, …; the bytes decide.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its media type; the bytes decide where they say what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// Its bytes: base64, or a data URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// How large attachments may be, in bytes: `policy.attachments` of hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Any attachment, and all of a message together.
    pub max_bytes: usize,
    /// An image.
    pub max_image_bytes: usize,
}

impl Limits {
    /// What fits into messages of at most `max_payload` bytes.
    #[must_use]
    pub const fn of_payload(max_payload: usize) -> Self {
        Self { max_bytes: max_payload / 4 * 3, max_image_bytes: MAX_IMAGE_BYTES }
    }
}

/// A decoded attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// A name that can be that of a file.
    pub name: String,
    /// Its media type.
    pub mime: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, hexadecimal.
    pub sha256: String,
}

/// Why an attachment is not taken; one line for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than [`MAX_COUNT`].
    #[error("more than {MAX_COUNT} attachments")]
    TooMany,
    /// Together larger than a message may be.
    #[error("attachments exceed the size limit together ({0} > {1} bytes)")]
    TooLargeTogether(usize, usize),
    /// No `content`.
    #[error("attachment {0}: content must be base64 string")]
    NoContent(String),
    /// Not base64.
    #[error("attachment {0}: invalid base64 content")]
    NotBase64(String),
    /// No bytes.
    #[error("attachment {0}: is empty")]
    Empty(String),
    /// Too large.
    #[error("attachment {0}: exceeds size limit ({1} > {2} bytes)")]
    TooLarge(String, usize, usize),
}

/// Decodes the attachments of a message.
///
/// # Errors
/// The first one that is not acceptable.
pub fn decode(attachments: &[Attachment], limits: Limits) -> Result<Vec<Decoded>, Refusal> {
    if attachments.len() > MAX_COUNT {
        return Err(Refusal::TooMany);
    }
    let mut all = 0;
    let mut decoded = Vec::with_capacity(attachments.len());
    for (n, attachment) in attachments.iter().enumerate() {
        let one = decode_one(n, attachment, limits)?;
        all += one.bytes.len();
        if all > limits.max_bytes {
            return Err(Refusal::TooLargeTogether(all, limits.max_bytes));
        }
        decoded.push(one);
    }
    Ok(decoded)
}

fn decode_one(n: usize, attachment: &Attachment, limits: Limits) -> Result<Decoded, Refusal> {
    let label = || attachment.file_name.as_deref().map_or_else(|| (n + 1).to_string(), |name| crate::transcript::glance::cut(name, 80));
    let content = attachment.content.as_deref().map(str::trim).ok_or_else(|| Refusal::NoContent(label()))?;
    let (of_url, text) = match content.strip_prefix("data:") {
        None => (None, content),
        Some(url) => {
            let (head, text) = url.split_once(',').ok_or_else(|| Refusal::NotBase64(label()))?;
            let mime = head.strip_suffix(";base64").ok_or_else(|| Refusal::NotBase64(label()))?;
            (mime.split(';').next().filter(|mime| !mime.is_empty()), text)
        }
    };
    let about = text.len() / 4 * 3;
    if about > limits.max_bytes.saturating_add(3) {
        return Err(Refusal::TooLarge(label(), about, limits.max_bytes));
    }
    let bytes = base64_bytes(text).ok_or_else(|| Refusal::NotBase64(label()))?;
    if bytes.is_empty() {
        return Err(Refusal::Empty(label()));
    }
    let declared = attachment.mime_type.as_deref().or(of_url);
    let mime = mime_of(&bytes, declared);
    let max = if mime.starts_with("image/") { limits.max_image_bytes.min(limits.max_bytes) } else { limits.max_bytes };
    if bytes.len() > max {
        return Err(Refusal::TooLarge(label(), bytes.len(), max));
    }
    let name = file_name(attachment.file_name.as_deref(), n, &mime);
    let sha256 = hex(digest(&SHA256, &bytes).as_ref());
    Ok(Decoded { name, mime, bytes, sha256 })
}

/// Reads base64 in both alphabets, with or without padding and line ends.
fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let compact: std::borrow::Cow<'_, str> = if text.contains(|c: char| c.is_ascii_whitespace()) {
        text.split_ascii_whitespace().collect::<String>().into()
    } else {
        text.into()
    };
    let alphabet = if compact.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(compact.as_ref()).ok()
}

/// Beginnings of files that say what they are: offset, bytes, media type, usual ending.
const MAGIC: &[(usize, &[u8], &str)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypheix", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypqt  ", "video/quicktime"),
    (4, b"ftypM4A ", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
];

/// Media types and the endings of their files' names.
const ENDINGS: &[(&str, &str)] = &[
    ("image/jpeg", "jpg"),
    ("image/svg+xml", "svg"),
    ("image/tiff", "tif"),
    ("video/quicktime", "mov"),
    ("audio/mpeg", "mp3"),
    ("audio/mp4", "m4a"),
    ("application/gzip", "gz"),
    ("application/x-7z-compressed", "7z"),
    ("application/x-xz", "xz"),
    ("application/zstd", "zst"),
    ("application/vnd.sqlite3", "sqlite"),
    ("application/octet-stream", "bin"),
    ("application/x-executable", "bin"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
];

/// What the bytes say they are.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Option<&'static str> {
    // A container of several things says itself what it holds; the first letters alone would be taken for text.
    let riff = bytes.starts_with(b"RIFF");
    let fits = |(at, magic, _): &&(usize, &[u8], &str)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)) && (*at != 8 || riff);
    MAGIC.iter().find(fits).map(|(_, _, mime)| *mime)
}

/// The media type: what the bytes say; else what was said, unless it is something that the bytes would have to show; else text or bytes.
fn mime_of(bytes: &[u8], declared: Option<&str>) -> String {
    if let Some(mime) = sniff(bytes) {
        return mime.to_owned();
    }
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'));
    let declared = declared.map(|mime| mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let known = |mime: &String| MAGIC.iter().any(|(_, _, known)| *known == mime.as_str());
    let plain = |mime: &String| {
        let mut parts = mime.split('/');
        let word = |part: Option<&str>| {
            part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b)))
        };
        word(parts.next()) && word(parts.next()) && parts.next().is_none() && mime.len() <= 100
    };
    let believable = |mime: &String| {
        let image = mime.starts_with("image/") && !(mime == "image/svg+xml" && is_text);
        plain(mime) && !known(mime) && !image && (is_text || !mime.starts_with("text/"))
    };
    declared.filter(believable).unwrap_or_else(|| if is_text { "text/plain" } else { "application/octet-stream" }.to_owned())
}

/// A name that leads nowhere: the last part of what was said, without anything a shell or a terminal would trip over.
fn file_name(said: Option<&str>, n: usize, mime: &str) -> String {
    let last = said.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let mut name: String = last.trim().trim_start_matches('.').chars().map(safe).collect();
    name.truncate(name.floor_char_boundary(100));
    if name.trim_matches('_').is_empty() {
        name = format!("attachment-{}", n + 1);
    }
    if !name.contains('.') {
        let usual = ENDINGS.iter().find(|(known, _)| *known == mime).map(|(_, ending)| *ending);
        name = format!("{name}.{}", usual.or_else(|| mime.rsplit('/').next()).unwrap_or("bin"));
    }
    name
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_bytes: 1000, max_image_bytes: 100 };
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n....";

    fn base64(bytes: &[u8]) -> String {
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    fn attachment(name: &str, mime: &str, content: &str) -> Attachment {
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Attachment { kind: None, mime_type: said(mime), file_name: said(name), content: Some(content.to_owned()) }
    }

    fn one(name: &str, mime: &str, content: &str) -> Result<Decoded, Refusal> {
        decode(&[attachment(name, mime, content)], LIMITS).map(|mut all| all.remove(0))
    }

    #[test]
    fn the_bytes_decide_what_an_attachment_is() {
        let png = one("a.txt", "text/plain", &base64(PNG)).unwrap();
        assert_eq!((png.mime.as_str(), png.name.as_str(), png.bytes.as_slice()), ("image/png", "a.txt", PNG));
        assert_eq!(one("", "image/png", &base64(b"not an image")).unwrap().mime, "text/plain");
        assert_eq!(one("", "image/png", &base64(&[0, 159, 1])).unwrap().mime, "application/octet-stream");
        assert_eq!(one("", "text/csv; charset=utf-8", &base64(b"a,b")).unwrap().mime, "text/csv");
        assert_eq!(one("", "nonsense", &base64(b"a,b")).unwrap().mime, "text/plain");
        assert_eq!(one("", "application/json", &base64(b"{}")).unwrap().name, "attachment-1.json");
        assert_eq!(sniff(b"RIFF....WEBPVP8 "), Some("image/webp"));
        assert_eq!(sniff(b"........WEBP"), None);
        assert_eq!(one("", "", &base64(PNG)).unwrap().sha256.len(), 64);
    }

    #[test]
    fn content_is_base64_in_any_usual_spelling_or_a_data_url() {
        let bytes = [251, 255, 190, 1];
        for content in ["+/++AQ==", "+/++AQ", "-_--AQ", "+/+\n+AQ\r\n==", "data:application/x-y;base64,+/++AQ=="] {
            assert_eq!(one("", "", content).unwrap().bytes, bytes, "{content}");
        }
        assert_eq!(one("", "", "data:application/x-y;base64,+/++AQ==").unwrap().mime, "application/x-y");
        for content in ["$$$", "data:text/plain,hello", "data:text/plain;base64", "+/+-AQ"] {
            assert_eq!(one("a.bin", "", content).unwrap_err().to_string(), "attachment a.bin: invalid base64 content", "{content}");
        }
        assert_eq!(one("", "", " ").unwrap_err().to_string(), "attachment 1: is empty");
        let none = decode(&[Attachment::default()], LIMITS).unwrap_err();
        assert_eq!(none.to_string(), "attachment 1: content must be base64 string");
    }

    #[test]
    fn defect_17_limits_are_those_announced_and_the_answer_names_them() {
        assert!(one("", "", &base64(&[b'x'; 1000])).is_ok());
        let large = one("big.txt", "", &base64(&[b'x'; 1001])).unwrap_err();
        assert_eq!(large.to_string(), "attachment big.txt: exceeds size limit (1001 > 1000 bytes)");
        let image = [PNG, &[0; 100]].concat();
        assert_eq!(one("i.png", "", &base64(&image)).unwrap_err(), Refusal::TooLarge("i.png".to_owned(), 112, 100));
        let half = attachment("", "", &base64(&[b'x'; 600]));
        assert_eq!(decode(&[half.clone(), half.clone()], LIMITS).unwrap_err(), Refusal::TooLargeTogether(1200, 1000));
        assert_eq!(decode(&vec![half; MAX_COUNT + 1], LIMITS).unwrap_err(), Refusal::TooMany);
        assert_eq!(Limits::of_payload(26_214_400).max_bytes, 19_660_800);
    }

    #[test]
    fn names_lead_nowhere_and_hide_nothing() {
        let name = |said: &str| one(said, "text/plain", &base64(b"x")).unwrap().name;
        for (said, safe) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd.txt"),
            ("C:\\temp\\a b.txt", "a_b.txt"),
            (".bashrc", "bashrc.txt"),
            ("a\n\u{1b}[31m;rm -rf.txt", "a___31m_rm_-rf.txt"),
            ("..", "attachment-1.txt"),
            ("$(x)", "__x_.txt"),
            ("Übersicht.md", "Übersicht.md"),
        ] {
            assert_eq!(name(said), safe, "{said:?}");
        }
        assert!(name(&"é".repeat(200)).len() <= 110);
    }
}
