//! The tool `read`: lines of a text file with their numbers, or a picture.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bound::RESULT_BYTES;
use super::{Call, Context, Given, Tool, always, plain};
use crate::agent::spec::AgentSpec;
use crate::model::Block;

/// The row.
pub(super) const TOOL: Tool = Tool {
    name: "read",
    group: "group:fs",
    reads_only: true,
    offered: always,
    describe,
    shown: plain,
    run: |context, call| Box::pin(run(context, call)),
};

/// Most lines at once.
const MAX_LINES: usize = 2000;
/// Most bytes of one line.
const MAX_LINE: usize = 2000;
/// Largest picture, bytes: providers take about five megabytes of base64, and one that they refuse would stand in the conversation for good.
const MAX_IMAGE: usize = 3_750_000;
/// How far a file is looked at for bytes that no text has.
const LOOK: usize = 8192;

#[derive(Deserialize)]
struct Arguments {
    path: String,
    offset: Option<usize>,
    limit: Option<usize>,
}

fn describe(_: &AgentSpec) -> (&'static str, Value) {
    let text = "Read a file: text with line numbers (at most 2000 lines or 30 KB at once; go on with offset), or a picture (PNG, JPEG, GIF, WebP). Paths are relative to the workspace.";
    let schema = json!({
        "type": "object",
        "properties": {
            "path": { "type": "string", "description": "Path of the file" },
            "offset": { "type": "integer", "minimum": 1, "description": "First line, counted from 1" },
            "limit": { "type": "integer", "minimum": 1, "description": "Number of lines" },
        },
        "required": ["path"],
    });
    (text, schema)
}

async fn run(context: Arc<Context>, call: Call) -> Given {
    let arguments = match call.arguments::<Arguments>() {
        Ok(arguments) => arguments,
        Err(wrong) => return wrong,
    };
    let bytes = match context.files.read(&arguments.path) {
        Ok(bytes) => bytes,
        Err(wrong) => return Given::error(wrong),
    };
    if let Some(mime_type) = picture(&bytes) {
        return image(&context.spec, &arguments.path, mime_type, &bytes);
    }
    if bytes.iter().take(LOOK).any(|byte| *byte == 0) {
        return Given::error(format!(
            "{} is no text; it has {} bytes. Look at it with a command such as file or xxd.",
            arguments.path,
            bytes.len()
        ));
    }
    let text = String::from_utf8_lossy(&bytes);
    match numbered(&text, arguments.offset.unwrap_or(1).max(1), arguments.limit.unwrap_or(MAX_LINES).clamp(1, MAX_LINES)) {
        Ok(text) => Given::text(text),
        Err(lines) => Given::error(format!("{} has {lines} lines; the offset is behind its end.", arguments.path)),
    }
}

/// Lines from `first` on with their numbers, or how many there are if it has not so many.
fn numbered(text: &str, first: usize, limit: usize) -> Result<String, usize> {
    let total = text.lines().count();
    if total == 0 && first == 1 {
        return Ok("(The file is empty.)".to_owned());
    }
    if first > total {
        return Err(total);
    }
    let (mut out, mut last) = (String::new(), first - 1);
    for (n, line) in text.lines().enumerate().skip(first - 1).take(limit) {
        let shown = line.get(..line.floor_char_boundary(MAX_LINE)).unwrap_or(line);
        let rest = line.len() - shown.len();
        let note = if rest > 0 { format!(" [… {rest} bytes of this line left out]") } else { String::new() };
        let row = format!("{:>6}\t{shown}{note}\n", n + 1);
        if !out.is_empty() && out.len() + row.len() > RESULT_BYTES {
            break;
        }
        out.push_str(&row);
        last = n + 1;
    }
    if last < total {
        out.push_str(&format!("[Lines {first} to {last} of {total}. Go on with offset {}.]\n", last + 1));
    }
    Ok(out)
}

fn image(spec: &AgentSpec, path: &str, mime_type: &str, bytes: &[u8]) -> Given {
    if !spec.model.images {
        return Given::error(format!("{path} is a picture ({mime_type}, {} bytes), and this model does not see pictures.", bytes.len()));
    }
    if bytes.len() > MAX_IMAGE {
        return Given::error(format!(
            "{path} is a picture of {} bytes; at most {} are shown. Make it smaller first.",
            bytes.len(),
            MAX_IMAGE
        ));
    }
    let text = Block::Text { text: format!("{path} ({mime_type}, {} bytes)", bytes.len()) };
    let image = Block::Image { mime_type: mime_type.to_owned(), data: STANDARD.encode(bytes) };
    Given { content: vec![text, image], ..Given::default() }
}

/// The media type of a picture, by how its bytes begin.
fn picture(bytes: &[u8]) -> Option<&'static str> {
    let beginnings: [(&[u8], &str); 4] =
        [(b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"), (b"GIF89a", "image/gif")];
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    beginnings.into_iter().find(|(beginning, _)| bytes.starts_with(beginning)).map(|(_, mime_type)| mime_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_numbers_and_what_is_left_out_is_said() {
        assert_eq!(numbered("a\nb\nc\n", 2, 1).unwrap(), "     2\tb\n[Lines 2 to 2 of 3. Go on with offset 3.]\n");
        assert_eq!(numbered("a\r\nü", 1, 9).unwrap(), "     1\ta\n     2\tü\n");
        assert_eq!((numbered("a", 2, 1), numbered("", 1, 1)), (Err(1), Ok("(The file is empty.)".to_owned())));
        let long = format!("{}\nend", "é".repeat(3000));
        let shown = numbered(&long, 1, 9).unwrap();
        assert!(shown.contains("4000 bytes of this line left out") && shown.ends_with("\tend\n"));
        let many = "x".repeat(99).as_str().to_owned() + "\n";
        let shown = numbered(&many.repeat(5000), 1, MAX_LINES).unwrap();
        assert!(shown.len() <= RESULT_BYTES + 100 && shown.contains("of 5000. Go on with offset "), "{}", shown.len());
    }

    #[test]
    fn pictures_are_known_by_their_bytes() {
        assert_eq!(picture(b"\x89PNG\r\n\x1a\nxx"), Some("image/png"));
        assert_eq!(picture(b"RIFF1234WEBPxx"), Some("image/webp"));
        assert_eq!(picture(b"RIFF1234WAVE"), None);
    }
}
