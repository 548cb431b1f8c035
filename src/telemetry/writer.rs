//! The thread that writes the log.
//!
//! Promise: no request waits for the log, whatever happens to its destination. The threads of the runtime only add
//! lines to a [`Queue`]. One thread writes them. A destination that blocks or fails delays this thread only. The queue
//! then fills up, and further lines are dropped and counted. The first line after that says how many were dropped.
//!
//! The hard cases:
//! - A write fails: the reader has gone (EPIPE), or the disk is full (ENOSPC). The writer keeps its batch and tries
//!   again after [`RETRY_INTERVAL`], from the byte where the write failed. So the process does not spin, and no line is
//!   torn when a disk has space again.
//! - stdout is in non-blocking mode, which another process that shares the pipe can set. A full pipe is then an error
//!   (EAGAIN), after which the writer tries again soon.
//! - The process ends. [`Queue::flush`] waits for the writer, but not for a reader that never reads.
//!
//! The writer writes to a duplicate of the file descriptor, not to [`io::Stdout`]: that one keeps bytes in a buffer of
//! its own after a failed write, and a blocked write holds its lock.
//!
//! Rejected: `tracing_appender::non_blocking`. It bounds the number of lines but not their bytes. Lines that a failed
//! write loses are not counted, and the rest of a batch is torn. Its guard prints to stdout if the queue is full at
//! the end, which waits for ever if nobody reads stdout.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::queue::Queue;

/// The wait after a failed write.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The wait if a destination in non-blocking mode is full.
const FULL_INTERVAL: Duration = Duration::from_millis(10);

/// How long the writer gathers lines after a batch, before it takes the next one.
///
/// 100 writes per second cost next to nothing. A person who watches the log does not notice the delay, and a process
/// that is killed loses at most these lines.
const GATHER_TIME: Duration = Duration::from_millis(10);

/// Starts the thread that writes the lines of `queue` to a duplicate of `output`. The thread never ends.
///
/// # Errors
/// If the system has no file descriptor or no thread left.
pub(super) fn start(queue: Arc<Queue>, output: &impl AsFd) -> io::Result<()> {
    let output = File::from(output.as_fd().try_clone_to_owned()?);
    let writer = move || {
        let mut writer = Writer { output, pause: thread::sleep, queue: &queue, batch: Vec::new() };
        loop {
            writer.write_batch();
            queue.gather(GATHER_TIME);
        }
    };
    thread::Builder::new().name("log".to_owned()).spawn(writer).map(drop)
}

struct Writer<'a, W, P> {
    output: W,
    pause: P,
    queue: &'a Queue,
    /// The lines that are being written. Its memory is used again.
    batch: Vec<u8>,
}

impl<W: Write, P: FnMut(Duration)> Writer<'_, W, P> {
    /// Waits for lines and writes them.
    fn write_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let dropped = self.queue.take(&mut batch);
        if dropped > 0 {
            tracing::warn!(lines = dropped, "log lines were dropped, because the log was not read or not writable");
        }
        let mut rest = &batch[..];
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(0) => self.fail(),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => (self.pause)(FULL_INTERVAL),
                Err(_) => self.fail(),
            }
        }
        self.queue.written();
        batch.clear();
        self.batch = batch;
    }

    fn fail(&mut self) {
        self.queue.write_failed();
        (self.pause)(RETRY_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A destination that first returns these results.
    struct Faulty {
        results: Vec<io::Result<usize>>,
        written: Vec<u8>,
    }

    impl Write for Faulty {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let accepted = if self.results.is_empty() { bytes.len() } else { self.results.remove(0)? };
            self.written.extend_from_slice(&bytes[..accepted]);
            Ok(accepted)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_failed_write_the_writer_waits_and_continues_with_the_next_byte() {
        let queue = Queue::new(10, 100);
        let failed = |kind: ErrorKind| Err(kind.into());
        let results = vec![
            Ok(2),
            failed(ErrorKind::Interrupted),
            failed(ErrorKind::StorageFull),
            failed(ErrorKind::BrokenPipe),
            Ok(0),
            failed(ErrorKind::WouldBlock),
        ];
        let mut pauses = Vec::new();
        let output = Faulty { results, written: Vec::new() };
        let mut writer = Writer { output, pause: |pause| pauses.push(pause), queue: &queue, batch: Vec::new() };
        queue.push(b"one\n");
        queue.push(b"two\n");
        writer.write_batch();
        assert_eq!(writer.output.written, b"one\ntwo\n");
        assert_eq!(pauses, [RETRY_INTERVAL, RETRY_INTERVAL, RETRY_INTERVAL, FULL_INTERVAL]);
        assert_eq!(queue.write_errors(), 3);
        queue.flush(Duration::MAX);
    }

    #[test]
    fn an_orderly_end_waits_until_the_lines_are_written() {
        let queue = Arc::new(Queue::new(1000, 100_000));
        let file = tempfile::NamedTempFile::new().unwrap();
        start(Arc::clone(&queue), file.as_file()).unwrap();
        for _ in 0..1000 {
            queue.push(b"a line of the log\n");
        }
        queue.flush(Duration::from_secs(20));
        let written = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(written.lines().count(), 1000);
    }
}
