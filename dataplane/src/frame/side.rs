//! The two sides of an appliance.

/// The side of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Towards the hosts behind this appliance.
    Lan,
    /// Towards the peers.
    Wan,
}

impl Side {
    /// Both sides.
    pub const BOTH: [Side; 2] = [Side::Lan, Side::Wan];

    /// The other side.
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::Lan => Side::Wan,
            Side::Wan => Side::Lan,
        }
    }

    /// 0 for the LAN, 1 for the WAN: place in per-side arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Side::Lan => 0,
            Side::Wan => 1,
        }
    }
}
