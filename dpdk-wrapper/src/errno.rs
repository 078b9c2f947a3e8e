//! The reason that DPDK gives for a failure: an errno value.

use std::fmt;

/// An errno value as DPDK reports it; displayed as the system's sentence for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(i32);

impl Errno {
    /// Worth another attempt.
    pub(crate) const EAGAIN: Errno = Errno(11);
    /// Device or resource busy.
    pub(crate) const EBUSY: Errno = Errno(16);
    /// Out of buffer space.
    pub(crate) const ENOBUFS: Errno = Errno(105);
    /// Already there.
    pub(crate) const EEXIST: Errno = Errno(17);
    /// Out of memory.
    pub(crate) const ENOMEM: Errno = Errno(12);
    /// Not supported.
    pub(crate) const ENOTSUP: Errno = Errno(95);

    /// From a value of either sign: DPDK uses both.
    #[must_use]
    pub(crate) fn new(value: i32) -> Self {
        Errno(value.saturating_abs())
    }

    /// `Ok` for a return value of 0 or more, else its errno.
    pub(crate) fn check(value: i32) -> Result<i32, Self> {
        if value < 0 { Err(Errno::new(value)) } else { Ok(value) }
    }

    /// `rte_errno` of the calling thread.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local integer.
        Errno::new(unsafe { crate::ffi::shim_errno() })
    }

    /// The number, positive.
    #[must_use]
    pub fn code(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_sign_is_the_same_reason() {
        assert_eq!(Errno::new(-19), Errno::new(19));
        assert_eq!(Errno::check(-16), Err(Errno::EBUSY));
        assert_eq!(Errno::check(3), Ok(3));
        assert!(Errno::new(19).to_string().starts_with("No such device"));
    }
}
