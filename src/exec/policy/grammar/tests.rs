//! Tests of the grammar: what is refused with which word, what is read as which words.

use super::*;
use proptest::prelude::*;

fn token(text: &str) -> &'static str {
    parse(text).map_or_else(|refused| refused.token, |_| "allowed")
}

fn words(text: &str) -> Vec<Vec<String>> {
    parse(text).unwrap_or_else(|refused| panic!("{text:?}: {refused}"))
}

#[test]
fn m63_whatever_a_shell_would_act_on_is_refused_with_its_word() {
    for (text, expected) in [
        ("ls; id", "OPERATOR"),
        ("ls && id", "OPERATOR"),
        ("ls & id", "OPERATOR"),
        ("ls || id", "OPERATOR"),
        ("ls |& id", "OPERATOR"),
        ("| id", "OPERATOR"),
        ("ls |", "OPERATOR"),
        ("ls | | id", "OPERATOR"),
        ("ls $(id)", "EXPANSION"),
        ("ls `id`", "EXPANSION"),
        ("ls $HOME", "EXPANSION"),
        ("ls ${HOME}", "EXPANSION"),
        ("ls \"$HOME\"", "EXPANSION"),
        ("ls \"`id`\"", "EXPANSION"),
        ("ls \"a\\$b\"", "BACKSLASH"),
        ("ls > x", "REDIRECTION"),
        ("ls 2>&1", "REDIRECTION"),
        ("ls < x", "REDIRECTION"),
        ("ls\nid", "NEWLINE"),
        ("ls\n", "NEWLINE"),
        ("a=b ls", "ASSIGNMENT"),
        ("'a=b' ls", "ASSIGNMENT"),
        ("a+=b ls", "ASSIGNMENT"),
        ("wc | a=b ls", "ASSIGNMENT"),
        ("ls *", "EXPANSION"),
        ("ls ?", "EXPANSION"),
        ("ls [a]", "EXPANSION"),
        ("ls ~", "EXPANSION"),
        ("ls a~b", "EXPANSION"),
        ("ls {a,b}", "EXPANSION"),
        ("{ls,}", "EXPANSION"),
        ("$'ls'", "EXPANSION"),
        ("$\"ls\"", "EXPANSION"),
        ("ls !x", "EXPANSION"),
        ("! ls", "EXPANSION"),
        ("(ls)", "GROUPING"),
        ("ls @(a)", "GROUPING"),
        ("ls #x", "COMMENT"),
        ("# ls", "COMMENT"),
        ("if ls", "RESERVED_WORD"),
        ("time ls", "RESERVED_WORD"),
        ("wc | time ls", "RESERVED_WORD"),
        ("[[ a ]]", "EXPANSION"),
        ("'[[' a", "RESERVED_WORD"),
        ("'' a", "EMPTY"),
        ("", "EMPTY"),
        ("   ", "EMPTY"),
        ("ls 'a", "QUOTE"),
        ("ls \"a", "QUOTE"),
        ("ls \\", "BACKSLASH"),
        ("ls \\é", "BACKSLASH"),
    ] {
        assert_eq!(token(text), expected, "{text:?}");
    }
}

#[test]
fn m65_line_tricks_and_characters_that_pass_for_others_are_refused() {
    for (text, expected) in [
        ("cat <<E\nid\nE", "NEWLINE"),
        ("cat <<E", "REDIRECTION"),
        ("cat <<'E'", "REDIRECTION"),
        ("cat <<-E", "REDIRECTION"),
        ("cat <<<x", "REDIRECTION"),
        ("ls \\\nid", "NEWLINE"),
        ("ls 'a\nb'", "NEWLINE"),
        ("ls\rid", "CONTROL"),
        ("ls \"a\rb\"", "CONTROL"),
        ("ls\tid", "CONTROL"),
        ("ls\0id", "CONTROL"),
        ("ls \u{7f}", "CONTROL"),
        ("ls \u{85}id", "CONTROL"),
        ("ls\u{a0}id", "CHARACTER"),
        ("ls\u{2003}id", "CHARACTER"),
        ("ls\u{3000}id", "CHARACTER"),
        ("ls\u{200b}id", "CHARACTER"),
        ("ls '\u{200b}'", "CHARACTER"),
        ("ls\u{ff1b} id", "CHARACTER"),
        ("\u{ff4c}\u{ff53}", "CHARACTER"),
        ("ls \u{202e}", "CHARACTER"),
        ("ls \u{feff}", "CHARACTER"),
        ("ls \u{3164}", "CHARACTER"),
        ("ls \u{115f}", "CHARACTER"),
        ("ls e\u{301}", "CHARACTER"),
        ("ls \u{1f600}", "CHARACTER"),
        ("ls \u{2013}l", "CHARACTER"),
    ] {
        assert_eq!(token(text), expected, "{text:?}");
    }
}

