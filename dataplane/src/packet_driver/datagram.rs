//! What a message in packet mode says of its packet: the status field of a DATAGRAM.
//!
//! ```text
//!   15                              4   3   2   1   0
//! +----------------------------------+---+---+-------+
//! | VLAN id                          | 0 | c | class |
//! +----------------------------------+---+---+-------+
//! ```
//!
//! In: what the near edge knows of the flow. Out: the same at the far edge. Never: a value that
//! cannot be read; every status means something.

use super::{CLASS_COUNT, Class};

const CLASS_MASK: u16 = 0b11;
const COMPRESS: u16 = 1 << 2;
const VLAN_SHIFT: u32 = 4;

const _: () = assert!(CLASS_COUNT == CLASS_MASK as usize + 1, "two bits name every class");

/// The status of a DATAGRAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramStatus {
    /// Class of the flow: answers are treated alike.
    pub class: Class,
    /// Whether answers may be compressed.
    pub compress: bool,
    /// Outermost VLAN id of the host's frames, below 4096; 0 when untagged.
    pub vlan: u16,
}

impl DatagramStatus {
    /// The field; what does not fit is cut off.
    #[must_use]
    pub fn to_status(self) -> u16 {
        let compress = if self.compress { COMPRESS } else { 0 };
        self.vlan << VLAN_SHIFT | compress | u16::from(self.class.0) & CLASS_MASK
    }

    /// What a field says; the reserved bit is ignored.
    #[must_use]
    pub fn from_status(status: u16) -> Self {
        let [_, low] = (status & CLASS_MASK).to_be_bytes();
        DatagramStatus {
            class: Class(low),
            compress: status & COMPRESS != 0,
            vlan: status >> VLAN_SHIFT,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parse_is_the_inverse_of_emit(class in 0u8..4, compress: bool, vlan in 0u16..4096) {
            let status = DatagramStatus { class: Class(class), compress, vlan };
            prop_assert_eq!(DatagramStatus::from_status(status.to_status()), status);
            prop_assert_eq!(status.to_status() & 1 << 3, 0);
        }

        #[test]
        fn every_field_can_be_read(field: u16) {
            let status = DatagramStatus::from_status(field);
            prop_assert!(usize::from(status.class.0) < CLASS_COUNT && status.vlan < 4096);
            prop_assert_eq!(status.to_status(), field & !(1 << 3));
        }
    }

    #[test]
    fn fields_are_where_the_wire_format_has_them() {
        let status = DatagramStatus { class: Class(2), compress: true, vlan: 0xabc };
        assert_eq!(status.to_status(), 0xabc6);
    }
}
