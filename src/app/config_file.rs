//! Reloads the configuration when its file has changed.
//!
//! The file is read every ten seconds, and its content is compared: see [`watched_files`](crate::watched_files).
//!
//! The hard case is a file that another program is writing. Half a file can be a valid configuration, for instance
//! without the last upstream. A changed content is therefore used only if the file has the same content a second later.
//! A content that is faulty is tried again at each poll, because the fault may be in another file that the content
//! names. The log reports it once.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::reload::Reloader;
use crate::clock::Clock;
use crate::file_read;
use crate::watched_files::POLL_INTERVAL;

/// A file that has not changed for so long is not being written.
const SETTLED: Duration = Duration::from_secs(1);

type Content = Result<Zeroizing<Vec<u8>>, io::ErrorKind>;

/// Reloads each time the file at `path` has changed. Never returns.
pub(super) async fn follow(path: PathBuf, reloader: Reloader, clock: Clock) {
    let read = async || -> Content { file_read::read_whole(&path).await.map_err(|error| error.kind()) };
    // The content that was last compared with the configuration in use.
    let mut known = None;
    loop {
        clock.sleep(POLL_INTERVAL).await;
        let mut content = read().await;
        // After a failure the content is checked again: a requested reload can have met another content meanwhile.
        if known.as_ref() == Some(&content) && reloader.last().outcome.is_ok() {
            continue;
        }
        loop {
            clock.sleep(SETTLED).await;
            let later = read().await;
            if later == content {
                break;
            }
            content = later;
        }
        known = reloader.reload_if_changed().await.is_ok().then_some(content);
    }
}
