//! Keys and requests as words that people can compare, and texts of strangers made harmless.
//!
//! Words are proquints: sixteen bits are two pronounceable halves, `lusab`, so they need no list and no language.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::store::devices::Described;

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";
/// Words of a fingerprint: 64 bits.
const FINGERPRINT_WORDS: usize = 4;
/// Words of a request's code: 32 bits. Nobody can search for a key with a given code, because the request's id, which the gateway chose, is in it.
const CODE_WORDS: usize = 2;
/// Words of a setup code.
const SETUP_WORDS: usize = 5;
/// Most characters of a text that a device says of itself.
const MAX_TEXT: usize = 64;

/// The device's key as words, from its id.
#[must_use]
pub fn fingerprint(device_id: &str) -> String {
    words(digest(&SHA256, format!("skykoi-device\n{device_id}").as_bytes()).as_ref(), FINGERPRINT_WORDS)
}

/// The short name of a request, which both sides can compute: it stands for this request of this device and for no other.
#[must_use]
pub fn code(request_id: &str, device_id: &str) -> String {
    words(digest(&SHA256, format!("skykoi-pair\n{request_id}\n{device_id}").as_bytes()).as_ref(), CODE_WORDS)
}

fn words(bytes: &[u8], count: usize) -> String {
    bytes.chunks_exact(2).take(count).map(word).collect::<Vec<_>>().join("-")
}

fn word(pair: &[u8]) -> String {
    let bits = pair.iter().fold(0_u16, |bits, byte| bits << 8 | u16::from(*byte));
    let letter = |table: &[u8], shift: u16| {
        let at = usize::from(bits >> shift) % table.len();
        table.get(at).copied().map_or('?', char::from)
    };
    [letter(CONSONANTS, 12), letter(VOWELS, 10), letter(CONSONANTS, 6), letter(VOWELS, 4), letter(CONSONANTS, 0)].into_iter().collect()
}

/// A new setup code: 80 random bits as five words. It is typed by a person and lives for minutes; every wrong one counts as a guess.
///
/// # Errors
/// The system has no randomness to give.
pub fn setup_code() -> std::io::Result<String> {
    let mut bytes = [0_u8; 2 * SETUP_WORDS];
    SystemRandom::new().fill(&mut bytes).map_err(|_| std::io::Error::other("no randomness from the system"))?;
    Ok(words(&bytes, SETUP_WORDS))
}

/// A setup code as it was made, whatever way a person has typed it.
#[must_use]
pub fn plain_code(typed: &str) -> String {
    typed
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect::<Vec<_>>()
        .join("-")
}

/// The same with every text short and visible.
#[must_use]
pub fn harmless(described: Described) -> Described {
    let clean = |text: Option<String>| text.map(|text| visible(&text)).filter(|text| !text.is_empty());
    Described {
        display_name: clean(described.display_name),
        platform: clean(described.platform),
        device_family: clean(described.device_family),
        client_id: clean(described.client_id),
        client_mode: clean(described.client_mode),
    }
}

/// The text with everything that is not seen, or that changes how the rest is seen, written out as `\u{200b}`.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == MAX_TEXT {
            shown.push('…');
            break;
        }
        if is_hidden(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

fn is_hidden(character: char) -> bool {
    let blank = character.is_whitespace() && character != ' ';
    // Soft hyphens, joiners, marks and overrides of direction, variation selectors, tags, and what is for private use.
    let format = matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}');
    character.is_control() || blank || format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_proquints() {
        assert_eq!(words(&[127, 0, 0, 1], 2), "lusab-babad");
        assert_eq!(words(&[63, 84, 220, 193], 2), "gutih-tugad");
    }

    #[test]
    fn a_code_stands_for_one_request_of_one_device() {
        let (one, again) = (code("r-1", "d-1"), code("r-1", "d-1"));
        assert_eq!(one, again);
        assert_ne!(one, code("r-2", "d-1"));
        assert_ne!(one, code("r-1", "d-2"));
        assert_ne!(fingerprint("d-1"), fingerprint("d-2"));
        assert_eq!((one.len(), fingerprint("d-1").len()), (11, 23));
    }

    #[test]
    fn a_setup_code_is_read_as_people_type_it() {
        let code = setup_code().unwrap();
        assert_eq!(code.split('-').filter(|word| word.len() == 5).count(), SETUP_WORDS);
        assert_eq!(plain_code(&format!(" {} ", code.to_uppercase().replace('-', " "))), code);
        assert_ne!(code, setup_code().unwrap());
    }

    #[test]
    fn texts_of_strangers_show_what_is_hidden_in_them_and_are_short() {
        assert_eq!(visible(" Anna's Mac é 日本 "), "Anna's Mac é 日本");
        assert_eq!(visible("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\u{a}c");
        assert_eq!(visible("\u{202e}nimda\u{200b}\u{a0}x"), "\\u{202e}nimda\\u{200b}\\u{a0}x");
        assert_eq!(visible(&"x".repeat(1000)).chars().count(), MAX_TEXT + 1);
        let described = Described { display_name: Some("\u{7}".to_owned()), platform: Some("  ".to_owned()), ..Described::default() };
        assert_eq!(harmless(described), Described { display_name: Some("\\u{7}".to_owned()), ..Described::default() });
    }
}
