//! The order of service among buffers with data: by class, and within a class flows that send
//! little before those that send much.

use super::{CLASS_COUNT, Class};

/// Place of a buffer with data in the order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane(usize);

impl Lane {
    /// Number of lanes.
    pub const COUNT: usize = 2 * CLASS_COUNT;

    /// Flows of the first class that send much.
    pub const BULK: Lane = Lane(1);

    /// The lane of data of a class; `sparse` when they are of flows that send little, which go
    /// before the others of their class.
    #[must_use]
    pub fn new(class: Class, sparse: bool) -> Self {
        let class = usize::from(class.0).min(CLASS_COUNT - 1);
        Lane(2 * class + usize::from(!sparse))
    }

    /// All of them, in the order of service.
    pub fn all() -> impl Iterator<Item = Lane> {
        (0..Self::COUNT).map(Lane)
    }

    /// Its place in the order of service, below [`Lane::COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }

    /// Its class.
    #[must_use]
    pub fn class(self) -> Class {
        Class(u8::try_from(self.0 / 2).unwrap_or(0))
    }

    /// Whether it is for flows that send little.
    #[must_use]
    pub fn is_sparse(self) -> bool {
        self.0.is_multiple_of(2)
    }
}
