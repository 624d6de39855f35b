//! Makes new inputs from old ones: small damage, words of the grammar, pieces of other inputs, and repetition, which is what finds depth and size.

use crate::random::Random;

/// Numbers at which lengths and counts go wrong, as text.
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "-1",
    "1e400",
    "1e-400",
    "65535",
    "65536",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551616",
    "0x10",
    "1.",
    ".5",
    "NaN",
    "Infinity",
];
/// Bytes at which readers change their mind.
const BYTES: &[u8] = &[0, b'\n', b'\r', b' ', b'"', b'\\', b'{', b'[', b',', b':', 0x7f, 0x80, 0xbf, 0xc0, 0xed, 0xf4, 0xff];
/// Changes of one input at most.
const CHANGES: usize = 6;

/// A mutation of `input`, at most `max` bytes long; `other` is another input of the corpus, `words` are those of the target's grammar.
pub fn mutate(input: &[u8], other: &[u8], words: &[&str], max: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(CHANGES) {
        change(&mut bytes, other, words, max, random);
    }
    bytes.truncate(max);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], words: &[&str], max: usize, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let end = at + random.below((bytes.len() - at).min(64) + 1);
    match random.below(11) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            let byte = random.pick(BYTES).copied().unwrap_or(0);
            bytes.insert(at, byte);
        }
        2 => {
            let byte = random.byte();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        3 => drop(bytes.drain(at..end)),
        4 => bytes.truncate(at),
        5 | 6 => {
            let word = random.pick(words).copied().unwrap_or("");
            bytes.splice(at..if random.below(2) == 0 { at } else { end }, word.bytes());
        }
        7 => {
            let number = random.pick(NUMBERS).copied().unwrap_or("");
            bytes.splice(at..end, number.bytes());
        }
        8 => {
            let piece = bytes[at..end].to_vec();
            // Mostly twice; sometimes as often as there is room.
            let most = max.saturating_sub(bytes.len()) / piece.len().max(1);
            let times = if random.below(8) == 0 { random.below(most.min(20_000) + 1) } else { 1 + random.below(3) };
            bytes.splice(at..at, piece.repeat(times.min(most)));
        }
        9 => {
            let from = random.below(other.len() + 1);
            let to = from + random.below(other.len() - from + 1);
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        _ => {
            let piece: Vec<u8> = bytes.drain(at..end).collect();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
    }
}
