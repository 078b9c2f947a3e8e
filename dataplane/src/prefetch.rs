//! Asks for memory ahead of its use.
//!
//! In: a reference. Out: nothing; the cache line is on its way. Never: a wait, which a load that
//! nothing depends on becomes once many of them are under way.

/// Asks for the cache line that `place` begins in; nothing where there is no instruction for it.
#[inline]
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "an instruction without an effect but on caches")
)]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: any address may be asked for; SSE is part of x86-64.
        unsafe { _mm_prefetch(std::ptr::from_ref(place).cast(), _MM_HINT_T0) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
