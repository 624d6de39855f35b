//! Names of tools that are not ours: what providers take, no longer than they take it, and told apart.

use ring::digest::{SHA256, digest};

/// Longest name that every provider takes.
const MAX: usize = 64;

/// The name of a server's tool, as models call it.
pub(super) fn tool_name(server: &str, tool: &str) -> String {
    let plain: String = tool.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).collect();
    let name = format!("mcp__{server}__{plain}");
    if name.len() <= MAX && plain == tool {
        return name;
    }
    // What was changed or cut might be another one's name.
    let mark: String = digest(&SHA256, tool.as_bytes()).as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}_{mark}", name.get(..MAX - 9).unwrap_or(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_short_and_told_apart() {
        assert_eq!(tool_name("fs", "read_file"), "mcp__fs__read_file");
        let (dots, other) = (tool_name("fs", "a.b"), tool_name("fs", "a/b"));
        assert!(dots.starts_with("mcp__fs__a_b_") && dots != other, "{dots} {other}");
        let long = |end: &str| tool_name("server", &format!("{}{end}", "x".repeat(100)));
        assert!(long("a").len() == MAX && long("a") != long("b"));
        assert!(tool_name("s", "ü名").bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    }
}
