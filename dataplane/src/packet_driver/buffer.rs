//! Buffers: reserved at start, written by one owner, then shared as slices until the last slice
//! is dropped, which returns the memory to its pool from whatever worker that happens on.
//!
//! In steady state nothing is allocated: the shared handle is recycled with the memory. Only when
//! two workers drop the last two slices at the same instant is a handle (not the memory) made anew.
//!
//! What came back last is given out first, about: it is in the caches still, where a pool that goes
//! round all of its memory has each buffer come from afar.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use crossbeam::queue::ArrayQueue;

/// Size and number of the buffers of one class of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolClass {
    /// Bytes per buffer.
    pub size: usize,
    /// Buffers reserved at start.
    pub count: usize,
    /// Of these, how many only [`BufferPool::alloc_reserved`] may take.
    pub reserve: usize,
}

/// Buffers of a class that are given out before all others, when they have come back.
const WARM: usize = 8;

#[derive(Debug)]
struct Shelf {
    size: usize,
    count: usize,
    reserve: usize,
    /// The first to be filled and to be emptied.
    warm: ArrayQueue<Arc<Storage>>,
    /// Room for all.
    rest: ArrayQueue<Arc<Storage>>,
}

impl Shelf {
    fn free_count(&self) -> usize {
        self.warm.len() + self.rest.len()
    }

    fn in_use_count(&self) -> usize {
        // Both are looked at one after the other, so that a buffer may be seen twice or not at all.
        self.count.saturating_sub(self.free_count())
    }

    fn pop(&self) -> Option<Arc<Storage>> {
        self.warm.pop().or_else(|| self.rest.pop())
    }

    fn push(&self, storage: Arc<Storage>) {
        if let Err(storage) = self.warm.push(storage) {
            // The shelf has room for every buffer it was made with.
            let _ = self.rest.push(storage);
        }
    }
}

struct Storage {
    bytes: Box<[u8]>,
    home: Weak<Shelf>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({} bytes)", self.bytes.len())
    }
}

impl Drop for Storage {
    // Reached when the pool itself is gone, or when two last slices were dropped at once.
    fn drop(&mut self) {
        if let Some(shelf) = self.home.upgrade() {
            let bytes = std::mem::take(&mut self.bytes);
            let home = Weak::clone(&self.home);
            shelf.push(Arc::new(Storage { bytes, home }));
        }
    }
}

fn give_back(storage: Option<Arc<Storage>>) {
    let Some(mut storage) = storage else { return };
    let Some(unique) = Arc::get_mut(&mut storage) else { return };
    if let Some(shelf) = unique.home.upgrade() {
        shelf.push(storage);
    }
}

/// A pool of buffers in a few sizes, all allocated at construction; clones share it.
#[derive(Clone, Debug)]
pub struct BufferPool {
    shelves: Arc<[Arc<Shelf>]>,
}

impl BufferPool {
    /// A pool with these classes; sizes in ascending order.
    #[must_use]
    pub fn new(classes: &[PoolClass]) -> Self {
        let shelves = classes.iter().map(|class| {
            let shelf = Arc::new(Shelf {
                size: class.size,
                count: class.count,
                reserve: class.reserve,
                warm: ArrayQueue::new(WARM),
                rest: ArrayQueue::new(class.count.max(1)),
            });
            for _ in 0..class.count {
                let bytes = vec![0; class.size].into_boxed_slice();
                let home = Arc::downgrade(&shelf);
                let _ = shelf.rest.push(Arc::new(Storage { bytes, home }));
            }
            shelf
        });
        BufferPool { shelves: shelves.collect() }
    }

    /// An empty buffer with room for `len` bytes from the smallest class that has both the size
    /// and a buffer beyond its reserve; `None` when there is none.
    #[must_use]
    pub fn alloc(&self, len: usize) -> Option<BufferMut> {
        self.take(len, false)
    }

    /// Like [`BufferPool::alloc`], but may use the reserve: for control messages.
    #[must_use]
    pub fn alloc_reserved(&self, len: usize) -> Option<BufferMut> {
        self.take(len, true)
    }

    fn take(&self, len: usize, reserved: bool) -> Option<BufferMut> {
        self.shelves
            .iter()
            .filter(|shelf| shelf.size >= len)
            .filter(|shelf| reserved || shelf.free_count() > shelf.reserve)
            .find_map(|shelf| shelf.pop())
            .map(BufferMut::new)
    }

    /// Bytes of all buffers that are out, by their class size: 0 when nothing leaked.
    #[must_use]
    pub fn in_use_bytes(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.in_use_count() * shelf.size).sum()
    }

    /// Bytes reserved at start.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.count * shelf.size).sum()
    }

    /// Whether more than half of the buffers of the largest class are out.
    #[must_use]
    pub fn is_largest_half_out(&self) -> bool {
        let largest = self.shelves.iter().max_by_key(|shelf| shelf.size);
        largest.is_some_and(|shelf| 2 * shelf.free_count() < shelf.count)
    }

    /// Size of the largest class, in bytes.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.size).max().unwrap_or(0)
    }
}

/// A buffer with one owner, being written.
#[derive(Debug)]
pub struct BufferMut {
    storage: Option<Arc<Storage>>,
    /// The memory itself, lent by `storage` while it is written: reaching through a shared handle
    /// costs two atomic operations each time.
    memory: Box<[u8]>,
    len: usize,
}

