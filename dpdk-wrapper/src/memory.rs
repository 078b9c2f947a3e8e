//! Memory of the process in large pages: tables of hundreds of megabytes would otherwise miss the
//! translation buffers at every look.
//!
//! In: allocations, those of less than [`LARGE_MIN`] bytes untouched. Out: the same, with the
//! kernel told that large pages are welcome (which it grants on its own where
//! `/sys/kernel/mm/transparent_hugepage/enabled` is `always`). Never: more memory than asked for,
//! but for what rounds up the page that is touched last.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;

/// Fewest bytes that large pages are asked for.
pub const LARGE_MIN: usize = 4 << 20;
/// What the kernel takes for a large page on the processors that have one size of them; elsewhere
/// the advice is about a part of the memory.
const PAGE: usize = 2 << 20;

/// The system's allocator, with large pages for large allocations; for `#[global_allocator]`.
///
/// Memory that is asked for zeroed is left as it is: tables of that kind are often touched little.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargePages;

// SAFETY: all is the system's allocator; the advice changes no byte of the memory.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        let memory = unsafe { System.alloc(layout) };
        if layout.size() >= LARGE_MIN && !memory.is_null() {
            advise(memory, layout.size());
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's word.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's word.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Tells the kernel of the whole large pages within this memory.
fn advise(memory: *mut u8, size: usize) {
    let skipped = memory.align_offset(PAGE);
    let whole = size.saturating_sub(skipped) / PAGE * PAGE;
    if whole > 0 {
        // A kernel without large pages refuses, and nothing is lost.
        // SAFETY: within the allocation; the advice changes none of its bytes.
        let _ = unsafe {
            libc::madvise(memory.add(skipped).cast::<c_void>(), whole, libc::MADV_HUGEPAGE)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_any_size_is_whole_and_goes_back() {
        for size in [1, LARGE_MIN - 1, LARGE_MIN, LARGE_MIN + 12_345, 5 * LARGE_MIN] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: written and read within its size, freed once with the same layout.
            unsafe {
                let memory = LargePages.alloc(layout);
                assert!(!memory.is_null() && memory.addr().is_multiple_of(64));
                memory.write(1);
                memory.add(size - 1).write(2);
                assert_eq!(memory.add(size - 1).read(), 2);
                LargePages.dealloc(memory, layout);
            }
        }
    }
}
