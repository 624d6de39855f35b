//! How long a comparison of secrets takes must say nothing about the secret: two classes of wrong secrets are compared in random turns, and Welch's t says whether their times differ.
//!
//! A leak grows with the number of samples and noise does not, so a large t is measured again before it counts; and a comparison that stops at the first difference is measured the same way, to show that a leak would be found.

use std::hint::black_box;
use std::time::Instant;

use skykoi_gateway::auth::token::TokenDigest;

/// Comparisons per class.
const SAMPLES: usize = 20_000;
/// Comparisons that are timed together, since the clock is about as coarse as one of them is long.
const AT_ONCE: usize = 4;
/// Beyond this the times differ; by chance once in a hundred thousand measurements.
const BOUND: f64 = 4.5;
/// Measurements of which each must be beyond the bound.
const TRIES: usize = 4;
/// Share of the samples that is looked at, the quickest ones: the others were interrupted.
const QUICKEST: f64 = 0.8;

const TOKEN: &str = "skg_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ";

/// Welch's t of the times of `compare` over two classes of inputs.
fn t_of(classes: &[Vec<String>; 2], compare: &dyn Fn(&str) -> bool) -> f64 {
    let mut times: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut state = 0x9e37_79b9_u32;
    for n in 0..SAMPLES * 2 {
        // The order is random, so that nothing that changes with time falls on one class.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let class = usize::from(state & 1 == 1);
        let input = &classes[class][n % classes[class].len()];
        let began = Instant::now();
        for _ in 0..AT_ONCE {
            assert!(!black_box(compare(black_box(input))));
        }
        times[class].push(began.elapsed().as_secs_f64() * 1e9);
    }
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a small count")]
    let slowest = all[(all.len() as f64 * QUICKEST) as usize];
    let [first, second] = times.map(|times| mean_and_error(times.into_iter().filter(|time| *time <= slowest).collect()));
    (first.0 - second.0) / (first.1 + second.1).sqrt()
}

/// The mean, and the square of its error.
fn mean_and_error(times: Vec<f64>) -> (f64, f64) {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below what a float holds")]
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, variance / count)
}

/// Wrong tokens of these lengths that agree with the right one up to the given place.
fn wrong(right_up_to: usize, length: usize) -> Vec<String> {
    let letters = ['!', '#', '%', '&', '(', ')', '+', ';'];
    letters.iter().map(|letter| TOKEN[..right_up_to].chars().chain(std::iter::repeat(*letter)).take(length).collect()).collect()
}

fn classes() -> [(&'static str, [Vec<String>; 2]); 2] {
    let length = TOKEN.len();
    [
        ("none of it right, all but the last byte right", [wrong(0, length), wrong(length - 1, length)]),
        (
            "the first half right, the second half right",
            [wrong(length / 2, length), wrong(0, length / 2).into_iter().map(|half| half + &TOKEN[length / 2..]).collect()],
        ),
    ]
}

#[test]
fn m49_how_much_of_a_wrong_secret_is_right_cannot_be_told_from_the_time() {
    let digest = TokenDigest::of(TOKEN);
    for (name, classes) in classes() {
        let measured: Vec<f64> = (0..TRIES).map(|_| t_of(&classes, &|presented| digest.matches(presented))).collect();
        eprintln!("{name}: t = {measured:.2?}");
        assert!(measured.iter().any(|t| t.abs() < BOUND), "{name}: t = {measured:?}");
    }
}

#[test]
fn m49_how_long_the_right_secret_is_cannot_be_told_from_the_time() {
    let presented = wrong(0, TOKEN.len());
    let (same, longer) = (TokenDigest::of(TOKEN), TokenDigest::of(&TOKEN.repeat(20)));
    let marked: [Vec<String>; 2] = [presented.clone(), presented.iter().map(|text| format!("{}$", &text[1..])).collect()];
    let compare = |text: &str| if text.ends_with('$') { longer.matches(text) } else { same.matches(text) };
    let measured: Vec<f64> = (0..TRIES).map(|_| t_of(&marked, &compare)).collect();
    eprintln!("t = {measured:.2?}");
    assert!(measured.iter().any(|t| t.abs() < BOUND), "t = {measured:?}");
}

#[test]
fn a_comparison_that_stops_at_the_first_difference_would_be_found() {
    let naive =
        |presented: &str| presented.len() == TOKEN.len() && presented.bytes().zip(TOKEN.bytes()).all(|(a, b)| black_box(a) == black_box(b));
    let (_, classes) = &classes()[0];
    let measured: Vec<f64> = (0..TRIES).map(|_| t_of(classes, &naive)).collect();
    eprintln!("t = {measured:.2?}");
    assert!(measured.iter().all(|t| t.abs() > BOUND), "t = {measured:?}");
}