impl Drop for BufferMut {
    fn drop(&mut self) {
        give_back(self.storage());
    }
}

impl BufferMut {
    // The only handle to the storage is ours, so `get_mut` always succeeds.
    fn new(mut storage: Arc<Storage>) -> Self {
        let memory = Arc::get_mut(&mut storage).map(|storage| std::mem::take(&mut storage.bytes));
        BufferMut { storage: Some(storage), memory: memory.unwrap_or_default(), len: 0 }
    }

    /// The storage with its memory; then this buffer has neither.
    fn storage(&mut self) -> Option<Arc<Storage>> {
        let mut storage = self.storage.take()?;
        if let Some(unique) = Arc::get_mut(&mut storage) {
            unique.bytes = std::mem::take(&mut self.memory);
        }
        Some(storage)
    }

    /// Bytes it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.len()
    }

    /// Bytes written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity() - self.len
    }

    /// Sets the length (bytes between the old and the new length are whatever was there); at most
    /// the capacity.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }

    /// Grows by `len` bytes and returns them (contents undefined); `None` when they do not fit.
    pub fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.room() < len {
            return None;
        }
        let from = self.len;
        self.len += len;
        let to = self.len;
        self.memory.get_mut(from..to)
    }

    /// The bytes written, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.memory.get_mut(..len).unwrap_or_default()
    }

    /// The bytes written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }

    /// Ends the writing: the written bytes as a slice that can be cloned and cut.
    #[must_use]
    pub fn freeze(mut self) -> BufferSlice {
        BufferSlice { storage: self.storage(), start: 0, len: self.len }
    }
}

/// A range of a buffer that is no longer written; clones share the memory.
#[derive(Clone, Default)]
pub struct BufferSlice {
    storage: Option<Arc<Storage>>,
    start: usize,
    len: usize,
}

impl fmt::Debug for BufferSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferSlice({}..{})", self.start, self.start + self.len)
    }
}

impl Drop for BufferSlice {
    fn drop(&mut self) {
        give_back(self.storage.take());
    }
}

impl Deref for BufferSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.storage {
            Some(storage) => &storage.bytes[self.start..self.start + self.len],
            None => &[],
        }
    }
}

impl BufferSlice {
    /// Bytes `offset..offset + len` of this slice, sharing its memory; `None` when out of range.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Option<BufferSlice> {
        let end = offset.checked_add(len)?;
        if end > self.len {
            return None;
        }
        Some(BufferSlice { storage: self.storage.clone(), start: self.start + offset, len })
    }

    /// Removes `n` bytes (at most all) from the front.
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.len);
        self.start += n;
        self.len -= n;
    }

    /// Shortens the slice to `len` bytes; longer than it is changes nothing.
    pub fn shorten(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Bytes of the buffer that this slice keeps out of the pool.
    #[must_use]
    pub fn pinned_bytes(&self) -> usize {
        self.storage.as_ref().map_or(0, |storage| storage.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> BufferPool {
        BufferPool::new(&[
            PoolClass { size: 256, count: 3, reserve: 1 },
            PoolClass { size: 4096, count: 2, reserve: 0 },
        ])
    }

    #[test]
    fn last_slice_returns_the_memory() {
        let pool = pool();
        let mut buffer = pool.alloc(100).unwrap();
        buffer.append(5).unwrap().copy_from_slice(b"hello");
        assert_eq!(pool.in_use_bytes(), 256);
        let whole = buffer.freeze();
        let part = whole.slice(1, 3).unwrap();
        assert!(whole.slice(3, 3).is_none());
        drop(whole);
        assert_eq!(&*part, b"ell");
        assert_eq!(pool.in_use_bytes(), 256);
        drop(part);
        assert_eq!(pool.in_use_bytes(), 0);
    }

    #[test]
    fn the_reserve_is_for_control_and_larger_classes_help_out() {
        let pool = pool();
        let small = [pool.alloc(10).unwrap(), pool.alloc(10).unwrap()];
        let large = pool.alloc(10).unwrap();
        assert_eq!(large.capacity(), 4096);
        assert_eq!(pool.alloc_reserved(10).unwrap().capacity(), 256);
        drop((small, large));
        assert!(pool.alloc(5000).is_none());
        assert_eq!(pool.in_use_bytes(), 0);
    }

    #[test]
    fn what_came_back_last_is_given_out_again() {
        let pool = BufferPool::new(&[PoolClass { size: 64, count: 10 * WARM, reserve: 0 }]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 * WARM {
            seen.insert(pool.alloc(64).unwrap().bytes_mut().as_ptr());
        }
        assert!(seen.len() <= WARM, "{} buffers for one at a time", seen.len());
        let all: Vec<_> = std::iter::from_fn(|| pool.alloc(64)).collect();
        assert_eq!(all.len(), 10 * WARM);
        drop(all);
        assert_eq!(pool.in_use_bytes(), 0);
    }

    #[test]
    fn slices_dropped_on_two_threads_never_lose_the_memory() {
        let pool = pool();
        for _ in 0..2_000 {
            let slice = pool.alloc(4000).unwrap().freeze();
            let other = slice.clone();
            let thread = std::thread::spawn(move || drop(other));
            drop(slice);
            thread.join().unwrap();
        }
        assert_eq!(pool.in_use_bytes(), 0);
    }
}
