//! Which calls of a program are the same as calls of our own tool: both sides tell of them, in any order, and a reader of the journal sees each once.
//!
//! Most programs name their call when they use the tool. Where one does not, the command says which it is.

use serde_json::Value;
use tokio::time::Instant;

/// The calls of our tool in a turn.
#[derive(Debug, Default)]
pub struct Ours {
    known: Vec<Our>,
    /// Calls of which the program told and that may yet be ours, with their commands.
    theirs: Vec<(String, String)>,
}

#[derive(Debug)]
struct Our {
    id: String,
    command: String,
    /// The program's own name for it, once it is known.
    told: Option<String>,
    begun: Instant,
    over: bool,
}

impl Ours {
    /// The tool is used. Gives the call's name, and whether nobody has told of it yet.
    pub fn begin(&mut self, named: Option<String>, command: &str) -> (String, bool) {
        let known = |id: &str| self.known.iter().any(|our| our.id == id);
        // A name that comes twice would make two calls one.
        let named = named.filter(|id| !known(id));
        let place = match &named {
            Some(id) => self.theirs.iter().position(|(other, _)| other == id),
            None => self.theirs.iter().position(|(_, other)| other == command),
        };
        let theirs = place.map(|place| self.theirs.remove(place).0);
        let (is_new, told) = (theirs.is_none(), theirs.or(named));
        let id = told.clone().unwrap_or_else(|| format!("gw_{}", self.known.len() + 1));
        self.known.push(Our { id: id.clone(), command: command.to_owned(), told, begun: Instant::now(), over: false });
        (id, is_new)
    }

    /// The program tells of a call. Returns whether it is news.
    pub fn told(&mut self, id: &str, args: &Value) -> bool {
        if self.name(id).is_some() {
            return false;
        }
        let Some(command) = args.get("command").and_then(Value::as_str) else { return true };
        let same = self.known.iter_mut().find(|our| our.told.is_none() && our.command == command);
        let is_new = same.is_none();
        match same {
            Some(our) => our.told = Some(id.to_owned()),
            None => self.theirs.push((id.to_owned(), command.to_owned())),
        }
        is_new
    }

    /// Our name for a call of the program; none if it is not ours.
    pub fn name(&self, id: &str) -> Option<String> {
        self.known.iter().find(|our| our.told.as_deref() == Some(id)).map(|our| our.id.clone())
    }

    /// The calls that are not over.
    pub fn open(&self) -> Vec<String> {
        self.known.iter().filter(|our| !our.over).map(|our| our.id.clone()).collect()
    }

    /// The call of this name of ours is over. Gives when it began, the first time.
    pub fn end(&mut self, id: &str) -> Option<Instant> {
        let our = self.known.iter_mut().find(|our| our.id == id && !our.over)?;
        our.over = true;
        Some(our.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn args() -> Value {
        json!({ "command": "ls", "cwd": "/" })
    }

    #[tokio::test]
    async fn a_call_is_told_once_whoever_is_first() {
        for named in [Some("call_1".to_owned()), None] {
            // The program first.
            let mut ours = Ours::default();
            assert!(ours.told("call_1", &args()));
            assert_eq!(ours.begin(named.clone(), "ls"), ("call_1".to_owned(), false), "{named:?}");
            assert!(!ours.told("call_1", &args()) && ours.name("call_1").is_some());
            // The tool first.
            let mut ours = Ours::default();
            let (id, is_new) = ours.begin(named.clone(), "ls");
            assert!(is_new && !ours.told("call_1", &args()), "{named:?}");
            assert_eq!(ours.name("call_1"), Some(id.clone()));
            assert!(ours.end(&id).is_some() && ours.end(&id).is_none(), "the first end counts");
            assert!(!ours.told("call_1", &args()), "late news");
        }
    }

    #[tokio::test]
    async fn other_calls_and_equal_commands_stay_apart() {
        let mut ours = Ours::default();
        assert!(ours.told("read_1", &json!({ "path": "/x" })) && ours.told("a", &args()) && ours.told("b", &args()));
        assert_eq!(ours.begin(None, "pwd"), ("gw_1".to_owned(), true));
        assert_eq!(ours.begin(Some("b".to_owned()), "ls"), ("b".to_owned(), false));
        assert_eq!(ours.begin(None, "ls"), ("a".to_owned(), false));
        assert_eq!(ours.begin(None, "ls"), ("gw_4".to_owned(), true));
        // A program that gives one name twice gets two calls all the same.
        assert_eq!(ours.begin(Some("b".to_owned()), "ls"), ("gw_5".to_owned(), true));
        assert_eq!((ours.name("read_1"), ours.end("read_1").is_some()), (None, false));
    }
}
