//! Sequence numbers and positions.
//!
//! On the wire a sequence number has 32 bits and wraps. Inside, everything is a *position*: a
//! 64-bit distance from the initial sequence number. The SYN is position 0, the byte at stream
//! offset `o` is position `o + 1`, a FIN after `n` bytes is position `n + 1`. Positions never wrap.

/// Distance in sequence space from the SYN (RFC 9293 3.4, without the wrap).
pub(super) type Position = u64;

/// Position of the first byte of the stream: the SYN is before it.
pub(super) const FIRST_BYTE: Position = 1;

/// The sequence number on the wire of a position.
#[expect(clippy::cast_possible_truncation, reason = "sequence numbers are positions modulo 2^32")]
pub(super) const fn sequence_at(initial: u32, position: Position) -> u32 {
    initial.wrapping_add(position as u32)
}

/// The position of a sequence number: of all that share it, the one closest to `near`. `None`
/// when that would lie before the SYN.
pub(super) fn position_of(initial: u32, near: Position, sequence: u32) -> Option<Position> {
    let distance = sequence.wrapping_sub(sequence_at(initial, near)) as i32;
    near.checked_add_signed(i64::from(distance))
}

/// The stream offset of a position behind the SYN; 0 for the SYN itself.
pub(super) const fn offset_of(position: Position) -> u64 {
    position.saturating_sub(FIRST_BYTE)
}

/// The position of a stream offset.
pub(super) const fn position_at(offset: u64) -> Position {
    offset.saturating_add(FIRST_BYTE)
}

/// Whether `a` is before `b` in arithmetic modulo 2^32 (sequence numbers and timestamps).
pub(super) const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_the_wrap() {
        let initial = u32::MAX - 5;
        for position in [0_u64, 1, 5, 6, 7, 1 << 31, (1 << 32) - 1, 1 << 32, (5 << 32) + 17] {
            for near in [position.saturating_sub(1 << 30), position, position + (1 << 30)] {
                let sequence = sequence_at(initial, position);
                assert_eq!(position_of(initial, near, sequence), Some(position));
            }
        }
    }

    #[test]
    fn nothing_is_before_the_syn() {
        assert_eq!(position_of(1000, 0, 999), None);
        assert_eq!(position_of(1000, 0, 1000), Some(0));
        assert_eq!(offset_of(0), 0);
        assert_eq!(offset_of(position_at(7)), 7);
    }

    #[test]
    fn before_wraps() {
        assert!(before(u32::MAX, 0));
        assert!(!before(0, u32::MAX));
        assert!(!before(7, 7));
    }
}
