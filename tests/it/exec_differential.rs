//! The grammar of allowed commands against real shells: whatever it takes, `dash` and `bash` read as the same words.
//!
//! Commands come from a generator that knows the grammar and breaks it now and then. `SKYKOI_TEST_COMMANDS` says how many; every failure names its seed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use skykoi_gateway::exec::policy::grammar::parse;

use crate::nginx::program;

/// Commands that one shell is given at a time.
const BATCH: usize = 2000;

/// Pieces that every shell reads as text.
const PLAIN: [&str; 22] =
    ["a", "b", "xyz", "0", "19", "_", ".", "/", ":", "=", "@", "%", "+", ",", "-", "^", "é", "大", "ls", "--x=1", "in", "$"];
/// What may stand in single quotes.
const QUOTED: [&str; 20] =
    ["a", " ", "  ", ";", "$x", "`id`", "*", "?", "[a]", "{a,b}", "~", "#", "!", "&", "|", "<", ">", "\\", "\"", "(x)"];
/// What may stand in double quotes.
const DOUBLE: [&str; 15] = ["a", " ", ";", "*", "?", "[a]", "{a,b}", "~", "#", "!", "&", "|", "<", "'", "(x)"];
/// What breaks the grammar, or looks as if it did.
const BREAKING: [&str; 48] = [
    "$(id)", "$x", "${x}", "`id`", ";", ";;", "&", "&&", "||", "|&", "\n", "\r", "\t", "\0", "#", " #x", "\u{a0}", "\u{2003}", "\u{3000}",
    "\u{200b}", "\u{ff1b}", "\\\n", "\\", "<<E", "<<<x", "<(id)", ">x", "2>&1", "<x", "{a,b}", "{a..c}", "~", "*", "?", "[a]", "$'a'",
    "$\"a\"", "'", "\"", "!", "(", ")", "@(a)", "\u{7f}", "\u{85}", "|", "\u{feff}", "\u{301}",
];
/// First words that shells do not take for programs, and spellings of the one they have.
const NAMES: [&str; 14] =
    ["stub", "st'u'b", "\"stub\"", "s\\tub", "'stub'", "if", "time", "a=b stub", "! stub", "{", "function", "st''ub", "[[", "stub=1"];

/// A small generator of numbers, so that a seed tells the whole story.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// A command, and its words if nothing in it breaks the grammar.
fn command(random: &mut Random) -> (String, Option<Vec<Vec<String>>>) {
    let (mut text, mut stages, mut known) = (String::new(), Vec::new(), true);
    let count = if random.below(7) == 0 { 2 + random.below(4) } else { 1 };
    for stage in 0..count {
        text.push_str(if stage == 0 { "" } else { ["|", " | ", "| "][random.below(3)] });
        let name = if random.below(8) == 0 { random.one(&NAMES) } else { "stub" };
        known &= name == "stub";
        text.push_str(name);
        let mut words = vec!["stub".to_owned()];
        for _ in 0..random.below(6) {
            text.push_str([" ", "  "][random.below(2)]);
            words.push(word(random, &mut text, &mut known));
        }
        stages.push(words);
    }
    (text, (known && count <= 4).then_some(stages))
}

fn word(random: &mut Random, text: &mut String, known: &mut bool) -> String {
    let mut word = String::new();
    for _ in 0..=random.below(3) {
        match random.below(40) {
            0 => {
                text.push_str(random.one(&BREAKING));
                *known = false;
            }
            1..=8 => quoted(random, &QUOTED, "'", text, &mut word),
            9..=14 => quoted(random, &DOUBLE, "\"", text, &mut word),
            15..=18 => {
                let c = char::from(b' ' + u8::try_from(random.below(95)).unwrap());
                let _ = write!(text, "\\{c}");
                word.push(c);
            }
            _ => {
                let piece = random.one(&PLAIN);
                *known &= piece != "$";
                text.push_str(piece);
                word.push_str(piece);
            }
        }
    }
    word
}

