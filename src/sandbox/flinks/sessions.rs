//! Request ids, and how far the request of each has come.
//!
//! `Authorize` exchanges a login id for a request id. The first call for data with it gets 202, as the documentation
//! says that clients must expect: once for cached data, twice after a connection to the institution. Counting calls
//! instead of seconds lets a test see each state without waiting.

use std::collections::{HashMap, VecDeque};

use uuid::Builder;

/// So that a client in a loop cannot exhaust memory. Beyond it, the oldest request ids become unknown.
const MAX_SESSIONS: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The index of the login in the data.
    pub(super) login: usize,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The user must answer security questions.
    Challenged,
    /// The data is complete after this many further calls.
    Pending(u8),
}

impl Stage {
    pub(super) const CACHED: Self = Self::Pending(1);
    pub(super) const LIVE: Self = Self::Pending(2);
}

#[derive(Debug)]
pub(super) struct Sessions {
    seed: u64,
    ids: fastrand::Rng,
    by_id: HashMap<String, Session>,
    /// In order of creation.
    order: VecDeque<String>,
}

impl Sessions {
    pub(super) fn seeded(seed: u64) -> Self {
        Self { seed, ids: fastrand::Rng::with_seed(seed), by_id: HashMap::new(), order: VecDeque::new() }
    }

    /// Forgets all request ids.
    pub(super) fn reset(&mut self) {
        *self = Self::seeded(self.seed);
    }

    /// Returns a new identifier. The same seed gives the same identifiers in the same order.
    pub(super) fn next_id(&mut self) -> String {
        Builder::from_random_bytes(self.ids.u128(..).to_be_bytes()).into_uuid().to_string()
    }

    /// Returns the request id of a new session.
    pub(super) fn open(&mut self, login: usize, stage: Stage) -> String {
        let id = self.next_id();
        self.by_id.insert(id.clone(), Session { login, stage });
        self.order.push_back(id.clone());
        while self.order.len() > MAX_SESSIONS {
            if let Some(oldest) = self.order.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
        id
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Session> {
        self.by_id.get_mut(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_request_id_becomes_unknown_when_there_are_too_many() {
        let mut sessions = Sessions::seeded(1);
        let first = sessions.open(0, Stage::CACHED);
        let second = sessions.open(0, Stage::CACHED);
        for _ in 2..=MAX_SESSIONS {
            sessions.open(0, Stage::CACHED);
        }
        assert!(sessions.get_mut(&first).is_none());
        assert!(sessions.get_mut(&second).is_some());
    }

    #[test]
    fn the_same_seed_gives_the_same_request_ids() {
        let first_two = |seed| {
            let mut sessions = Sessions::seeded(seed);
            [sessions.next_id(), sessions.next_id()]
        };
        assert_eq!(first_two(1), first_two(1));
        assert_ne!(first_two(1), first_two(2));
        assert_ne!(first_two(1)[0], first_two(1)[1]);
        let mut sessions = Sessions::seeded(1);
        let first = sessions.open(0, Stage::CACHED);
        sessions.reset();
        assert!(sessions.get_mut(&first).is_none());
        assert_eq!(sessions.next_id(), first);
    }
}
