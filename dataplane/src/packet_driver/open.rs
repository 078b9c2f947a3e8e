//! What an OPEN and an ACCEPT say of the host: its TCP options, VLAN, DSCP, and the first credit.

use super::CLASS_COUNT;
use super::wire::{get, put};

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

/// Length of the parameters on the wire in bytes; a later version may append to them.
pub const OPEN_PARAMETERS_LEN: usize = 16;

/// Largest window scale that counts (RFC 7323, 2.3); a larger one is taken for this.
pub const WINDOW_SCALE_MAX: u8 = 14;

const _: () = assert!(OPEN_PARAMETERS_LEN <= super::message::INLINE_MAX, "made by the edge");

const FLAG_WINDOW_SCALE: u8 = 1 << 0;
const FLAG_SACK_PERMITTED: u8 = 1 << 1;
const FLAG_TIMESTAMPS: u8 = 1 << 2;
const FLAG_COMPRESS: u8 = 1 << 3;

mod field {
    pub(super) const CREDIT: usize = 0;
    pub(super) const MSS: usize = 8;
    pub(super) const WINDOW_SCALE: usize = 10;
    pub(super) const FLAGS: usize = 11;
    pub(super) const VLAN: usize = 12;
    pub(super) const DSCP: usize = 14;
    pub(super) const CLASS: usize = 15;
}

impl OpenParameters {
    /// Reads the data of an OPEN or ACCEPT; `None` when they are too short or a value is one that
    /// no host, VLAN or class can have.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < OPEN_PARAMETERS_LEN {
            return None;
        }
        let [flags] = get(bytes, field::FLAGS);
        let [scale] = get(bytes, field::WINDOW_SCALE);
        let [dscp] = get(bytes, field::DSCP);
        let [class] = get(bytes, field::CLASS);
        let vlan = u16::from_be_bytes(get(bytes, field::VLAN));
        if vlan > 0x0fff || dscp > 0x3f || usize::from(class) >= CLASS_COUNT {
            return None;
        }
        Some(OpenParameters {
            credit: u64::from_be_bytes(get(bytes, field::CREDIT)),
            mss: u16::from_be_bytes(get(bytes, field::MSS)),
            window_scale: (flags & FLAG_WINDOW_SCALE != 0).then_some(scale.min(WINDOW_SCALE_MAX)),
            sack_permitted: flags & FLAG_SACK_PERMITTED != 0,
            timestamps: flags & FLAG_TIMESTAMPS != 0,
            vlan,
            dscp,
            class,
            compress: flags & FLAG_COMPRESS != 0,
        })
    }

    /// The data of an OPEN or ACCEPT.
    #[must_use]
    pub fn emit(&self) -> [u8; OPEN_PARAMETERS_LEN] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = flag(self.window_scale.is_some(), FLAG_WINDOW_SCALE)
            | flag(self.sack_permitted, FLAG_SACK_PERMITTED)
            | flag(self.timestamps, FLAG_TIMESTAMPS)
            | flag(self.compress, FLAG_COMPRESS);
        let mut bytes = [0; OPEN_PARAMETERS_LEN];
        put(&mut bytes, field::CREDIT, self.credit.to_be_bytes());
        put(&mut bytes, field::MSS, self.mss.to_be_bytes());
        let scale = self.window_scale.unwrap_or(0).min(WINDOW_SCALE_MAX);
        put(&mut bytes, field::WINDOW_SCALE, [scale]);
        put(&mut bytes, field::FLAGS, [flags]);
        put(&mut bytes, field::VLAN, self.vlan.to_be_bytes());
        put(&mut bytes, field::DSCP, [self.dscp]);
        put(&mut bytes, field::CLASS, [self.class]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_parameters() -> impl Strategy<Value = OpenParameters> {
        (
            (any::<u64>(), any::<u16>(), proptest::option::of(0u8..=WINDOW_SCALE_MAX)),
            (any::<bool>(), any::<bool>(), any::<bool>()),
            (0u16..4096, 0u8..64, 0u8..4),
        )
            .prop_map(|((credit, mss, window_scale), (a, b, c), (vlan, dscp, class))| {
                OpenParameters {
                    credit,
                    mss,
                    window_scale,
                    sack_permitted: a,
                    timestamps: b,
                    vlan,
                    dscp,
                    class,
                    compress: c,
                }
            })
    }

    proptest! {
        #[test]
        fn parse_is_the_inverse_of_emit(parameters in any_parameters(), more in 0usize..9) {
            let mut bytes = parameters.emit().to_vec();
            bytes.resize(OPEN_PARAMETERS_LEN + more, 0xaa);
            prop_assert_eq!(OpenParameters::parse(&bytes), Some(parameters));
            prop_assert_eq!(OpenParameters::parse(&bytes[..OPEN_PARAMETERS_LEN - 1]), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            if let Some(parameters) = OpenParameters::parse(&bytes) {
                prop_assert_eq!(OpenParameters::parse(&parameters.emit()), Some(parameters));
            }
        }
    }

    #[test]
    fn impossible_values_are_refused_and_a_large_scale_is_14() {
        let good = OpenParameters { window_scale: Some(7), ..Default::default() }.emit();
        let with = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            OpenParameters::parse(&bytes)
        };
        assert_eq!(with(field::VLAN, 0x10), None);
        assert_eq!(with(field::DSCP, 64), None);
        assert_eq!(with(field::CLASS, 4), None);
        assert_eq!(with(field::WINDOW_SCALE, 200).unwrap().window_scale, Some(WINDOW_SCALE_MAX));
    }
}
