//! Figures, their bounds, and how they are told.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// What a figure must keep to.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// It is for information.
    None,
    /// It may not be more.
    Most(f64),
    /// It may not be less.
    Least(f64),
}

impl Bound {
    fn kept(self, value: f64) -> bool {
        match self {
            Self::None => true,
            Self::Most(most) => value <= most,
            Self::Least(least) => value >= least,
        }
    }

    fn text(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Most(most) => Some(format!("<= {most}")),
            Self::Least(least) => Some(format!(">= {least}")),
        }
    }
}

#[derive(Debug)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    bound: Bound,
}

/// The figures so far.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Takes a figure and tells it as one JSON line.
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str, bound: Bound) {
        let figure = Figure { name: name.into(), value: rounded(value), unit, bound };
        let line: Value = json!({
            "figure": figure.name,
            "value": figure.value,
            "unit": figure.unit,
            "bound": bound.text(),
            "ok": bound.kept(figure.value),
        });
        say(&line.to_string());
        self.figures.push(figure);
    }

    /// Tells all figures for a person.
    pub fn table(&self, took: Duration) {
        let width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0);
        say("");
        for figure in &self.figures {
            let verdict = match (figure.bound.text(), figure.bound.kept(figure.value)) {
                (None, _) => String::new(),
                (Some(bound), true) => format!("{bound:>10}  ok"),
                (Some(bound), false) => format!("{bound:>10}  MISSED"),
            };
            say(format!("{:width$}  {:>12} {:<10} {verdict}", figure.name, figure.value, figure.unit).trim_end());
        }
        say(&format!("\n{} figures in {} s", self.figures.len(), took.as_secs()));
    }

    /// Whether every bound is kept.
    pub fn all_kept(&self) -> bool {
        self.figures.iter().all(|figure| figure.bound.kept(figure.value))
    }
}

/// Three digits are more than any of this is worth.
fn rounded(value: f64) -> f64 {
    let digits = if value.abs() >= 100.0 { 0 } else { 2 };
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// The value below which the given share of all values lies; 0 without values.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * percent / 100.0).round() as usize;
    sorted.get(at.min(last)).copied().unwrap_or(0.0)
}

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// A duration in ms.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn say(line: &str) {
    // Whoever stopped reading does not want the rest.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Says why the bench could not go on.
pub fn complain(error: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {error}");
}
