//! Reassembly and parity, driven by bytes: pieces and parities of any shape in any order.
//!
//! In: any bytes, as a list of things that arrive. Out: nothing; a panic when memory is not bounded
//! or something is left at the end.

use super::super::PeerConfig;
use super::super::reassembly::{Reassembly, Taken};
use super::super::wire::{
    DATA_BASE_LEN, DataView, DatagramKind, Near, PIECE_LEN, Parity, SHORT_FIELD_LEN,
};
use super::decoder::{Decoder, HELD_MAX};
use crate::packet_driver::{BufferPool, PeerIndex, PoolClass};

const BUFFER_MAX: u32 = 16 * 1024;

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

/// Lets everything arrive that `bytes` name: how many pieces were restored.
///
/// # Panics
/// When what must hold does not.
pub(crate) fn parity(mut bytes: &[u8]) -> u64 {
    let pool = BufferPool::new(&[PoolClass { size: 16 * 1024, count: 8, reserve: 1 }]);
    let config = PeerConfig {
        buffers_max: 64,
        reassembly_bytes_max: 8 * BUFFER_MAX,
        buffer_len_max: BUFFER_MAX,
        ..PeerConfig::new(PeerIndex(0), 1_000_000)
    };
    let mut reassembly = Reassembly::new(&config.clamped(), pool.clone());
    let mut decoder = Decoder::new(true);
    let mut restored = 0;
    while arrives(&mut bytes, &mut reassembly, &mut decoder, &mut restored).is_some() {
        assert!(decoder.held() <= HELD_MAX);
        assert!(pool.in_use_bytes() <= pool.capacity_bytes());
    }
    let last = reassembly.lowest_incomplete().saturating_add(64);
    reassembly.give_up_below(last);
    decoder.done_below(last);
    assert_eq!((decoder.held(), pool.in_use_bytes()), (0, 0));
    restored
}

/// One thing arrives; `None` at the end.
fn arrives(
    bytes: &mut &[u8],
    reassembly: &mut Reassembly,
    decoder: &mut Decoder,
    restored: &mut u64,
) -> Option<()> {
    let (code, value) = (*take(bytes, 1)?.first()?, *take(bytes, 1)?.first()?);
    decoder.heard();
    match code % 3 {
        0 => {
            // The number of the datagram, and one piece.
            let body = take(bytes, DATA_BASE_LEN + PIECE_LEN)?;
            let len = body.last_chunk().map_or(0, |len| u16::from_be_bytes(*len));
            let content = vec![value; usize::from(len)];
            let near = Near { physical: 0, logical: reassembly.lowest_incomplete() };
            let view = DataView::parse(DatagramKind::Session, body, &content, near);
            for (piece, bytes) in view.iter().flat_map(|(view, _)| view.pieces()) {
                let taken = reassembly.take(&piece, bytes);
                assert!(!matches!(taken, Taken::Complete(ref buffer) if buffer.is_empty()));
                *restored += decoder.changed(piece.logical, reassembly, |_, _| {}).cells;
            }
        }
        1 => {
            let body = take(bytes, SHORT_FIELD_LEN)?;
            let len = take(bytes, 2)?.first_chunk().map_or(0, |len| u16::from_be_bytes(*len));
            let content = vec![value; usize::from(len)];
            if let Ok(parity) = Parity::parse(body, &content, reassembly.lowest_incomplete()) {
                *restored += decoder.take(&parity, &content, reassembly, |_, _| {}).cells;
            }
        }
        _ => {
            let lowest = reassembly.lowest_incomplete() + u64::from(value % 4);
            reassembly.give_up_below(lowest);
            decoder.done_below(reassembly.lowest_incomplete());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inputs_of_the_corpus_do_what_their_names_say() {
        assert_eq!(parity(include_bytes!("../../../../fuzz/corpus/parity/restored")), 1);
        assert_eq!(parity(include_bytes!("../../../../fuzz/corpus/parity/overtaken")), 1);
        assert_eq!(parity(include_bytes!("../../../../fuzz/corpus/parity/too_few")), 0);
    }
}
