//! Which keys the provider has published since the start, and the last fetches, for the status page.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::KeyName;
use super::set::KeySet;
use crate::fetch_history::FetchHistory;
use crate::jose::MAX_KID_BYTES;

/// How many keys are remembered: two sets of the largest size. If there are more, the one that was published last the
/// longest time ago is forgotten.
const MAX_REMEMBERED: usize = 200;

/// What has been fetched for one upstream. It outlives its [`Keys`](super::Keys).
#[derive(Debug, Default)]
pub(crate) struct KeyHistory {
    pub(crate) fetches: FetchHistory,
    seen: Mutex<Vec<SeenKey>>,
}

/// An entry of a key set, and when it was in a fetched set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenKey {
    pub name: KeyName,
    pub first: Timestamp,
    pub last: Timestamp,
}

impl KeyHistory {
    /// The remembered keys, in the order in which they appeared.
    pub(crate) fn seen(&self) -> Vec<SeenKey> {
        self.lock().clone()
    }

    /// Records that the provider publishes these keys now.
    pub(super) fn published(&self, set: &KeySet) {
        let names = set.entries().iter().filter_map(|entry| entry.name());
        // An entry with a longer kid cannot be used. Its kid may have a megabyte.
        let names = names.filter(|name| name.kid.as_ref().is_none_or(|kid| kid.len() <= MAX_KID_BYTES));
        self.published_at(Timestamp::now(), names);
    }

    fn published_at(&self, now: Timestamp, names: impl Iterator<Item = KeyName>) {
        let mut seen = self.lock();
        for name in names {
            match seen.iter_mut().find(|seen| seen.name == name) {
                Some(known) => known.last = now,
                None => seen.push(SeenKey { name, first: now, last: now }),
            }
        }
        while seen.len() > MAX_REMEMBERED {
            // The list has more than one entry, so there is an oldest one.
            let oldest = seen.iter().enumerate().min_by_key(|(_, seen)| seen.last).map_or(0, |(index, _)| index);
            seen.remove(oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SeenKey>> {
        // A poisoned lock only means that another thread panicked. The list is whole after each change.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(kid: usize) -> KeyName {
        KeyName { kid: Some(kid.to_string()), thumbprint: None }
    }

    #[test]
    fn a_key_has_the_times_of_the_first_and_the_last_set_that_had_it() {
        let history = KeyHistory::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        history.published_at(at(1), [name(1)].into_iter());
        history.published_at(at(2), [name(2), name(1)].into_iter());
        history.published_at(at(3), [name(2)].into_iter());
        let seen = |kid, first, last| SeenKey { name: name(kid), first: at(first), last: at(last) };
        assert_eq!(history.seen(), [seen(1, 1, 2), seen(2, 2, 3)]);
    }

    #[test]
    fn the_key_that_was_withdrawn_first_is_forgotten_first() {
        let history = KeyHistory::default();
        for round in 0..300 {
            let now = Timestamp::from_second(round).unwrap();
            history.published_at(now, [name(7777), name(round as usize)].into_iter());
        }
        let seen = history.seen();
        assert_eq!(seen.len(), MAX_REMEMBERED);
        assert!(seen.iter().any(|seen| seen.name == name(7777)), "it is still published");
        assert!(seen.iter().any(|seen| seen.name == name(299)));
    }
}
