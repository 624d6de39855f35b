//! A bounded number of places that nobody waits for: there is one, or the caller is refused. A semaphore would also keep a line of waiters, and take a lock at every leave to look into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The room; clones are the same one.
#[derive(Clone, Debug)]
pub struct Room(Arc<Places>);

#[derive(Debug)]
struct Places {
    size: usize,
    taken: AtomicUsize,
}

/// A place in a room, free again when dropped.
#[derive(Debug)]
pub struct Taken(Arc<Places>);

impl Room {
    /// A room with `size` places.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self(Arc::new(Places { size, taken: AtomicUsize::new(0) }))
    }

    /// Takes a place, if one is free.
    #[must_use]
    pub fn enter(&self) -> Option<Taken> {
        let Places { size, taken } = &*self.0;
        // The count guards nothing but itself.
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < *size).then_some(now + 1)).ok()?;
        Some(Taken(Arc::clone(&self.0)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_takes_nobody_until_somebody_leaves() {
        let room = Room::new(2);
        let first = room.enter();
        let second = room.clone().enter();
        assert!(first.is_some() && second.is_some() && room.enter().is_none());
        drop(first);
        assert!(room.enter().is_some(), "and that one left at once");
        let third = room.enter();
        assert!(third.is_some() && room.enter().is_none());
    }

    #[test]
    fn many_at_once_never_take_more_than_there_are() {
        let room = Room::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let taken = room.enter();
                        assert!(room.0.taken.load(Ordering::Relaxed) <= 3);
                        drop(taken);
                    }
                });
            }
        });
        assert_eq!(room.0.taken.load(Ordering::Relaxed), 0);
    }
}
