//! Counts per set of labels, without a lock and within bounds.
//!
//! A set of labels is packed into one number, the key. The table only grows: a key gets the first free slot of its
//! sequence, and keeps it. So a count is one atomic addition, and two threads that meet the same new key agree on its
//! slot. A table that is full is followed by a larger one, which is allocated when it is needed.
//!
//! The hard case is a provider, or a caller, that makes up labels. The last table is the limit: further sets of labels
//! are counted together.
//!
//! Rejected: a map behind a lock. Every request of every core would wait for it.

use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The slots of each table. All tables together take 73 KiB for each upstream.
const SIZES: [usize; 3] = [64, 512, 4096];

/// How many slots of a table a key may use. A table can count as full before every slot is used.
const PROBES: usize = 8;

/// Counts by key.
#[derive(Debug, Default)]
pub(super) struct Series {
    tables: [OnceLock<Box<[Slot]>>; SIZES.len()],
    others: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// 0 if the slot is free.
    key: AtomicU64,
    count: AtomicU64,
}

impl Series {
    pub(super) fn increment(&self, key: NonZeroU64) {
        let slot = self.tables.iter().zip(SIZES).find_map(|(table, size)| {
            let slots = table.get_or_init(|| (0..size).map(|_| Slot::default()).collect());
            slot(slots, key.get())
        });
        slot.map_or(&self.others, |slot| &slot.count).fetch_add(1, Ordering::Relaxed);
    }

    /// All keys with their counts.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        let slots = self.tables.iter().filter_map(OnceLock::get).flatten();
        let counts = slots.map(|slot| (slot.key.load(Ordering::Relaxed), slot.count.load(Ordering::Relaxed)));
        counts.filter(|(key, _)| *key != 0)
    }

    /// The count of all keys that found no slot.
    pub(super) fn others(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }
}

/// The slot of `key`, which it gets now if it has none. `None` if all slots that it may use have other keys.
fn slot(slots: &[Slot], key: u64) -> Option<&Slot> {
    // The sizes are powers of two.
    let first = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
    (first..first + PROBES).map(|index| &slots[index & (slots.len() - 1)]).find(|slot| {
        let found = slot.key.load(Ordering::Relaxed);
        if found != 0 {
            return found == key;
        }
        match slot.key.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(other) => other == key,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(number: u64) -> NonZeroU64 {
        NonZeroU64::new(number).unwrap()
    }

    #[test]
    fn threads_that_count_the_same_keys_lose_nothing_and_make_no_key_twice() {
        let series = Series::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50_000).for_each(|number| series.increment(key(1 + number % 100))));
            }
        });
        let counts: Vec<_> = series.counts().collect();
        let by_key: BTreeMap<u64, u64> = counts.iter().copied().collect();
        assert_eq!((counts.len(), by_key.len(), series.others()), (100, 100, 0));
        assert!(by_key.values().all(|count| *count == 2000));
    }

    #[test]
    fn keys_beyond_the_limit_are_counted_together() {
        let series = Series::default();
        (1..=100_000).for_each(|number| series.increment(key(number)));
        series.increment(key(1));
        let limit: usize = SIZES.iter().sum();
        let keys = series.counts().count();
        assert!(keys > limit / 2 && keys <= limit, "{keys}");
        assert_eq!(series.counts().map(|(_, count)| count).sum::<u64>() + series.others(), 100_001);
        assert!(series.counts().any(|counted| counted == (1, 2)), "a key that is known is still counted");
    }
}
