//! Pools of mbufs.
//!
//! In: a name, a number and a size, once. Out: mbufs. Never: growth; an exhausted pool says so.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::burst::Burst;
use crate::eal::Eal;
use crate::errno::Errno;
use crate::ffi;
use crate::mbuf::Mbuf;

/// What a pool is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MempoolConfig {
    /// Unique in the process, at most [`MempoolConfig::NAME_MAX`] bytes.
    pub name: String,
    /// Number of mbufs; 2^n - 1 uses memory best.
    pub count: u32,
    /// Mbufs that each registered thread keeps at hand; at most 512 and `count` / 1.5.
    pub cache: u32,
    /// Bytes of each buffer, headroom ([`MempoolConfig::HEADROOM`]) included.
    pub data_room: u16,
    /// NUMA node of the memory; `None` for any.
    pub socket: Option<u32>,
}

impl MempoolConfig {
    /// Longest name, in bytes.
    pub const NAME_MAX: usize = 25;
    /// Bytes that a fresh mbuf keeps free in front of its data.
    #[expect(clippy::cast_possible_truncation, reason = "128")]
    pub const HEADROOM: u16 = ffi::SHIM_PKTMBUF_HEADROOM as u16;
    /// Buffers for frames of up to 2048 bytes.
    pub const DATA_ROOM_DEFAULT: u16 = 2048 + Self::HEADROOM;
    /// Mbufs kept at hand by each thread.
    pub const CACHE_DEFAULT: u32 = 256;

    /// `count` mbufs of the default size, on any NUMA node.
    #[must_use]
    pub fn new(name: &str, count: u32) -> Self {
        MempoolConfig {
            name: name.to_owned(),
            count,
            // DPDK wants count >= 1.5 x cache.
            cache: Self::CACHE_DEFAULT.min(count / 2),
            data_room: Self::DATA_ROOM_DEFAULT,
            socket: None,
        }
    }
}

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MempoolError {
    /// The name does not fit.
    #[error("pool name {0:?} must be 1 to {max} bytes without NUL", max = MempoolConfig::NAME_MAX)]
    BadName(String),
    /// The name is taken.
    #[error("a pool named {0:?} exists already: choose another name")]
    NameTaken(String),
    /// The cache is too large.
    #[error("pool {name:?}: a cache of {cache} needs at least {cache} x 1.5 mbufs and may be {max} at most, not with {count}", max = ffi::SHIM_MEMPOOL_CACHE_MAX_SIZE)]
    BadCache {
        /// The pool.
        name: String,
        /// Asked for.
        cache: u32,
        /// Mbufs asked for.
        count: u32,
    },
    /// A buffer would have no room behind its headroom.
    #[error("pool {name:?}: a data room of {data_room} bytes leaves nothing behind the headroom of {headroom}", headroom = MempoolConfig::HEADROOM)]
    BadDataRoom {
        /// The pool.
        name: String,
        /// Asked for.
        data_room: u16,
    },
    /// Not enough memory.
    #[error(
        "pool {name:?} of {count} mbufs does not fit into DPDK's memory: give the EAL more (-m) or take fewer mbufs"
    )]
    NoMemory {
        /// The pool.
        name: String,
        /// Mbufs asked for.
        count: u32,
    },
    /// Any other reason.
    #[error("pool {name:?} could not be made: {errno}")]
    Failed {
        /// The pool.
        name: String,
        /// DPDK's reason.
        errno: Errno,
    },
}

/// A pool of mbufs; clones share it.
///
/// The memory is freed with the last handle, provided that every mbuf is back by then (threads
/// that still free mbufs of the pool must have ended). With mbufs out, e.g. in a device that is
/// still open, pool and EAL are kept until the end of the process instead: mbufs carry no
/// reference of their own, and must never outlive their memory. So drop ports before pools.
/// (net_af_xdp of DPDK 22.11 keeps the mbufs of its fill ring even when closed: its pools stay.)
#[derive(Clone, Debug)]
pub struct Mempool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: NonNull<ffi::rte_mempool>,
    name: String,
    data_room: u16,
    eal: Eal,
}

// SAFETY: all operations on a DPDK pool may be called from any thread; caches are per lcore.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        if in_use(self.pool) == 0 {
            // SAFETY: last handle, and no mbuf is out.
            unsafe { ffi::rte_mempool_free(self.pool.as_ptr()) }
        } else {
            self.eal.leak();
        }
    }
}

fn available(pool: NonNull<ffi::rte_mempool>) -> u32 {
    // SAFETY: the pool is alive as long as a handle is.
    unsafe { ffi::rte_mempool_avail_count(pool.as_ptr()) }
}

fn in_use(pool: NonNull<ffi::rte_mempool>) -> u32 {
    // SAFETY: as above.
    let size = unsafe { ffi::shim_mempool_size(pool.as_ptr()) };
    size.saturating_sub(available(pool))
}

