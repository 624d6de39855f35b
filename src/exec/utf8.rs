//! Turns the bytes of a pipe into text although a read can end in the middle of a character.
//!
//! At most three bytes are held back for the next read; bytes that can never become a character turn into U+FFFD.

use std::borrow::Cow;

/// The state between two reads of one pipe.
#[derive(Debug, Default)]
pub struct Decoder {
    held: Vec<u8>,
}

impl Decoder {
    /// How many bytes are held back, 0 to 3.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The text of `bytes`, together with what was held back.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, str> {
        if self.held.is_empty() {
            let (whole, cut) = bytes.split_at(bytes.len() - unfinished(bytes));
            self.held.extend_from_slice(cut);
            return String::from_utf8_lossy(whole);
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        self.held = all.split_off(all.len() - unfinished(&all));
        Cow::Owned(String::from_utf8_lossy(&all).into_owned())
    }

    /// What is held back, as text; for the end of the pipe.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// How many bytes at the end are the start of a character that may still be completed.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let Some(&byte) = bytes.get(bytes.len() - back) else { return 0 };
        let needed = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        let tail = bytes.get(bytes.len() - back..).unwrap_or_default();
        // The standard decoder knows which starts are impossible, such as surrogates.
        let possible = std::str::from_utf8(tail).is_err_and(|e| e.error_len().is_none());
        return if back < needed && possible { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_split_at_every_byte_comes_out_whole() {
        let bytes = "aé€𝄞z".as_bytes();
        for cut in 0..=bytes.len() {
            let mut decoder = Decoder::default();
            let text = decoder.push(&bytes[..cut]).into_owned() + &decoder.push(&bytes[cut..]) + &decoder.finish();
            assert_eq!(text, "aé€𝄞z");
        }
    }

    #[test]
    fn bytes_that_are_no_text_become_replacement_characters_at_once() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"a\xff\xfe"), "a\u{fffd}\u{fffd}");
        assert_eq!(decoder.push(b"\xed\xa0"), "\u{fffd}\u{fffd}");
        assert_eq!(decoder.push(b"\xe2\x82"), "");
        assert_eq!(decoder.finish(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_text_as_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..60), cuts in proptest::collection::vec(0_usize..60, 0..6)) {
            let mut decoder = Decoder::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut text = String::new();
            let mut from = 0;
            for cut in cuts {
                text += &decoder.push(&bytes[from..cut]);
                prop_assert!(decoder.held() <= 3);
                from = cut;
            }
            text += &decoder.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
