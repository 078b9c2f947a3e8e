//! How strongly a buffer is compressed, from not at all to as strongly as a core has time for on a
//! slow link.

/// A level, from the fastest to the one that leaves least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// As it is.
    Stored,
    /// LZ4 that looks less closely.
    Lz4Fast,
    /// LZ4.
    Lz4,
    /// Zstandard, level 1.
    Zstd1,
    /// Zstandard, level 3.
    Zstd3,
    /// Zstandard, level 6.
    Zstd6,
}

/// LZ4's acceleration at [`Level::Lz4Fast`].
pub(super) const LZ4_FAST_ACCELERATION: i32 = 8;
/// LZ4's own default.
pub(super) const LZ4_ACCELERATION: i32 = 1;

impl Level {
    /// All of them, in order.
    pub const ALL: [Level; 6] =
        [Level::Stored, Level::Lz4Fast, Level::Lz4, Level::Zstd1, Level::Zstd3, Level::Zstd6];

    /// Number of levels.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place in [`Level::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What it costs, in picoseconds per byte, and what it leaves, in millionths, until that is
    /// measured: programs in blocks of 64 KiB, on one core of a virtual machine of 2024.
    pub(super) const fn expected(self) -> (u64, u64) {
        match self {
            Level::Stored => (0, 1_000_000),
            Level::Lz4Fast => (1_000, 760_000),
            Level::Lz4 => (1_500, 616_000),
            Level::Zstd1 => (2_500, 516_000),
            Level::Zstd3 => (4_000, 490_000),
            Level::Zstd6 => (10_000, 460_000),
        }
    }
}

/// How a peer's buffers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As strongly as pays: by what the WAN takes and the core can give.
    #[default]
    Auto,
    /// With LZ4, wherever that makes a buffer smaller.
    Lz4,
    /// Not at all.
    None,
}
