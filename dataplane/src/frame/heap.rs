//! Frames on the heap, from a bounded pool: for tests and the simulator.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::{Frame, FrameSource};

/// Bytes kept free in front of a frame for headers.
pub const HEADROOM: usize = 128;
/// Bytes of memory behind the headroom.
pub const ROOM: usize = 2048;

/// A pool of [`HeapFrame`]; clones share it.
#[derive(Clone, Debug)]
pub struct HeapSource {
    free: Arc<ArrayQueue<Box<[u8]>>>,
}

impl HeapSource {
    /// A pool of `count` frames, all allocated now.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let free = ArrayQueue::new(count.max(1));
        for _ in 0..count.max(1) {
            // The queue has room for exactly this many.
            let _ = free.push(vec![0; HEADROOM + ROOM].into_boxed_slice());
        }
        HeapSource { free: Arc::new(free) }
    }

    /// Frames that are out: 0 when nothing leaked.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.free.capacity() - self.free.len()
    }

    /// A frame with these bytes; `None` when the pool is empty or they do not fit.
    #[expect(clippy::disallowed_methods, reason = "a frame from outside the pipeline")]
    pub fn frame_of(&mut self, bytes: &[u8]) -> Option<HeapFrame> {
        let mut frame = self.alloc()?;
        frame.append(bytes.len())?.copy_from_slice(bytes);
        Some(frame)
    }
}

impl FrameSource for HeapSource {
    type Frame = HeapFrame;

    fn alloc(&mut self) -> Option<HeapFrame> {
        let memory = self.free.pop()?;
        Some(HeapFrame { memory, start: HEADROOM, end: HEADROOM, pool: Arc::clone(&self.free) })
    }
}

/// A contiguous frame on the heap; its memory returns to the pool when it is dropped.
#[derive(Debug)]
pub struct HeapFrame {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
    pool: Arc<ArrayQueue<Box<[u8]>>>,
}

impl Drop for HeapFrame {
    fn drop(&mut self) {
        // There is always room: the pool was filled to its capacity at the start.
        let _ = self.pool.push(std::mem::take(&mut self.memory));
    }
}

impl Frame for HeapFrame {
    fn head(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        let from = self.end;
        if self.memory.len() - from < len {
            return None;
        }
        self.end += len;
        Some(&mut self.memory[from..self.end])
    }

    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(len)?;
        Some(&mut self.memory[self.start..self.start + len])
    }

    fn trim_front(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }

    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_returns_to_the_pool() {
        let mut source = HeapSource::new(2);
        let a = source.frame_of(b"hello").unwrap();
        let b = source.alloc().unwrap();
        assert!(source.alloc().is_none());
        assert_eq!(a.head(), b"hello");
        drop((a, b));
        assert_eq!(source.in_use(), 0);
    }

    #[test]
    fn grows_and_shrinks_at_both_ends() {
        let mut source = HeapSource::new(1);
        let mut frame = source.frame_of(b"payload").unwrap();
        frame.prepend(2).unwrap().copy_from_slice(b"h:");
        assert_eq!(frame.head(), b"h:payload");
        frame.trim_front(2);
        frame.truncate(3);
        assert_eq!(frame.head(), b"pay");
        assert!(frame.append(ROOM + 1).is_none());
        assert!(frame.prepend(HEADROOM + 1).is_none());
        let mut out = [0; 2];
        assert!(frame.copy_out(1, &mut out));
        assert_eq!(&out, b"ay");
        assert!(!frame.copy_out(2, &mut out));
    }
}
