//! Memory for what arrives from peers, divided so that no flow and no peer can stop the rest.
//!
//! In: how many bytes there are. Out: three pools. Never: one part borrowing from another.
//!
//! | part | what is in it | given back |
//! |---|---|---|
//! | `kept` | bytes for slow hosts, copied into chunks | when the host acknowledges, or its flow ends |
//! | `arrivals` | buffers being put together, complete, decompressed; slices of them for fast hosts | see below |
//! | `last` | decompressed buffers when `arrivals` has no place for them | when the edge has seen their messages |
//!
//! Why nothing deadlocks, in the worst case:
//!
//! 1. What is granted to a flow is charged as the chunks that the range touches (`edge/credit.rs`),
//!    and all charges together fit `kept`. A byte's chunk follows from its offset. So whatever was
//!    granted can be copied to `kept`, in any order and any cut.
//! 2. The edge takes slices instead of copies only while at most half of the largest class of
//!    `arrivals` is out, whoever has it, and nothing of `last`. So slices never hold more than that
//!    half, and the other half of that class is for what comes (smaller buffers may use it too).
//!    What was taken as slices before is copied out, some flows at a time, while memory is scarce.
//! 3. The edge takes every message at once, by 1, so buffers that are complete and plain go away.
//! 4. A complete buffer can be decompressed, into `arrivals` or into `last`: by 2 and 3 what is in
//!    `last` goes away with the edge's next turn. Each decompressor has a `last` of its own: the edge
//!    takes what they make in the order in which it arrived, so were it shared, those ahead could
//!    have all of it while the edge waits for the one behind.
//!    Where there are several edges, each takes the messages that it gets of a buffer, and its end, in
//!    that same order: the oldest buffer that not all have seen the end of is waited for by nothing.
//! 5. So of `arrivals` only incomplete buffers stay, each of which is completed by pieces that need
//!    no more memory; control buffers have a part of the smallest class for themselves.

use std::sync::Arc;

use super::{BufferPool, PoolClass};

/// Bytes of one chunk of what is kept for slow hosts.
pub const CHUNK_BYTES: usize = 2 * 1024;
/// Part of all memory for receiving that is for what is kept: `1 / KEPT_SHARE`.
const KEPT_SHARE: usize = 2;
/// Part of the memory for arrivals that incomplete buffers may take in all: `1 / REASSEMBLY_SHARE`.
/// It is refused first, before what is complete has to wait.
const REASSEMBLY_SHARE: usize = 2;
/// Decompressed buffers beside the pool, for each decompressor: one that the edge looks at, one
/// behind it.
const LAST: usize = 2;

/// Small buffers: control messages, and data when there is little of it.
const SMALL: usize = 2 * 1024;
/// Buffers of a medium size.
const MEDIUM: usize = 16 * 1024;
/// Buffers of the largest class that a pool has at least: half of them may be held by slices, and
/// with fewer than a few for the rest there is hardly any progress.
const LARGE_MIN: usize = 16;

const _: () = {
    assert!(KEPT_SHARE >= 2, "something is left for arrivals");
    assert!(REASSEMBLY_SHARE >= 2, "slices hold up to half of the largest class");
    assert!(LARGE_MIN / 2 > 4, "more than the reserve of the largest class is left beside slices");
    assert!(LAST >= 1, "a complete buffer can always be decompressed");
};

/// A pool with these bytes: an eighth in small buffers, an eighth in medium ones.
#[must_use]
pub fn pool_of(bytes: usize, buffer_size_max: usize) -> BufferPool {
    let largest = buffer_size_max.max(MEDIUM);
    let small = (bytes / 8 / SMALL).max(64);
    BufferPool::new(&[
        PoolClass { size: SMALL, count: small, reserve: small / 4 },
        PoolClass { size: MEDIUM, count: (bytes / 8 / MEDIUM).max(LARGE_MIN), reserve: 4 },
        PoolClass { size: largest, count: (bytes / 4 * 3 / largest).max(LARGE_MIN), reserve: 4 },
    ])
}

/// The pools; clones share them.
#[derive(Clone, Debug)]
pub struct ReceiveMemory {
    /// Buffers from peers.
    pub arrivals: BufferPool,
    /// Decompressed buffers when the pool has none, by decompressor.
    pub last: Arc<[BufferPool]>,
    /// What is kept for slow hosts.
    pub kept: BufferPool,
}

impl ReceiveMemory {
    /// Divides `bytes`, for buffers of at most `buffer_size_max` bytes that so many decompressors
    /// take apart.
    #[must_use]
    pub fn new(bytes: usize, buffer_size_max: usize, decompressors: usize) -> Self {
        let kept = bytes / KEPT_SHARE;
        let last = decompressors * LAST * buffer_size_max;
        let last_class = PoolClass { size: buffer_size_max, count: LAST, reserve: 0 };
        let chunks = PoolClass { size: CHUNK_BYTES, count: kept / CHUNK_BYTES, reserve: 0 };
        ReceiveMemory {
            arrivals: pool_of(bytes.saturating_sub(kept + last), buffer_size_max),
            last: (0..decompressors).map(|_| BufferPool::new(&[last_class])).collect(),
            kept: BufferPool::new(&[chunks]),
        }
    }

    /// Whether bytes for hosts are to be copied out of buffers from now on.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.arrivals.is_largest_half_out() || self.last.iter().any(|last| last.in_use_bytes() > 0)
    }

    /// Bytes that hosts may be behind in all.
    #[must_use]
    pub fn credit_bytes(&self) -> u64 {
        self.kept.capacity_bytes() as u64
    }

    /// Bytes of incomplete buffers of all peers.
    #[must_use]
    pub fn reassembly_bytes(&self) -> usize {
        self.arrivals.capacity_bytes() / REASSEMBLY_SHARE
    }

    /// Bytes that are out: 0 when nothing leaked.
    #[must_use]
    pub fn in_use_bytes(&self) -> usize {
        let last: usize = self.last.iter().map(BufferPool::in_use_bytes).sum();
        self.arrivals.in_use_bytes() + last + self.kept.in_use_bytes()
    }

    /// Bytes reserved at start.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        let last: usize = self.last.iter().map(BufferPool::capacity_bytes).sum();
        self.arrivals.capacity_bytes() + last + self.kept.capacity_bytes()
    }
}
