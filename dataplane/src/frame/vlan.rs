//! VLAN tags.

use super::ip::ethertype;

/// Tags that are kept: an outer and an inner one (QinQ).
pub const VLANS_MAX: usize = 2;

/// One VLAN tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// The Ethernet type that announces the tag.
    pub tpid: u16,
    /// Priority, drop eligibility, and VLAN id.
    pub tci: u16,
}

impl VlanTag {
    /// An IEEE 802.1Q tag with priority 0.
    #[must_use]
    pub const fn new(id: u16) -> Self {
        VlanTag { tpid: ethertype::VLAN, tci: id & 0x0fff }
    }

    /// The VLAN id.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.tci & 0x0fff
    }

    /// Whether an Ethernet type announces a tag.
    #[must_use]
    pub const fn is_tpid(ethertype: u16) -> bool {
        matches!(ethertype, ethertype::VLAN | ethertype::SERVICE_VLAN | ethertype::OLD_SERVICE_VLAN)
    }
}

/// The tags of a frame, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanList {
    tags: [VlanTag; VLANS_MAX],
    count: u8,
}

impl VlanList {
    /// One 802.1Q tag, or none for id 0.
    #[must_use]
    pub fn of_id(id: u16) -> Self {
        let mut list = VlanList::default();
        if id & 0x0fff != 0 {
            list.push(VlanTag::new(id));
        }
        list
    }

    /// Adds an inner tag; nothing when the list is full.
    pub fn push(&mut self, tag: VlanTag) {
        if let Some(slot) = self.tags.get_mut(usize::from(self.count)) {
            *slot = tag;
            self.count += 1;
        }
    }

    /// Whether there is room for no more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        usize::from(self.count) == VLANS_MAX
    }

    /// The tags, outermost first.
    #[must_use]
    pub fn as_slice(&self) -> &[VlanTag] {
        self.tags.get(..usize::from(self.count)).unwrap_or(&[])
    }

    /// The outermost VLAN id; 0 when untagged.
    #[must_use]
    pub fn outer_id(&self) -> u16 {
        self.as_slice().first().map_or(0, |tag| tag.id())
    }

    /// Bytes that the tags take in a frame.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        usize::from(self.count) * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_two_tags_in_order() {
        let mut list = VlanList::of_id(7);
        list.push(VlanTag { tpid: ethertype::VLAN, tci: 0xe009 });
        list.push(VlanTag::new(11));
        assert!(list.is_full());
        assert_eq!(list.outer_id(), 7);
        assert_eq!(list.as_slice()[1].id(), 9);
        assert_eq!(list.byte_len(), 8);
        assert_eq!(VlanList::of_id(0), VlanList::default());
    }
}
