//! The outcomes of the fetches and reads of a reload.

use std::fmt;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::watched_files::{Change, PollOutcome};

/// How long a reload waits for the first key set and the first credential of a new part. A provider that is down must not
/// keep the rest of the configuration out of use.
const FIRST_FETCH: Duration = Duration::from_secs(5);

/// Returns the error of `fetch`, or that it took too long. `None` after a success.
pub(super) async fn first_fetch<E: fmt::Display>(
    name: String,
    fetch: impl Future<Output = Result<(), E>>,
) -> Option<PollOutcome> {
    let error = match tokio::time::timeout(FIRST_FETCH, fetch).await {
        Ok(fetched) => fetched.err()?.to_string(),
        Err(_) => format!("nothing within {} s; the gateway keeps trying", FIRST_FETCH.as_secs()),
    };
    Some(PollOutcome { name, result: Err(error) })
}

pub(super) fn change(has_changed: bool) -> Change {
    if has_changed { Change::InUse } else { Change::None }
}

/// The results of all tasks, in the order in which they end.
pub(super) async fn joined<T: 'static>(mut set: JoinSet<T>) -> Vec<T> {
    let mut results = Vec::new();
    while let Some(result) = set.join_next().await {
        match result {
            Ok(result) => results.push(result),
            Err(error) => tracing::error!(%error, "a part of the reload failed"),
        }
    }
    results
}
