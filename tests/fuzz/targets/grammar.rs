//! A command in allowlist mode: what the grammar takes must be words that can be written down again in one way only, within its bounds, and with nothing in them that a person cannot see.

use skykoi_gateway::exec::policy::grammar::{MAX_BYTES, MAX_STAGES, MAX_WORDS, parse};
use skykoi_gateway::exec::policy::profiles;
use skykoi_gateway::exec::policy::prompt;

use super::{Target, outcome, shape};

pub const TARGET: Target = Target {
    name: "grammar",
    words: &[
        "ls",
        "cat",
        "grep -n",
        "sort -u",
        "head -n 3",
        " | ",
        "|",
        "||",
        "|&",
        " ",
        "  ",
        "\t",
        "'",
        "\"",
        "\\",
        "\\\n",
        "$(",
        ")",
        "`",
        "${x}",
        "$'a'",
        "$x",
        ";",
        "&&",
        "&",
        ">",
        "2>&1",
        "<<E",
        "<(",
        "{a,b}",
        "*",
        "?",
        "[a]",
        "~",
        "!",
        "#",
        " #x",
        "A=b ",
        "if ",
        "time ",
        "[[",
        "--",
        "-rf",
        "--x=1",
        "\n",
        "\r",
        "\u{0}",
        "\u{a0}",
        "\u{200b}",
        "\u{202e}",
        "\u{ff1b}",
        "\u{feff}",
        "é",
        "大",
        "\u{301}",
        "''",
        "\"\"",
    ],
    max: MAX_BYTES + 100,
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    let many = vec!["w"; MAX_WORDS].join(" ");
    ["ls -l", "cat 'a b' | sort -u | head -n 3", "grep -n \"x;y\" file", "e\\cho a\\ b", "ls 'é' \"大\"", "a | b | c | d", many.as_str()]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect()
}

fn run(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let stages = match parse(&text) {
        Ok(stages) => stages,
        Err(refused) => {
            assert!(refused.token.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && refused.text.len() < 1000, "{refused:?}");
            return outcome((false, refused.token, shape(&refused.text)));
        }
    };
    let words: Vec<&String> = stages.iter().flatten().collect();
    assert!((1..=MAX_STAGES).contains(&stages.len()) && words.len() <= MAX_WORDS && text.len() <= MAX_BYTES, "beyond the bounds: {text:?}");
    assert!(stages.iter().all(|stage| !stage.is_empty()), "a stage without a program: {text:?}");
    assert!(words.iter().all(|word| !word.chars().any(|c| c.is_control() || prompt::is_deceptive(c))), "deceptive: {text:?}");
    assert!(
        !only_outside_quotes(&text).contains(['$', '`', ';', '&', '<', '>', '(', ')', '*', '?', '{', '}', '~', '!']),
        "a shell acts on {text:?}"
    );
    // Written down with every word in single quotes it is the same command, except that quoting a first word makes no other program of it.
    let quoted = |word: &String| format!("'{}'", word.replace('\'', "'\\''"));
    let again = stages.iter().map(|stage| stage.iter().map(quoted).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(" | ");
    if again.len() <= MAX_BYTES {
        match parse(&again) {
            Ok(same) => assert_eq!(same, stages, "{text:?} is not {again:?}"),
            Err(refused) => panic!("{text:?} is taken and {again:?} is not: {refused}"),
        }
    }
    let judged = stages.iter().map(|stage| profiles::is_known(&stage[0])).collect::<Vec<_>>();
    outcome((
        true,
        stages.len(),
        words.len().ilog2(),
        judged,
        text.contains('\''),
        text.contains('"'),
        text.contains('\\'),
        text.is_ascii(),
    ))
}

/// What stands neither in quotes nor behind a backslash, by the plainest reading there is.
fn only_outside_quotes(text: &str) -> String {
    let (mut outside, mut quote, mut chars) = (String::new(), None, text.chars());
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\\') => drop(chars.next()),
            (None, '\'' | '"') => quote = Some(c),
            (None, _) => outside.push(c),
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
        }
    }
    outside
}
