//! Tests of the argument profiles: what is known to be safe passes, and nothing else does.

use super::*;

fn passes(command: &str, reach: Reach) -> bool {
    let words: Vec<String> = super::super::grammar::parse(command).unwrap().remove(0);
    check(&words[0], &words[1..], reach).is_ok()
}

#[test]
fn m66_options_that_run_write_or_read_behind_the_back_are_refused() {
    for command in [
        "sort --compress-prog=x",
        "sort --compress-program=x",
        "sort --compress-program x",
        "sort -o out",
        "sort -oout",
        "sort -no out",
        "sort --output=out",
        "sort --outp=out",
        "sort -T /tmp",
        "sort --temporary-directory=/tmp",
        "sort --files0-from=x",
        "sort --random-source=x",
        "grep -f x",
        "grep -cf x",
        "grep --file=x",
        "grep --fil=x",
        "grep --include=x a",
        "jq -f x",
        "jq --from-file x",
        "jq -L /x .",
        "jq --slurpfile a b .",
        "jq --rawfile a b .",
        "jq 'import \"a\" as b; .'",
        "jq 'include \"a\"; .'",
        "uniq a b",
        "wc --files0-from=x",
        "head --pid=1",
        "tail -f x",
        "tail --follow=name x",
        "tail --retry x",
        "date -s now",
        "date --set=now",
        "date 010100002030",
        "date -f x",
        "date -r x",
        "ls --hyperlink",
        "du --files0-from=x",
        "du -X x",
        "comm a b c",
        "tr a b c",
        "foo -x",
        "foo --",
        "foo a -b",
        "cut --unknown",
        "cut --delim=x",
        "cut -d",
        "wc --lines=5",
    ] {
        assert!(!passes(command, Reach::Files), "{command}");
        assert!(!passes(command, Reach::Stdin), "{command}");
    }
}

#[test]
fn what_only_reads_its_input_may_name_no_file() {
    for command in [
        "grep a",
        "grep -ci a",
        "grep -e a",
        "grep -5 a",
        "grep -e -f",
        "jq -r .a",
        "jq -r '.[] | .b' -",
        "cut -d , -f1",
        "cut --fields=1 -d,",
        "sort -rnk 2 -t :",
        "uniq -c",
        "head -5",
        "head -n5 -q",
        "tail -n +3",
        "tr a-z A-Z",
        "tr -d x",
        "wc -l",
        "wc -",
        "wc",
    ] {
        assert!(passes(command, Reach::Stdin), "{command}");
    }
    for command in [
        "grep a f",
        "grep -r a",
        "grep -e a b",
        "grep --regexp=a b",
        "jq . f",
        "cut -f1 f",
        "sort f",
        "uniq f",
        "head -5 f",
        "tail -n 3 /etc/passwd",
        "wc -l -- f",
        "tr a b c",
        "foo",
        "foo a",
    ] {
        assert!(!passes(command, Reach::Stdin), "{command}");
    }
    for command in [
        "grep -rn a src",
        "grep a f g",
        "sort f",
        "uniq f",
        "head -5 f",
        "wc -l -- -f",
        "cat -n f",
        "ls -la /tmp",
        "ls --color=auto f",
        "ls --color f",
        "df -h",
        "du -sh /tmp",
        "stat -c %s f",
        "date -u +%F",
        "date -d yesterday +%F",
        "echo -n '-x'",
        "printf %s -x",
        "foo a b",
        "foo",
        "id root",
        "uname -a",
        "sha256sum f",
    ] {
        assert!(passes(command, Reach::Files), "{command}");
    }
}
