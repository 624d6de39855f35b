//! A command without a process: what the model is told of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::command::{Command, Tee};
use super::{Commands, Wanted};
use crate::agent::spec::ExecRules;
use crate::agent::tools::exec::ended;
use crate::exec::company::Company;
use crate::exec::output::Sink;
use crate::protocol::event::agent::Source;

fn command(pty: bool) -> Arc<Command> {
    let wanted = Wanted {
        tool_call_id: "c".into(),
        text: "true".into(),
        cwd: "/".into(),
        env: Default::default(),
        timeout: Duration::from_secs(1),
        open_input: false,
        pty,
    };
    Arc::new(Command::new("p1".into(), &wanted, 1, None, CancellationToken::new()))
}

/// What the host is told.
#[derive(Clone, Default)]
struct Raw(Arc<Mutex<String>>);

impl Sink for Raw {
    fn chunk(&mut self, _: Source, text: &str, _: Option<u64>) -> bool {
        self.0.lock().unwrap().push_str(text);
        true
    }
}

#[test]
fn a_command_that_runs_on_over_its_time_limit_is_told_of_as_such() {
    let command = command(false);
    let told = ended(&command, "", false);
    assert!(!told.is_error && told.words().starts_with("[It still runs after "), "{}", told.words());
    command.time_is_over();
    let told = ended(&command, "", false);
    assert!(told.is_error && told.words().starts_with("[Its time limit was over "), "{}", told.words());
}

#[test]
fn the_lines_of_a_terminal_end_as_those_of_a_text_and_the_host_is_told_as_they_came() {
    let chunks = [("one\r", None), ("\ntwo\r", None), ("three\r", Some(7)), ("\r\nfour\r", None)];
    for (pty, want) in
        [(true, "one\ntwo\r\n[… 7 bytes left out …]\nthree\r\nfour\r"), (false, "one\r\ntwo\r\n[… 7 bytes left out …]\nthree\r\r\nfour\r")]
    {
        let (command, raw) = (command(pty), Raw::default());
        let mut tee = Tee::new(Arc::clone(&command), Box::new(raw.clone()));
        for (text, dropped) in chunks {
            assert!(tee.chunk(Source::Stdout, text, dropped));
        }
        tee.finish();
        assert_eq!(command.output(), want);
        assert_eq!(*raw.0.lock().unwrap(), "one\r\ntwo\rthree\r\r\nfour\r");
    }
}

#[test]
fn the_end_of_a_command_may_take_its_grace_and_what_is_done_behind_it() {
    let commands = |grace_ms| Commands::new(ExecRules { grace_ms, ..ExecRules::default() }, &CancellationToken::new(), Company::several());
    assert_eq!(commands(7000).ending(), Duration::from_secs(11));
    assert!(commands(u64::MAX).ending() > Duration::from_secs(1 << 50));
}