impl Mempool {
    /// Makes a pool; all memory is taken now.
    ///
    /// # Errors
    ///
    /// See [`MempoolError`].
    pub fn new(eal: &Eal, config: &MempoolConfig) -> Result<Self, MempoolError> {
        let MempoolConfig { count, cache, data_room, .. } = *config;
        let name = config.name.clone();
        let c_name = match CString::new(name.as_str()) {
            Ok(c) if (1..=MempoolConfig::NAME_MAX).contains(&name.len()) => c,
            _ => return Err(MempoolError::BadName(name)),
        };
        if cache > ffi::SHIM_MEMPOOL_CACHE_MAX_SIZE || u64::from(cache) * 3 > u64::from(count) * 2 {
            return Err(MempoolError::BadCache { name, cache, count });
        }
        if data_room <= MempoolConfig::HEADROOM {
            return Err(MempoolError::BadDataRoom { name, data_room });
        }
        let socket = config
            .socket
            .and_then(|socket| i32::try_from(socket).ok())
            .unwrap_or(ffi::SHIM_SOCKET_ID_ANY);
        // SAFETY: the EAL is up, the name is a C string.
        let pool = unsafe {
            ffi::shim_pktmbuf_pool_create(c_name.as_ptr(), count, cache, data_room, socket)
        };
        match NonNull::new(pool) {
            Some(pool) => {
                let inner = Inner { pool, name, data_room, eal: eal.clone() };
                Ok(Mempool { inner: Arc::new(inner) })
            }
            None => Err(match Errno::last() {
                Errno::EEXIST => MempoolError::NameTaken(name),
                Errno::ENOMEM | Errno::ENOBUFS => MempoolError::NoMemory { name, count },
                errno => MempoolError::Failed { name, errno },
            }),
        }
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Bytes of each buffer, headroom included.
    #[must_use]
    pub fn data_room(&self) -> u16 {
        self.inner.data_room
    }

    /// Number of mbufs, those in use included.
    #[must_use]
    pub fn count(&self) -> u32 {
        // SAFETY: the pool is alive.
        unsafe { ffi::shim_mempool_size(self.inner.pool.as_ptr()) }
    }

    /// Mbufs that can be had, without those that threads keep at hand: on the packet path.
    #[must_use]
    #[inline]
    pub fn uncached(&self) -> usize {
        // SAFETY: the pool is alive.
        unsafe { ffi::shim_mempool_uncached(self.as_ptr()) as usize }
    }

    /// Mbufs that can be had. Walks all caches: for control, not for the packet path.
    #[must_use]
    pub fn available(&self) -> u32 {
        available(self.inner.pool)
    }

    /// Mbufs that are out, those that a device holds included. As slow as
    /// [`Mempool::available`].
    #[must_use]
    pub fn in_use(&self) -> u32 {
        in_use(self.inner.pool)
    }

    /// Mbufs in the cache of the calling thread: 0 for a thread that is not registered.
    #[must_use]
    pub fn cached(&self) -> u32 {
        // SAFETY: the pool is alive; only this thread's cache is read.
        unsafe { ffi::shim_mempool_cache_len(self.inner.pool.as_ptr()) }
    }

    /// An empty mbuf, or `None` when the pool is exhausted.
    #[must_use]
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive.
        let mbuf = unsafe { ffi::shim_mbuf_alloc(self.inner.pool.as_ptr()) };
        // SAFETY: a fresh mbuf that nobody else knows.
        unsafe { Mbuf::from_raw(mbuf) }
    }

    /// A contiguous mbuf with these bytes; `None` when the pool is exhausted or they do not fit.
    #[must_use]
    pub fn alloc_copy(&self, bytes: &[u8]) -> Option<Mbuf> {
        let mut mbuf = self.alloc()?;
        mbuf.append(bytes.len()).ok()?.copy_from_slice(bytes);
        Some(mbuf)
    }

    /// Appends `count` empty mbufs to `burst`, all or none: false when the pool has fewer or the
    /// burst has less room.
    #[must_use]
    pub fn alloc_bulk<const N: usize>(&self, burst: &mut Burst<N>, count: usize) -> bool {
        let room = burst.spare();
        let (Some(into), Ok(n)) = (room.get_mut(..count), u32::try_from(count)) else {
            return false;
        };
        let into = into.as_mut_ptr().cast::<*mut ffi::rte_mbuf>();
        // SAFETY: room for `n` pointers; the pool is alive.
        if unsafe { ffi::shim_mbuf_alloc_bulk(self.inner.pool.as_ptr(), into, n) } != 0 {
            return false;
        }
        // SAFETY: the call filled `count` slots with mbufs that are ours.
        unsafe { burst.grow(count) };
        true
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::rte_mempool {
        self.inner.pool.as_ptr()
    }
}

// A slot of a burst is what DPDK calls an mbuf pointer.
const _: () = assert!(size_of::<MaybeUninit<Mbuf>>() == size_of::<*mut ffi::rte_mbuf>());
