//! The lines that wait for the writer, within bounds.
//!
//! A task that logs copies its line into the queue and goes on. If the queue is full, the line is dropped and counted.
//! The writer takes all lines at once, so that many lines cost one `write`.
//!
//! The hard case is steady traffic. If each line woke the writer, the writer would find only that line. Each request
//! would then cost a wake-up and a `write`. The writer therefore [`gather`](Queue::gather)s lines after each batch, and
//! lines that are added in the meantime do not wake it. A line that finds an idle writer is taken at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many lines may wait: those of some seconds at full load.
pub(super) const MAX_LINES: usize = 10_000;

/// How many bytes may wait. The writer holds at most as many again, so a log that nobody reads costs 8 MiB.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The capacity that the buffers keep after a burst.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Lines from all threads to one writer.
#[derive(Debug)]
pub(super) struct Queue {
    max_lines: usize,
    max_bytes: usize,
    state: Mutex<State>,
    /// The writer has something to do: there is a line while it is idle, or the log is to be flushed.
    wake_writer: Condvar,
    /// The writer has written all that it took, or a write failed.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines, one after the other.
    bytes: Vec<u8>,
    lines: usize,
    /// Whether the writer waits for the next line, and no line has woken it yet.
    is_idle: bool,
    /// Whether the log is to be written without delay, because the process ends.
    is_flushed: bool,
    /// Whether the writer holds lines that are not written yet.
    is_writing: bool,
    /// Whether the last write failed.
    is_failing: bool,
    dropped: u64,
    /// The part of `dropped` that no log line has reported yet.
    unreported: u64,
    write_errors: u64,
}

impl Queue {
    pub(super) fn new(max_lines: usize, max_bytes: usize) -> Self {
        let state = Mutex::new(State::default());
        Self { max_lines, max_bytes, state, wake_writer: Condvar::new(), progress: Condvar::new() }
    }

    /// Adds a line, or drops it. Never waits for the writer.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.lines >= self.max_lines || line.len() > self.max_bytes - state.bytes.len() {
            state.dropped += 1;
            state.unreported += 1;
            return;
        }
        state.bytes.extend_from_slice(line);
        state.lines += 1;
        let is_awaited = std::mem::take(&mut state.is_idle);
        drop(state);
        if is_awaited {
            self.wake_writer.notify_one();
        }
    }

    /// Waits for lines, and moves all of them into `batch`, which must be empty. Returns how many lines were dropped
    /// since the last call. The queue is empty now, so a line that reports them always fits.
    pub(super) fn take(&self, batch: &mut Vec<u8>) -> u64 {
        batch.shrink_to(KEPT_CAPACITY);
        let waited = self.wake_writer.wait_while(self.lock(), |state| {
            state.is_idle = state.lines == 0;
            state.is_idle
        });
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.bytes, batch);
        state.lines = 0;
        state.is_writing = true;
        std::mem::take(&mut state.unreported)
    }

    /// Waits for `time` while further lines are added, or until the log is flushed.
    pub(super) fn gather(&self, time: Duration) {
        // The result says only whether the time has passed. The writer goes on in either case.
        drop(self.wake_writer.wait_timeout_while(self.lock(), time, |state| !state.is_flushed));
    }

    /// Records that the batch is written.
    pub(super) fn written(&self) {
        let mut state = self.lock();
        state.is_writing = false;
        state.is_failing = false;
        drop(state);
        self.progress.notify_all();
    }

    /// Records that a write failed. The writer still holds the batch.
    pub(super) fn write_failed(&self) {
        let mut state = self.lock();
        state.is_failing = true;
        state.write_errors += 1;
        drop(state);
        self.progress.notify_all();
    }

    /// Waits until all lines are written, but not longer than `limit`, and not while writes fail. From now on, the writer
    /// writes each line at once.
    pub(super) fn flush(&self, limit: Duration) {
        self.lock().is_flushed = true;
        self.wake_writer.notify_one();
        let is_pending = |state: &mut State| !state.is_failing && (state.is_writing || state.lines > 0);
        // The result says only whether the limit was reached. There is nothing left to do in either case.
        drop(self.progress.wait_timeout_while(self.lock(), limit, is_pending));
    }

    /// The number of dropped lines.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// The number of failed writes.
    pub(super) fn write_errors(&self) -> u64 {
        self.lock().write_errors
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &Queue) -> (String, u64) {
        let mut batch = Vec::new();
        let dropped = queue.take(&mut batch);
        (String::from_utf8(batch).unwrap(), dropped)
    }

    #[test]
    fn lines_are_taken_together_and_in_order() {
        let queue = Queue::new(10, 100);
        queue.push(b"one\n");
        queue.push(b"two\n");
        assert_eq!(taken(&queue), ("one\ntwo\n".to_owned(), 0));
    }

    #[test]
    fn a_full_queue_drops_new_lines_and_counts_them() {
        for queue in [Queue::new(2, 100), Queue::new(100, 8)] {
            for line in [b"one\n", b"two\n", b"lo1\n", b"lo2\n"] {
                queue.push(line);
            }
            assert_eq!(queue.dropped(), 2);
            assert_eq!(taken(&queue), ("one\ntwo\n".to_owned(), 2));
            queue.push(b"new\n");
            assert_eq!(taken(&queue), ("new\n".to_owned(), 0));
            assert_eq!(queue.dropped(), 2);
        }
    }

    #[test]
    fn a_line_longer_than_the_queue_is_dropped() {
        let queue = Queue::new(10, 8);
        queue.push(&[b'x'; 9]);
        queue.push(b"one\n");
        assert_eq!(taken(&queue), ("one\n".to_owned(), 1));
    }

    #[test]
    fn a_line_wakes_the_writer_only_if_it_waits_for_one() {
        let queue = Queue::new(10, 100);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| taken(&queue));
            while !queue.lock().is_idle {
                std::thread::yield_now();
            }
            queue.push(b"one\n");
            assert!(!queue.lock().is_idle);
            assert_eq!(writer.join().unwrap().0, "one\n");
        });
        queue.push(b"two\n");
        assert!(!queue.lock().is_idle, "the writer is at work");
        assert_eq!(taken(&queue).0, "two\n");
    }

    #[test]
    fn lines_are_gathered_until_the_log_is_flushed() {
        let queue = Queue::new(10, 100);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                queue.gather(Duration::MAX);
                taken(&queue)
            });
            queue.push(b"one\n");
            queue.push(b"two\n");
            queue.flush(Duration::from_millis(1));
            assert_eq!(writer.join().unwrap().0, "one\ntwo\n");
        });
    }

    #[test]
    fn a_flush_ends_at_its_limit_or_when_writes_fail() {
        let queue = Queue::new(10, 100);
        queue.flush(Duration::MAX);
        queue.push(b"one\n");
        queue.flush(Duration::from_millis(1));
        taken(&queue);
        queue.flush(Duration::from_millis(1));
        queue.write_failed();
        queue.flush(Duration::MAX);
        assert_eq!(queue.write_errors(), 1);
        queue.written();
        queue.flush(Duration::MAX);
    }
}
