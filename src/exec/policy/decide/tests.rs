//! Tests of the decision, with programs of the tests' own in a folder that is trusted.

use super::super::plan::tests::sample_plan;
use super::super::trust::tests::{place, put};
use super::*;
use crate::exec::policy::entries::Entry;
use crate::exec::policy::plan::sha256;
use crate::exec::policy::rule::Wish;
use proptest::prelude::*;

const ELF: &[u8] = b"\x7fELF";

struct World {
    dir: tempfile::TempDir,
    trust: Trust,
    rule: Rule,
    entries: Entries,
    safe_bins: Vec<String>,
}

impl World {
    /// A folder of trusted programs with these names, all of them listed.
    fn with(names: &[&str]) -> Self {
        let (dir, trust) = place();
        for name in names {
            put(
                &dir,
                &format!("bin/{name}"),
                name.bytes()
                    .fold(ELF.to_vec(), |mut all, b| {
                        all.push(b);
                        all
                    })
                    .as_slice(),
                0o755,
            );
        }
        let pattern = format!("{}/bin/**", std::fs::canonicalize(dir.path()).unwrap().display());
        let entries = Entries { wish: Wish::default(), list: vec![Entry { pattern, sha256: None }] };
        Self { dir, trust, rule: Rule { security: ExecSecurity::Allowlist, ask: ExecAsk::Off }, entries, safe_bins: Vec::new() }
    }

    fn decide(&self, command: &str) -> Verdict {
        let env = BTreeMap::new();
        let basis = Basis { rule: self.rule, safe_bins: &self.safe_bins, entries: &self.entries, trust: &self.trust };
        let cwd = std::fs::canonicalize(self.dir.path()).unwrap();
        let request = Request { command, cwd: &cwd, env: &env, shell: Path::new("/bin/sh"), run_id: "r", requester: "token" };
        decide(&basis, &request)
    }

    /// `allow`, `ask`, or the word of the refusal.
    fn says(&self, command: &str) -> String {
        match self.decide(command) {
            Verdict::Allow(_) => "allow".to_owned(),
            Verdict::Ask(_) => "ask".to_owned(),
            Verdict::Deny(denied) => denied.token,
        }
    }

    fn asking(self, ask: ExecAsk) -> Self {
        Self { rule: Rule { ask, ..self.rule }, ..self }
    }
}

fn argv(verdict: &Verdict) -> Vec<Vec<String>> {
    let Verdict::Allow(Some(plan)) = verdict else { panic!("{verdict:?}") };
    plan.stages.iter().map(|stage| stage.argv.clone()).collect()
}

#[test]
fn m62_in_mode_deny_nothing_may_run_whatever_is_listed_or_asked() {
    for ask in [ExecAsk::Off, ExecAsk::OnMiss, ExecAsk::Always] {
        let mut world = World::with(&["ls"]);
        world.rule = Rule { security: ExecSecurity::Deny, ask };
        assert_eq!(world.says("ls"), "DENY");
    }
}

#[test]
fn m64_a_listed_program_runs_with_exactly_its_words() {
    let world = World::with(&["ls", "wc"]);
    assert_eq!(argv(&world.decide("ls ';id'")), [["ls", ";id"]]);
    assert_eq!(argv(&world.decide("ls -l 'a b' | wc -l")), [vec!["ls", "-l", "a b"], vec!["wc", "-l"]]);
    assert_eq!(world.says("ls; id"), "OPERATOR");
    assert_eq!(world.says("ls --unheard-of"), "ARGUMENTS");
}

