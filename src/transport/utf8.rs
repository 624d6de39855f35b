//! UTF-8 checked while bytes arrive, so that a bad message is refused at its first bad byte and not after its last.
//!
//! A character may be cut anywhere between two chunks; the at most three bytes of a begun character are carried over. A message that ends inside a character is bad.

/// The check of one message. `Default` is the state before its first byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8Check {
    carry: [u8; 4],
    carried: usize,
}

/// The bytes seen can never become valid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid utf-8")]
pub struct InvalidUtf8;

impl Utf8Check {
    /// Takes the next bytes of the message.
    ///
    /// # Errors
    /// [`InvalidUtf8`] as soon as no continuation could make the message valid.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let mut rest = bytes;
        while self.carried > 0 {
            let Some((&next, tail)) = rest.split_first() else { return Ok(()) };
            rest = tail;
            let Some(place) = self.carry.get_mut(self.carried) else { return Err(InvalidUtf8) };
            *place = next;
            self.carried += 1;
            match std::str::from_utf8(self.carry.get(..self.carried).unwrap_or_default()) {
                Ok(_) => self.carried = 0,
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                Err(_) => {}
            }
        }
        let Err(error) = std::str::from_utf8(rest) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(InvalidUtf8);
        }
        let begun = rest.get(error.valid_up_to()..).unwrap_or_default();
        for (place, byte) in self.carry.iter_mut().zip(begun) {
            *place = *byte;
        }
        self.carried = begun.len();
        Ok(())
    }

    /// Whether the bytes so far end at the end of a character, as a whole message must.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.carried == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&[u8]]) -> Result<bool, InvalidUtf8> {
        let mut check = Utf8Check::default();
        for chunk in chunks {
            check.push(chunk)?;
        }
        Ok(check.is_complete())
    }

    #[test]
    fn a_character_may_be_cut_at_every_place() {
        let text = "aé€😀z".as_bytes();
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                assert_eq!(check(&[&text[..cut], &text[cut..second], &text[second..]]), Ok(true), "{cut} {second}");
            }
        }
    }

    #[test]
    fn a_message_that_ends_inside_a_character_is_not_complete() {
        assert_eq!(check(&[b"ok", &[0xf0, 0x9f], &[0x98]]), Ok(false));
    }

    #[test]
    fn the_first_impossible_byte_is_refused_at_once() {
        assert_eq!(check(&[&[0xf4], &[0x90]]), Err(InvalidUtf8), "above U+10FFFF");
        assert_eq!(check(&[&[0xed], &[0xa0]]), Err(InvalidUtf8), "a surrogate");
        assert_eq!(check(&[&[0xc0]]), Err(InvalidUtf8), "an overlong form");
        assert_eq!(check(&[b"abc\xff"]), Err(InvalidUtf8));
        assert_eq!(check(&[&[0xe2, 0x82], b"x"]), Err(InvalidUtf8), "a begun character that does not go on");
    }

    proptest::proptest! {
        #[test]
        fn any_cut_gives_the_verdict_of_the_whole(bytes: Vec<u8>, cut: usize) {
            let cut = if bytes.is_empty() { 0 } else { cut % bytes.len() };
            let whole = std::str::from_utf8(&bytes).is_ok();
            proptest::prop_assert_eq!(check(&[&bytes[..cut], &bytes[cut..]]) == Ok(true), whole);
        }
    }
}
