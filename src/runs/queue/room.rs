//! Room for runs that take much memory. Others are not touched by it.

/// How many heavy runs may be at work at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// So many.
    Count(usize),
    /// As many as weigh this together, MB; a single one always.
    Memory(u64),
}

/// The heavy runs at work.
#[derive(Debug)]
pub(super) struct Heavy {
    /// How many there may be.
    pub room: Room,
    /// How many there are.
    pub count: usize,
    /// What they weigh together, MB.
    pub weight: u64,
}

impl Default for Heavy {
    fn default() -> Self {
        Self { room: Room::Memory(u64::MAX), count: 0, weight: 0 }
    }
}

impl Heavy {
    /// Whether there is room for one more of this weight; for one without weight there always is.
    pub fn fits(&self, weight: u64) -> bool {
        weight == 0
            || match self.room {
                Room::Count(most) => self.count < most.max(1),
                Room::Memory(most) => self.count == 0 || self.weight.saturating_add(weight) <= most,
            }
    }

    /// One of this weight is at work.
    pub fn add(&mut self, weight: u64) {
        self.count += usize::from(weight > 0);
        self.weight = self.weight.saturating_add(weight);
    }

    /// One of this weight has ended.
    pub fn remove(&mut self, weight: u64) {
        self.count = self.count.saturating_sub(usize::from(weight > 0));
        self.weight = self.weight.saturating_sub(weight);
    }
}
