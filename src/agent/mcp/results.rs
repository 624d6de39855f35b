//! What a server's tool gave, as a model is shown it.

use serde_json::Value;

use crate::agent::tools::Given;
use crate::agent::tools::bound::{RESULT_BYTES, bounded};
use crate::model::Block;

/// Largest picture, bytes of base64.
const IMAGE: usize = 5_000_000;
/// Most pictures of one result.
const IMAGES: usize = 8;

/// The result of `tools/call`.
pub(super) fn given(result: &Value) -> Given {
    let mut content: Vec<Block> = Vec::new();
    let mut text = String::new();
    let mut add = |more: &str| {
        if !text.is_empty() && !more.is_empty() {
            text.push('\n');
        }
        text.push_str(more);
    };
    for block in result["content"].as_array().into_iter().flatten() {
        let word = |key: &str| block[key].as_str().unwrap_or_default();
        match word("type") {
            "text" => add(word("text")),
            "image" if word("data").len() <= IMAGE && content.len() < IMAGES => {
                content.push(Block::Image { mime_type: word("mimeType").to_owned(), data: word("data").to_owned() });
            }
            "resource" => {
                let resource = &block["resource"];
                let inside = resource["text"].as_str().map(str::to_owned);
                add(&inside.unwrap_or_else(|| format!("[resource {}, not text]", resource["uri"].as_str().unwrap_or_default())));
            }
            "resource_link" => add(&format!("[resource {} {}]", word("name"), word("uri"))),
            kind => add(&format!("[{kind} {}]", word("mimeType"))),
        }
    }
    let structured = &result["structuredContent"];
    if text.is_empty() && content.is_empty() && !structured.is_null() {
        text = structured.to_string();
    }
    if !text.is_empty() {
        content.insert(0, Block::Text { text: bounded(&text, RESULT_BYTES) });
    }
    Given { content, is_error: result["isError"] == true, ..Given::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_joined_pictures_stay_and_the_rest_is_named() {
        let result = json!({ "isError": true, "content": [
            { "type": "text", "text": "one" }, { "type": "image", "mimeType": "image/png", "data": "AAAA" }, { "type": "text", "text": "two" },
            { "type": "resource", "resource": { "uri": "x://y", "text": "inside" } }, { "type": "resource", "resource": { "uri": "x://z", "blob": "AA" } },
            { "type": "audio", "mimeType": "audio/wav", "data": "AA" },
        ] });
        let given = given(&result);
        assert!(given.is_error);
        let Block::Text { text } = &given.content[0] else { panic!("{given:?}") };
        assert_eq!(text, "one\ntwo\ninside\n[resource x://z, not text]\n[audio audio/wav]");
        assert_eq!(given.content[1], Block::Image { mime_type: "image/png".into(), data: "AAAA".into() });
    }

    #[test]
    fn what_is_too_long_is_bounded_and_structure_alone_is_shown() {
        let long = given(&json!({ "content": [{ "type": "text", "text": "x".repeat(100_000) }] }));
        assert!(long.words().len() < RESULT_BYTES + 100);
        assert_eq!(given(&json!({ "content": [], "structuredContent": { "a": 1 } })).words(), r#"{"a":1}"#);
        assert_eq!(given(&json!(5)).content, []);
        let big = given(&json!({ "content": [{ "type": "image", "mimeType": "image/png", "data": "A".repeat(IMAGE + 1) }] }));
        assert_eq!(big.words(), "[image image/png]");
    }
}
