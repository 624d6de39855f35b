//! Text for people: columns, ages, and text that cannot play tricks on the terminal.

/// Columns padded to their widest cell, two spaces between them; nothing behind the last one.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (n, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(n) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A duration in its two largest units, such as `3 h 12 min`.
#[must_use]
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if ms < 10_000 => format!("{}.{} s", seconds, ms / 100 % 10),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A number of bytes with its unit.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    // In tenths, so that no floating point is needed.
    let mut tenths = n.saturating_mul(10);
    let mut unit = "B";
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, next);
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// The text without control characters, cut to `most` characters. Titles come from clients and could move the cursor.
#[must_use]
pub fn plain(text: &str, most: usize) -> String {
    let mut clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most + 1).collect();
    if clean.chars().count() > most {
        clean.pop();
        clean.pop();
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_space() {
        let rows = vec![
            vec!["RUN".to_owned(), "STATUS".to_owned()],
            vec!["longer".to_owned(), "ok".to_owned()],
            vec!["ä".to_owned(), String::new()],
        ];
        assert_eq!(columns(&rows), "RUN     STATUS\nlonger  ok\nä");
    }

    #[test]
    fn durations_and_sizes_read_well() {
        let shown: Vec<_> = [0, 1250, 59_999, 61_000, 3_720_000, 90_000_000].map(duration).into();
        assert_eq!(shown, ["0.0 s", "1.2 s", "59 s", "1 min 1 s", "1 h 2 min", "1 d 1 h"]);
        let shown: Vec<_> = [0, 1023, 1024, 1536, 12_582_912, u64::MAX].map(bytes).into();
        assert_eq!(shown[..5], ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "12.0 MiB"]);
        assert!(shown[5].ends_with("TiB"));
    }

    #[test]
    fn text_of_others_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2J\nb", 10), "a [2J b");
        assert_eq!(plain("abcdef", 4), "abc…");
        assert_eq!(plain("abcd", 4), "abcd");
    }
}