fn quoted(random: &mut Random, pieces: &[&str], quote: &str, text: &mut String, word: &mut String) {
    text.push_str(quote);
    for _ in 0..random.below(4) {
        let piece = random.one(pieces);
        text.push_str(piece);
        word.push_str(piece);
    }
    text.push_str(quote);
}

/// What a shell makes of the commands: the words of every call of `stub`, under the command's number, sorted.
fn read_by(shell: &str, commands: &[(usize, String)]) -> BTreeMap<usize, Vec<Vec<String>>> {
    let dir = tempfile::tempdir().unwrap();
    let (script, out) = (dir.path().join("script"), dir.path().join("out"));
    // One write for each call, so that the stages of a pipeline do not mix.
    let mut text = format!("exec 9>>'{}'\nstub() {{ printf '%s\\001' \"$N\" \"$@\" '<end>' >&9; }}\n", out.display());
    for (n, command) in commands {
        let _ = write!(text, "N={n}\n{command}\n");
    }
    std::fs::write(&script, text).unwrap();
    let ended =
        program(shell).arg(&script).env_clear().env("PATH", "/nowhere").env("LC_ALL", "C.UTF-8").current_dir(dir.path()).output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&ended.stderr));
    let mut read: BTreeMap<usize, Vec<Vec<String>>> = BTreeMap::new();
    let said = std::fs::read_to_string(&out).unwrap_or_default();
    let mut fields = said.split('\u{1}');
    while let Some(n) = fields.next().filter(|n| !n.is_empty()) {
        let words: Vec<String> = fields.by_ref().take_while(|field| *field != "<end>").map(str::to_owned).collect();
        read.entry(n.parse().unwrap()).or_default().push(words);
    }
    read.values_mut().for_each(|calls| calls.sort());
    read
}

#[test]
fn m63_whatever_the_grammar_takes_shells_read_as_the_same_words() {
    let wanted: usize = std::env::var("SKYKOI_TEST_COMMANDS").ok().map_or(20_000, |text| text.parse().unwrap());
    let seed: u64 = std::env::var("SKYKOI_TEST_SEED").ok().map_or(1, |text| text.parse().unwrap());
    let shells: Vec<&str> = ["/bin/dash", "/bin/bash"].into_iter().filter(|shell| std::path::Path::new(shell).exists()).collect();
    assert!(!shells.is_empty(), "there is no shell to compare with");
    let mut random = Random(seed);
    let (mut taken, mut compared, mut stages, mut n) = (0, 0, 0, 0);
    while n < wanted {
        let mut batch = Vec::new();
        let mut planned: BTreeMap<usize, Vec<Vec<String>>> = BTreeMap::new();
        for _ in 0..BATCH.min(wanted - n) {
            n += 1;
            let (text, known) = command(&mut random);
            let read = parse(&text).ok();
            if let Some(known) = &known {
                assert_eq!(read.as_ref(), Some(known), "seed {seed}, command {n}: {text:?}");
            }
            let Some(read) = read else { continue };
            taken += 1;
            // A shell can only be asked about the one program it has.
            if read.iter().any(|words| words[0] != "stub") {
                continue;
            }
            stages += read.len();
            let mut calls: Vec<Vec<String>> = read.into_iter().map(|words| words[1..].to_vec()).collect();
            calls.sort();
            planned.insert(n, calls);
            batch.push((n, text));
        }
        compared += batch.len();
        for shell in &shells {
            let read = read_by(shell, &batch);
            for (n, text) in &batch {
                assert_eq!(read.get(n), planned.get(n), "{shell} and the grammar differ: seed {seed}, command {n}: {text:?}");
            }
        }
    }
    eprintln!("{wanted} commands, {taken} taken, {compared} with {stages} stages compared with {shells:?}, no difference");
    assert!(compared * 3 > wanted, "most of the commands were of no use: {compared} of {wanted}");
}