#[test]
fn m66_programs_that_run_others_are_never_allowed_by_a_list() {
    let commands = [
        "env -S 'sh -c id'",
        "env ls",
        "busybox sh -c id",
        "toybox sh",
        "nice ls",
        "ionice ls",
        "nohup ls",
        "timeout 5 ls",
        "stdbuf -o0 ls",
        "setsid ls",
        "xargs ls",
        "find . -exec id '{}' '+'",
        "find . -delete",
        "fd -x id",
        "git -c core.pager=id log",
        "git status",
        "tar --to-command=id -xf a",
        "tar -I id -xf a",
        "awk 'BEGIN{system(\"id\")}'",
        "gawk 1",
        "mawk 1",
        "sed -n 1e",
        "sed 's/a/b/w x'",
        "bash -c id",
        "sh x",
        "dash x",
        "zsh -c id",
        "python3 -c 1",
        "python3.11 x.py",
        "perl -e 1",
        "perl -M5 x",
        "ruby -r x",
        "node -e 1",
        "deno run x",
        "bun x",
        "php -r 1",
        "lua x",
        "vim -c ':!id'",
        "vi x",
        "ed x",
        "less x",
        "more x",
        "man ls",
        "make",
        "cmake .",
        "npm run x",
        "npx x",
        "pnpm x",
        "pip install x",
        "cargo run",
        "go run x",
        "gcc -wrapper x y",
        "g++ x",
        "ssh host",
        "ssh -oProxyCommand=x h",
        "scp a b",
        "rsync -e id a b",
        "docker run x",
        "podman run x",
        "kubectl exec x",
        "sudo id",
        "su -c id",
        "doas id",
        "time ls",
        "watch id",
        "strace ls",
        "ltrace ls",
        "gdb -ex x",
        "flock x id",
        "chroot / id",
        "unshare id",
        "nsenter id",
        "systemd-run id",
        "screen id",
        "tmux new id",
        "script -c id",
        "expect -c x",
        "socat - exec:id",
        "nc -e id h",
        "openssl engine x",
        "zip a b -TT id",
        "cpio -o",
        "dd of=x",
        "tee x",
        "split --filter=id",
        "install a b",
        "cp a b",
        "ln -s a b",
        "curl -o x u",
        "wget u",
        "ld-linux-x86-64.so.2 ls",
        "run-parts x",
        "crontab -e",
        "at now",
        "parallel id",
    ];
    let mut names: Vec<&str> = commands.iter().map(|command| command.split(' ').next().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    let world = World::with(&names);
    for command in commands {
        let said = world.says(command);
        let expected = if command.starts_with("time ") { "RESERVED_WORD" } else { "UNBOUNDED" };
        assert_eq!(said, expected, "{command}");
    }
    let world = world.asking(ExecAsk::OnMiss);
    for command in commands.iter().filter(|command| !command.starts_with("time ")) {
        assert_eq!(world.says(command), "ask", "{command}");
    }
}

#[test]
fn m66_another_name_or_another_link_of_such_a_program_is_still_that_program() {
    let world = World::with(&["busybox", "tool", "ls"]);
    let bin = std::fs::canonicalize(world.dir.path()).unwrap().join("bin");
    std::os::unix::fs::symlink(bin.join("busybox"), bin.join("applet")).unwrap();
    std::fs::hard_link(bin.join("busybox"), bin.join("hard")).unwrap();
    std::os::unix::fs::symlink(bin.join("tool"), bin.join("alias")).unwrap();
    for command in ["applet x", "hard x", "alias x"] {
        assert_eq!(world.says(command), "UNBOUNDED", "{command}");
    }
    assert_eq!(world.says("tool x"), "allow");
    // A second name alone says nothing against a file.
    std::fs::hard_link(bin.join("tool"), bin.join("tool2")).unwrap();
    assert_eq!((world.says("tool x"), world.says("tool2 x")), ("allow".into(), "allow".into()));
}

#[test]
fn m67_a_program_of_the_workspace_is_never_taken_for_the_systems() {
    let world = World::with(&["ls"]);
    let cwd = std::fs::canonicalize(world.dir.path()).unwrap();
    put(&world.dir, "ls", b"\x7fELFevil", 0o755);
    put(&world.dir, "own", b"\x7fELF", 0o755);
    let Verdict::Allow(Some(plan)) = world.decide("ls") else { panic!() };
    assert_eq!(plan.stages[0].exe.path, cwd.join("bin/ls"));
    assert_eq!((world.says("own"), world.says("./own")), ("NOT_FOUND".into(), "RELATIVE_PATH".into()));
    assert_eq!(world.says(&cwd.join("own").display().to_string()), "NOT_LISTED");
}

#[test]
fn what_is_not_listed_is_refused_or_asked_and_one_stage_is_enough() {
    let mut world = World::with(&["ls", "wc", "grep"]);
    let bin = std::fs::canonicalize(world.dir.path()).unwrap().join("bin");
    world.entries.list = vec![Entry { pattern: bin.join("ls").display().to_string(), sha256: None }];
    world.safe_bins = vec!["wc".into()];
    assert_eq!(world.says("ls a | wc -l"), "allow");
    assert_eq!(world.says("grep a"), "NOT_LISTED");
    assert_eq!(world.says("ls a | grep b | wc"), "NOT_LISTED");
    assert_eq!(world.says("wc a"), "ARGUMENTS", "a safe program reads its input only");
    assert_eq!(world.says(&format!("{} -l", bin.join("wc").display())), "NOT_LISTED", "it is safe by its name only");
    let world = world.asking(ExecAsk::OnMiss);
    assert_eq!((world.says("ls a"), world.says("ls a | grep b")), ("allow".into(), "ask".into()));
    assert_eq!(world.says("ls a > b"), "REDIRECTION", "what is not understood is not asked about");
    let world = world.asking(ExecAsk::Always);
    assert_eq!(world.says("ls a"), "ask");
}

#[test]
fn a_pinned_program_is_allowed_while_its_content_is_that() {
    let mut world = World::with(&["tool"]);
    let path = std::fs::canonicalize(world.dir.path()).unwrap().join("bin/tool");
    let digest = sha256(&std::fs::read(&path).unwrap());
    world.entries.list = vec![Entry { pattern: path.display().to_string(), sha256: Some(digest) }];
    assert_eq!(world.says("tool x"), "allow");
    std::fs::write(&path, b"\x7fELFother").unwrap();
    assert_eq!(world.says("tool x"), "NOT_LISTED");
}

#[test]
fn a_script_runs_only_with_its_digest_and_through_a_listed_interpreter() {
    let mut world = World::with(&["dash", "env"]);
    let bin = std::fs::canonicalize(world.dir.path()).unwrap().join("bin");
    let text = format!("#!{} -e\necho hi\n", bin.join("dash").display());
    let script = put(&world.dir, "bin/deploy", text.as_bytes(), 0o755);
    assert_eq!(world.says("deploy"), "SCRIPT", "a folder names no digest");
    let pin = Entry { pattern: script.display().to_string(), sha256: Some(sha256(text.as_bytes())) };
    world.entries.list.push(pin.clone());
    let verdict = world.decide("deploy now");
    assert_eq!(argv(&verdict), [vec!["dash", "-e", script.to_str().unwrap(), "now"]]);
    let Verdict::Allow(Some(plan)) = verdict else { panic!() };
    assert_eq!(
        (plan.stages[0].exe.path.clone(), plan.stages[0].script.as_ref().unwrap().file.path.clone()),
        (bin.join("dash"), script.clone())
    );
    assert_eq!(world.says("deploy -x"), "ARGUMENTS");
    world.entries.list = vec![pin];
    assert_eq!(world.says("deploy"), "SCRIPT", "the interpreter is not listed");
    put(&world.dir, "bin/through-env", format!("#!{} dash\n", bin.join("env").display()).as_bytes(), 0o755);
    assert_eq!(world.says("through-env"), "SCRIPT");
    put(&world.dir, "bin/relative", b"#!dash\n", 0o755);
    assert_eq!(world.says("relative"), "SCRIPT");
    put(&world.dir, "bin/neither", b"echo hi\n", 0o755);
    assert_eq!(world.says("neither"), "NOT_A_PROGRAM");
    put(&world.dir, "bin/pip3", text.as_bytes(), 0o755);
    let digest = Some(sha256(text.as_bytes()));
    world.entries.list =
        ["pip3", "dash"].map(|name| Entry { pattern: bin.join(name).display().to_string(), sha256: digest.clone() }).to_vec();
    world.entries.list[1].sha256 = None;
    assert_eq!(world.says("pip3 install x"), "UNBOUNDED");
}

#[test]
fn an_interpreters_script_is_bound_to_what_a_person_is_asked() {
    let world = World::with(&["python3"]).asking(ExecAsk::OnMiss);
    let script = put(&world.dir, "x.py", b"print(1)", 0o644);
    let subject = |world: &World| match world.decide("python3 x.py") {
        Verdict::Ask(subject) => subject,
        other => panic!("{other:?}"),
    };
    let before = subject(&world);
    assert_eq!(before.plan().unwrap().stages[0].files[0].sha256, sha256(b"print(1)"));
    assert!(before.prompt.contains("file ") && before.prompt.contains("x.py"), "{}", before.prompt);
    std::fs::write(&script, b"print(2)").unwrap();
    assert_ne!(subject(&world).digest, before.digest);
}

#[test]
fn mode_full_is_the_shell_and_asks_only_when_told_to_always() {
    let mut world = World::with(&[]);
    for ask in [ExecAsk::Off, ExecAsk::OnMiss] {
        world.rule = Rule { security: ExecSecurity::Full, ask };
        assert_eq!(world.decide("a; b | c > d"), Verdict::Allow(None));
    }
    world.rule = Rule { security: ExecSecurity::Full, ask: ExecAsk::Always };
    let Verdict::Ask(subject) = world.decide("a; b > c") else { panic!() };
    let plan = subject.plan().unwrap();
    assert_eq!((plan.mode, plan.stages[0].argv.clone()), (ExecSecurity::Full, vec!["/bin/sh".into(), "-c".into(), "a; b > c".into()]));
    assert!(subject.prompt.starts_with("/bin/sh -c 'a; b > c'\n"), "{}", subject.prompt);
    assert_eq!(world.says(&"x".repeat(MAX_SHELL_TEXT + 1)), "TOO_LONG");
}

#[test]
fn a_question_that_nobody_hears_is_a_refusal_that_says_so() {
    let denied = unanswered(&Subject::new(&sample_plan(&[&["git", "status"]]), "r", "token"));
    assert_eq!((denied.code, denied.token.as_str()), (DeniedCode::ApprovalNoApprover, "ASK"));
    assert!(denied.reason.ends_with(": git status"), "{}", denied.reason);
}

fn strictness(said: &str) -> u8 {
    match said {
        "allow" => 0,
        "ask" => 1,
        _ => 2,
    }
}

proptest! {
    /// No stage hides behind another one, in whatever order they stand.
    #[test]
    fn a_pipeline_is_as_strict_as_its_strictest_stage(
        stages in proptest::collection::vec(prop::sample::select(vec!["ls a", "wc", "bash -c x", "none", "ls --odd", "./x", "tool b"]), 1..=4),
        ask in prop::sample::select(vec![ExecAsk::Off, ExecAsk::OnMiss, ExecAsk::Always]),
    ) {
        thread_local!(static WORLD: World = World::with(&["ls", "wc", "bash", "tool"]));
        WORLD.with(|world| {
            let world = World { rule: Rule { ask, ..world.rule }, dir: tempfile::tempdir().unwrap(), trust: world.trust.clone(), entries: world.entries.clone(), safe_bins: Vec::new() };
            let each = stages.iter().map(|stage| strictness(&world.says(stage))).max().unwrap();
            prop_assert_eq!(strictness(&world.says(&stages.join(" | "))), each);
            Ok(())
        })?;
    }

    /// Narrowing any rule never lets more run.
    #[test]
    fn a_stricter_rule_never_allows_more(
        command in prop::sample::select(vec!["ls a", "bash -c x", "ls; id", "none", "ls --odd"]),
        security in prop::sample::select(vec![ExecSecurity::Deny, ExecSecurity::Allowlist, ExecSecurity::Full]),
        ask in prop::sample::select(vec![ExecAsk::Off, ExecAsk::OnMiss, ExecAsk::Always]),
        wish in prop::sample::select(vec![ExecSecurity::Deny, ExecSecurity::Allowlist, ExecSecurity::Full]),
    ) {
        let mut world = World::with(&["ls", "bash"]);
        world.rule = Rule { security, ask };
        let before = strictness(&world.says(command));
        world.rule = world.rule.narrowed(Wish { security: Some(wish), ask: None });
        let after = strictness(&world.says(command));
        // What was asked about in the shell may be listed as a program; what was refused stays refused.
        prop_assert!(after >= before || (before == 1 && after == 0));
    }
}