#[test]
fn m64_quoted_characters_are_text() {
    assert_eq!(words("ls ';id'"), [["ls", ";id"]]);
    assert_eq!(words(r#"a 'b c'd"e f"\ g '' "" \;\|"#), [vec!["a", "b cde f g", "", "", ";|"]]);
    assert_eq!(words(r#"jq '.a | $b[] * ~ # \' | wc -l"#), [vec!["jq", r".a | $b[] * ~ # \"], vec!["wc", "-l"]]);
    assert_eq!(words("Größe 大 x=1 a:b +%s @1 50% ^"), [["Größe", "大", "x=1", "a:b", "+%s", "@1", "50%", "^"]]);
    assert_eq!(words("a|b  |  c | d").len(), 4);
    assert_eq!(words("  ls   -l  "), [["ls", "-l"]]);
}

#[test]
fn length_words_and_stages_are_bounded_and_their_bounds_are_reached() {
    assert_eq!(token("a|b|c|d|e"), "TOO_MANY_STAGES");
    let of = |count: usize| vec!["w"; count].join(" ");
    assert_eq!((token(&of(256)), token(&of(257))), ("allowed", "TOO_MANY_WORDS"));
    assert_eq!(token(&format!("{} | {}", of(200), of(57))), "TOO_MANY_WORDS");
    let long = |bytes: usize| format!("echo {}", "x".repeat(bytes - 5));
    assert_eq!((token(&long(MAX_BYTES)), token(&long(MAX_BYTES + 1))), ("allowed", "TOO_LONG"));
}

#[test]
fn a_refusal_says_what_stands_where() {
    let text = |command: &str| parse(command).unwrap_err().to_string();
    assert_eq!(text("ls; id"), "';' at character 3 joins commands; quote it if it is text");
    assert_eq!(text("ls\u{200b}"), "\\u{200b} at character 3 is no letter or digit and may be taken for something else");
    assert_eq!(text("ls 'a"), "the single quote at character 4 is not closed");
}

/// What some shell acts on.
const SHELLISH: &str = "$`;&<>(){}*?[]~!#\n\r\0";

proptest! {
    #[test]
    fn what_is_quoted_comes_out_as_it_was(texts in proptest::collection::vec("[ -&(-~äß大]{0,12}", 1..8)) {
        let command = texts.iter().fold("cmd".to_owned(), |all, text| format!("{all} '{text}'"));
        let read = words(&command);
        prop_assert_eq!(&read[0][1..], &texts[..]);
    }

    #[test]
    fn nothing_makes_the_reader_fail_and_what_it_takes_has_no_character_that_hides(text in any::<String>()) {
        if let Ok(stages) = parse(&text) {
            prop_assert!((1..=MAX_STAGES).contains(&stages.len()));
            for word in stages.iter().flatten() {
                prop_assert!(!word.chars().any(|c| c.is_control() || u32::from(c) == 0x200b));
            }
        }
    }

    #[test]
    fn a_character_of_a_shell_outside_quotes_is_refused_wherever_it_stands(
        before in "[a-z ]{0,6}", after in "[a-z ]{0,6}", c in prop::sample::select(SHELLISH.chars().collect::<Vec<_>>()),
    ) {
        let text = format!("x{before}{c}{after}");
        prop_assert!(parse(&text).is_err());
    }
}
