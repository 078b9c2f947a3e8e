//! Hash tables of DPDK (`rte_hash`), for one thread.
//!
//! In: keys of a fixed length. Out: their positions. Never: a key removed.

use std::ffi::CString;
use std::ptr::NonNull;

use crate::eal::Eal;
use crate::errno::Errno;
use crate::ffi;

/// Why a table could not be made, or a key not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// The name does not fit.
    #[error("hash table name {0:?} must be 1 to {max} bytes without NUL", max = ffi::SHIM_HASH_NAMESIZE - 1)]
    BadName(String),
    /// DPDK's reason.
    #[error("hash table {name:?} of {entries} entries could not be made: {errno}")]
    Failed {
        /// The table.
        name: String,
        /// Entries asked for.
        entries: u32,
        /// The reason.
        errno: Errno,
    },
    /// The key finds no place.
    #[error("the key finds no place in the hash table: {0}")]
    NoPlace(Errno),
}

/// A table of keys of `LEN` bytes, hashed by CRC32.
#[derive(Debug)]
pub struct Hash<const LEN: usize> {
    table: NonNull<ffi::rte_hash>,
    _eal: Eal,
}

// SAFETY: the table is reached through this handle alone, which is not Sync.
unsafe impl<const LEN: usize> Send for Hash<LEN> {}

impl<const LEN: usize> Drop for Hash<LEN> {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and this is its only handle.
        unsafe { ffi::rte_hash_free(self.table.as_ptr()) }
    }
}

impl<const LEN: usize> Hash<LEN> {
    /// Most keys in one bulk lookup.
    pub const BULK_MAX: usize = ffi::SHIM_HASH_LOOKUP_BULK_MAX as usize;

    /// A table with room for about `entries` keys; its name is unique in the process.
    ///
    /// # Errors
    /// See [`HashError`].
    pub fn new(eal: &Eal, name: &str, entries: u32) -> Result<Self, HashError> {
        let failed = |errno| HashError::Failed { name: name.to_owned(), entries, errno };
        let c_name = match CString::new(name) {
            Ok(c) if (1..ffi::SHIM_HASH_NAMESIZE as usize).contains(&name.len()) => c,
            _ => return Err(HashError::BadName(name.to_owned())),
        };
        let len = u32::try_from(LEN).unwrap_or(u32::MAX);
        // SAFETY: the EAL is up, the name is a C string.
        let table = unsafe { ffi::shim_hash_create(c_name.as_ptr(), entries, len) };
        let table = NonNull::new(table).ok_or_else(|| failed(Errno::last()))?;
        Ok(Hash { table, _eal: eal.clone() })
    }

    /// Adds a key; its position, that of the first time if it was there.
    ///
    /// # Errors
    /// [`HashError::NoPlace`].
    pub fn add(&mut self, key: &[u8; LEN]) -> Result<u32, HashError> {
        // SAFETY: the table reads `LEN` bytes of the key.
        let position = unsafe { ffi::rte_hash_add_key(self.table.as_ptr(), key.as_ptr().cast()) };
        u32::try_from(position).map_err(|_| HashError::NoPlace(Errno::new(position)))
    }

    /// The position of each key, negative for one that is not there. Keys beyond
    /// [`Hash::BULK_MAX`], and beyond the length of `positions`, are left out.
    #[inline]
    pub fn lookup_bulk(&self, keys: &[&[u8; LEN]], positions: &mut [i32]) {
        let count = keys.len().min(positions.len()).min(Self::BULK_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        let n = count as u32;
        if n > 0 {
            // SAFETY: `n` references are `n` pointers to `LEN` bytes each, and there is room for as
            // many positions.
            unsafe {
                ffi::rte_hash_lookup_bulk(
                    self.table.as_ptr(),
                    keys.as_ptr().cast_mut().cast(),
                    n,
                    positions.as_mut_ptr(),
                );
            }
        }
    }
}
