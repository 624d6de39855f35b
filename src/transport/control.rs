//! The rules of control frames beyond their size: which close codes may travel, and how many pings are answered.

use tokio::time::Instant;

use crate::transport::guard::{Fault, Violation};

/// Pings taken at once, and pings per second after that.
const PING_BURST: f64 = 20.0;
const PINGS_PER_SECOND: f64 = 10.0;

/// The code of a close frame's payload; none when it is empty.
///
/// # Errors
/// 1002 for a payload of one byte, a code that never travels, or a reason that is not UTF-8.
pub fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    let bad = |reason| Err(Fault::Violation(Violation { code: 1002, reason }));
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { bad("close frame of one byte") };
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455 section 7.4 and the registry: 1004 to 1006 and 1015 never travel, 3000 to 4999 belong to libraries and applications.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return bad("bad close code");
    }
    if std::str::from_utf8(reason).is_err() {
        return bad("close reason is not utf-8");
    }
    Ok(Some(code))
}

/// A bucket of pings that refills with time.
#[derive(Debug)]
pub struct PingRate {
    left: f64,
    at: Option<Instant>,
}

impl Default for PingRate {
    /// A full bucket.
    fn default() -> Self {
        Self { left: PING_BURST, at: None }
    }
}

impl PingRate {
    /// Takes one ping at `now`; `false` when the bucket is empty.
    pub fn admit(&mut self, now: Instant) -> bool {
        if let Some(at) = self.at {
            let refill = now.saturating_duration_since(at).as_secs_f64() * PINGS_PER_SECOND;
            self.left = (self.left + refill).min(PING_BURST);
        }
        self.at = Some(now);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn close_codes_that_never_travel_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            assert!(close_code(&u16::to_be_bytes(code)).is_err(), "{code}");
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999] {
            assert_eq!(close_code(&u16::to_be_bytes(code)), Ok(Some(code)));
        }
        assert_eq!(close_code(&[]), Ok(None));
        assert!(close_code(&[3]).is_err());
        assert!(close_code(&[0x03, 0xE8, 0xFF]).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_of_pings_refills_to_its_burst_and_no_further() {
        let mut pings = PingRate::default();
        let start = Instant::now();
        let admitted = |pings: &mut PingRate, at: Instant| (0..100).filter(|_| pings.admit(at)).count();
        assert_eq!(admitted(&mut pings, start), 20);
        assert_eq!(admitted(&mut pings, start + Duration::from_secs(1)), 10);
        assert_eq!(admitted(&mut pings, start + Duration::from_secs(3600)), 20);
    }
}
