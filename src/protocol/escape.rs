//! How text stands inside a JSON string, byte for byte as `serde_json` writes it.
//!
//! Output of commands is the one kind of text that comes in floods, and its limits are in escaped bytes (a NUL grows sixfold), so the length must be known before the text is written.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes that are looked at in a row; the compiler turns a whole block into few vector instructions.
const BLOCK: usize = 512;

/// How many bytes this byte of UTF-8 text takes inside a JSON string. Without branches, because it runs over every byte of a flood.
const fn width(byte: u8) -> usize {
    let quoted = (byte == b'"') | (byte == b'\\');
    let short = (byte == 0x08) | (byte == 0x09) | (byte == 0x0a) | (byte == 0x0c) | (byte == 0x0d);
    1 + quoted as usize + 5 * (byte < 0x20) as usize - 4 * short as usize
}

fn block_len(block: &[u8]) -> usize {
    // Six times a block fits into 16 bits, which lets twice as many bytes go through at once.
    usize::from(block.iter().map(|byte| width(*byte) as u16).sum::<u16>())
}

/// Length of `text` inside a JSON string, in bytes, without the quotes.
#[must_use]
pub fn escaped_len(text: &str) -> usize {
    text.as_bytes().chunks(BLOCK).map(block_len).sum()
}

/// Length in bytes of the longest start of `text` that ends between two characters and takes at most `max` bytes escaped.
#[must_use]
pub fn fitting_prefix(text: &str, max: usize) -> usize {
    let mut used = 0;
    let mut cut = 0;
    for block in text.as_bytes().chunks(BLOCK) {
        let whole = block_len(block);
        if used + whole <= max {
            used += whole;
            cut += block.len();
            continue;
        }
        for byte in block {
            used += width(*byte);
            if used > max {
                break;
            }
            cut += 1;
        }
        break;
    }
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    cut
}

/// Appends `text` escaped, without the quotes.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len());
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, tail)) = tail.split_first() else { break };
        escape_byte(byte, out);
        rest = tail;
    }
    out.extend_from_slice(rest);
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(b"\\u00");
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        escape_into(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_ascii_byte_is_written_as_serde_json_writes_it() {
        for byte in 0..=127_u8 {
            let text = format!("a{}é{}", byte as char, byte as char);
            let expected = serde_json::to_string(&text).unwrap();
            assert_eq!(format!("\"{}\"", escaped(&text)), expected);
            assert_eq!(escaped_len(&text), expected.len() - 2);
        }
    }

    #[test]
    fn a_prefix_never_cuts_a_character_and_never_exceeds_the_limit() {
        let text = "ä\0\n𝄞\"z".repeat(60);
        for max in (0..40).chain(1000..1040) {
            let cut = fitting_prefix(&text, max);
            assert!(escaped_len(&text[..cut]) <= max);
            let next = text[cut..].chars().next();
            assert!(next.is_none_or(|c| escaped_len(&text[..cut + c.len_utf8()]) > max), "{max} is not the longest");
        }
    }
}
