//! What an OPEN and an ACCEPT say of the host: its TCP options, VLAN, DSCP, and the first credit.

/// Parameters of one end of a flow, the data of an OPEN or ACCEPT message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenParameters {
    /// Bytes of the stream that the sender of this message takes from the start.
    pub credit: u64,
    /// The host's maximum segment size in bytes; 0 when its SYN had none.
    pub mss: u16,
    /// The host's window scale (RFC 7323), when offered.
    pub window_scale: Option<u8>,
    /// Whether the host permits SACK (RFC 2018).
    pub sack_permitted: bool,
    /// Whether the host sends timestamps (RFC 7323).
    pub timestamps: bool,
    /// Outermost VLAN id of the host's frames; 0 when untagged.
    pub vlan: u16,
    /// DSCP of the host's packets.
    pub dscp: u8,
    /// Class of the flow's rule.
    pub class: u8,
    /// Whether the flow's rule allows compression.
    pub compress: bool,
}
