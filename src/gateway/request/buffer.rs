//! The memory of one body. It grows as bytes arrive, and returns to the system when the body is dropped.
//!
//! A caller that declares much and sends little uses little memory and budget. Budget is acquired as bytes arrive. A
//! body of up to 64 KiB is on the heap. A larger body is copied once into a memory mapping, which reserves addresses for
//! the longest possible body. The system commits a page at its first write. So a mapping never grows, and every reader
//! sees one slice.
//!
//! The first write to a page is slow on virtual machines: up to 2.5 µs, and to seal the page takes 11 µs. So a body over
//! 1 MiB gets huge pages, which the system commits in a tenth of the time.
//!
//! Rejected: a `Vec` that doubles. It holds the body twice while it copies, and the C library keeps freed memory. After
//! bursts of 64 letters of 10 MiB, a gateway with a budget of 256 MiB had reached 434 MiB and kept 315 MiB. With a `Vec`
//! for bodies up to 1 MiB, it kept 220 MiB after bursts of 200 such bodies. Rejected: a list of chunks, because every
//! parser would have to read across their borders.

use memmap2::{MmapMut, MmapOptions};
use tokio::sync::OwnedSemaphorePermit;
use zeroize::Zeroize;

use crate::gateway::request::body::{BodyError, Budget};

/// The first capacity of a buffer, for any declared length.
const FIRST_CAPACITY: usize = 16 * 1024;

/// The capacity grows to a multiple of this. Also the largest capacity on the heap: a mapping of this size costs up to
/// 40 µs, for system calls and for the first write to each page.
const STEP: usize = 64 * 1024;

/// The step of a body that has more than half of this. It is the size of a huge page on x86-64, and on Arm with pages of
/// 4 KiB.
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// The bytes of a body that have arrived. When the last reader drops the buffer, it is wiped and returns its part of
/// the budget.
pub(super) struct Buffer {
    memory: Memory,
    /// One permit for each byte of capacity.
    permits: OwnedSemaphorePermit,
    max: usize,
    budget: Budget,
}

impl Buffer {
    /// A buffer for a body of at most `max` bytes.
    ///
    /// # Errors
    /// If the budget is used up.
    pub(super) fn new(max: usize, budget: &Budget) -> Result<Self, BodyError> {
        let capacity = max.min(FIRST_CAPACITY);
        let permits = budget.acquire(capacity)?;
        Ok(Self { memory: Memory::Heap(Vec::with_capacity(capacity)), permits, max, budget: budget.clone() })
    }

    pub(super) fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Appends `data`.
    ///
    /// # Errors
    /// If the budget is used up, or the system has no memory.
    pub(super) fn extend(&mut self, data: &[u8]) -> Result<(), BodyError> {
        let needed = self.len() + data.len();
        if needed > self.permits.num_permits() {
            self.grow(needed)?;
        }
        self.memory.append(data);
        Ok(())
    }

    fn grow(&mut self, needed: usize) -> Result<(), BodyError> {
        let step = if needed > HUGE_PAGE / 2 { HUGE_PAGE } else { STEP };
        let capacity = needed.next_multiple_of(step).min(self.max).max(needed);
        let permits = self.budget.acquire(capacity - self.permits.num_permits())?;
        if let Memory::Heap(_) = self.memory {
            // Not by the `Vec` itself, which would leave the old content in freed memory.
            let mut grown = if capacity <= STEP {
                Memory::Heap(Vec::with_capacity(capacity))
            } else {
                Memory::mapping(self.max.max(needed))?
            };
            grown.append(self.memory.written());
            self.memory = grown;
        }
        if step == HUGE_PAGE {
            self.memory.use_huge_pages();
        }
        self.permits.merge(permits);
        Ok(())
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.written()
    }
}

/// Memory with enough capacity for what is appended. Wiped when dropped.
enum Memory {
    Heap(Vec<u8>),
    Mapping { map: MmapMut, written: usize },
}

impl Memory {
    fn mapping(bytes: usize) -> Result<Self, BodyError> {
        // The system may refuse addresses, for example under a limit (RLIMIT_AS). Then this body has no memory.
        let map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon().map_err(|_| BodyError::NoMemory)?;
        // On some systems all mappings have huge pages, and the first byte would commit 2 MiB.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::NoHugePage);
        Ok(Self::Mapping { map, written: 0 })
    }

    /// From now on the system may commit huge pages. Kernels that have none refuse the advice.
    fn use_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        if let Self::Mapping { map, .. } = self {
            let _ = map.advise(memmap2::Advice::HugePage);
        }
    }

    fn append(&mut self, data: &[u8]) {
        match self {
            Self::Heap(bytes) => bytes.extend_from_slice(data),
            Self::Mapping { map, written } => {
                map[*written..][..data.len()].copy_from_slice(data);
                *written += data.len();
            }
        }
    }

    fn written(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapping { map, written } => &map[..*written],
        }
    }
}

impl Drop for Memory {
    /// Overwrites the bytes that were written. The rest of the capacity is left alone, because a write to it
    /// would make the system commit that memory.
    fn drop(&mut self) {
        match self {
            Self::Heap(bytes) => bytes.as_mut_slice().zeroize(),
            Self::Mapping { map, written } => map[..*written].zeroize(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_budget_is_used_as_bytes_arrive_and_returned() {
        let budget = Budget::new(5 * STEP);
        let mut buffer = Buffer::new(32 * 1024 * 1024, &budget).unwrap();
        buffer.extend(b"x").unwrap();
        assert_eq!(buffer.permits.num_permits(), FIRST_CAPACITY);
        buffer.extend(&[7; FIRST_CAPACITY]).unwrap();
        assert_eq!(buffer.permits.num_permits(), STEP);
        buffer.extend(&[7; STEP]).unwrap();
        assert_eq!(buffer.permits.num_permits(), 2 * STEP);
        assert_eq!(buffer.extend(&[7; 4 * STEP]), Err(BodyError::BudgetExhausted));
        assert!(budget.acquire(3 * STEP).is_ok());
        drop(Bytes::from_owner(buffer));
        assert!(budget.acquire(5 * STEP).is_ok());
    }

    #[test]
    fn a_body_over_1_mib_grows_by_huge_pages() {
        let budget = Budget::new(32 * 1024 * 1024);
        let mut buffer = Buffer::new(32 * 1024 * 1024, &budget).unwrap();
        let capacities = [HUGE_PAGE / 2, 1, HUGE_PAGE].map(|arrives| {
            buffer.extend(&vec![7; arrives]).unwrap();
            buffer.permits.num_permits()
        });
        assert_eq!(capacities, [HUGE_PAGE / 2, HUGE_PAGE, 2 * HUGE_PAGE]);
    }

    #[test]
    fn a_body_never_uses_more_budget_than_it_can_need() {
        for max in [10, FIRST_CAPACITY + 10, STEP + 10, HUGE_PAGE + 10] {
            let budget = Budget::new(max);
            let mut buffer = Buffer::new(max, &budget).unwrap();
            buffer.extend(&vec![7; max]).unwrap();
            assert_eq!(buffer.permits.num_permits(), max);
        }
    }

    #[test]
    fn a_body_that_is_moved_to_larger_memory_stays_whole() {
        let budget = Budget::new(1 << 20);
        let mut buffer = Buffer::new(1 << 20, &budget).unwrap();
        let whole: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        for piece in whole.chunks(777) {
            buffer.extend(piece).unwrap();
        }
        assert!(matches!(buffer.memory, Memory::Mapping { .. }));
        assert_eq!(buffer.as_ref(), whole);
    }
}
