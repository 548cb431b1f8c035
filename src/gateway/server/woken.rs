//! Futures that are polled only after they were woken.
//!
//! A connection ends for several reasons: a shutdown, its age, a reset by its caller. tokio's `select!` polls the future
//! of each reason whenever the connection makes progress, and each poll takes a lock that all connections share. That
//! was eleven locks per request. [`FuturesUnordered`] polls a future only if it was woken.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Returns the output of `future`, which is polled once, and then only when it has been woken.
pub(super) async fn when_woken<F: Future>(future: F) -> F::Output {
    let mut futures = FuturesUnordered::from_iter([future]);
    match futures.next().await {
        Some(output) => output,
        // Never: the one future was not finished before.
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_future_is_polled_only_when_it_was_woken() {
        let polls = AtomicU32::new(0);
        let mut reason = Box::pin(tokio::time::sleep(Duration::from_secs(5)));
        let counted = std::future::poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            reason.as_mut().poll(cx)
        });
        let busy = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            std::future::poll_fn(|_| Poll::<()>::Pending).await;
        };
        tokio::select! {
            () = when_woken(counted) => {}
            () = busy => {}
        }
        assert_eq!(polls.into_inner(), 2);
    }
}
