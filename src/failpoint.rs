//! Named points at which a test can make the process die, so that every order of "written" and "told" is tried.
//!
//! Active only in debug builds and only with `SKYKOI_FAILPOINT=name[:n]` in the environment: the process aborts when the point is passed for the nth time (1 when absent). In release builds a point costs nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Marks a point at which `SKYKOI_FAILPOINT` can end the process.
macro_rules! failpoint {
    ($name:literal) => {
        if cfg!(debug_assertions) {
            $crate::failpoint::pass($name);
        }
    };
}
pub(crate) use failpoint;

struct Plan {
    name: String,
    left: AtomicU64,
}

/// Aborts the process if this is the point and the pass that the environment asks for.
pub fn pass(name: &str) {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| std::env::var("SKYKOI_FAILPOINT").ok().and_then(|text| Plan::parse(&text)));
    if plan.as_ref().is_some_and(|plan| plan.fires(name)) {
        std::process::abort();
    }
}

impl Plan {
    fn parse(text: &str) -> Option<Self> {
        let (name, n) = match text.rsplit_once(':') {
            Some((name, n)) => (name, n.parse().ok()?),
            None => (text, 1),
        };
        if name.is_empty() || n == 0 {
            return None;
        }
        Some(Self { name: name.to_owned(), left: AtomicU64::new(n) })
    }

    fn fires(&self, name: &str) -> bool {
        // A counter that has reached zero would wrap, but the process is gone by then.
        self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_point_fires_at_the_nth_pass_only() {
        let plan = Plan::parse("store.before_commit:3").unwrap();
        assert!(!plan.fires("store.before_commit"));
        assert!(!plan.fires("store.after_commit"));
        assert!(!plan.fires("store.before_commit"));
        assert!(plan.fires("store.before_commit"));
    }

    #[test]
    fn without_a_number_the_first_pass_fires() {
        assert!(Plan::parse("a").unwrap().fires("a"));
    }

    #[test]
    fn nonsense_is_no_plan() {
        for text in ["", ":1", "a:0", "a:x", "a:-1"] {
            assert!(Plan::parse(text).is_none(), "{text}");
        }
    }
}
