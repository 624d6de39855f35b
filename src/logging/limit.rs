//! A bound on what one place in the program may log, so that an error that comes a million times neither fills the disk nor hides the others.

use std::collections::HashMap;

use tracing::Metadata;
use tracing::callsite::Identifier;

/// Records of one place in one second; more are counted.
const PER_SECOND: u32 = 100;
/// One second, in ms.
const WINDOW_MS: u64 = 1000;

/// What the places have logged in their last second.
#[derive(Default)]
pub struct Limiter {
    places: HashMap<Identifier, Place>,
    /// Places with records that nobody was told of yet.
    quiet: Vec<Identifier>,
}

struct Place {
    metadata: &'static Metadata<'static>,
    began_ms: u64,
    count: u32,
    suppressed: u64,
}

/// What becomes of a record.
pub struct Verdict {
    /// Whether it is written.
    pub admitted: bool,
    /// What is to be told first: places whose storm is over, and how many of their records were left out.
    pub suppressed: Vec<(&'static Metadata<'static>, u64)>,
}

impl Limiter {
    /// A record of this place, at `now_ms` of a clock that never goes back.
    pub fn admit(&mut self, metadata: &'static Metadata<'static>, now_ms: u64) -> Verdict {
        let suppressed = self.over(now_ms);
        let id = metadata.callsite();
        let place = self.places.entry(id.clone()).or_insert(Place { metadata, began_ms: now_ms, count: 0, suppressed: 0 });
        if now_ms >= place.began_ms.saturating_add(WINDOW_MS) {
            (place.began_ms, place.count) = (now_ms, 0);
        }
        place.count = place.count.saturating_add(1);
        let admitted = place.count <= PER_SECOND;
        if !admitted {
            place.suppressed += 1;
            if place.suppressed == 1 {
                self.quiet.push(id);
            }
        }
        Verdict { admitted, suppressed }
    }

    /// Places whose second is over, with what was left out in it.
    fn over(&mut self, now_ms: u64) -> Vec<(&'static Metadata<'static>, u64)> {
        let mut told = Vec::new();
        let places = &mut self.places;
        self.quiet.retain(|id| {
            let Some(place) = places.get_mut(id) else { return false };
            let over = now_ms >= place.began_ms.saturating_add(WINDOW_MS);
            if over {
                told.push((place.metadata, std::mem::take(&mut place.suppressed)));
            }
            !over
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Subscriber};

    /// Gets hold of the metadata of two places.
    struct Catch(Arc<Mutex<Vec<&'static Metadata<'static>>>>);

    impl Subscriber for Catch {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(event.metadata());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn places() -> Vec<&'static Metadata<'static>> {
        let caught = Arc::new(Mutex::new(Vec::new()));
        tracing::subscriber::with_default(Catch(Arc::clone(&caught)), || {
            tracing::error!("one");
            tracing::error!("two");
        });
        let caught = caught.lock().unwrap();
        caught.clone()
    }

    #[test]
    fn a_place_gets_its_share_of_each_second_and_the_rest_is_told_as_a_number() {
        let _alone = super::super::tests::alone();
        let (places, mut limiter) = (places(), Limiter::default());
        let admitted = (0..250).filter(|n| limiter.admit(places[0], *n).admitted).count();
        assert_eq!(admitted, 100);
        let other = limiter.admit(places[1], 500);
        assert!(other.admitted && other.suppressed.is_empty(), "the second is not over");
        let later = limiter.admit(places[1], 1000);
        assert_eq!(
            later.suppressed.iter().map(|(place, count)| (place.callsite() == places[0].callsite(), *count)).collect::<Vec<_>>(),
            [(true, 150)]
        );
        let again = limiter.admit(places[0], 1001);
        assert!(again.admitted && again.suppressed.is_empty());
    }
}
