//! Forward error correction: what a retransmission would bring too late is restored from parity.
//!
//! In: which pieces were sent and what was lost of them; parity that came. Out: parity to be sent;
//! bytes of pieces that did not come. Never: a copy of what was sent or received: parity is over
//! ranges of buffers, which the sender holds until they are acknowledged, and the receiver while
//! they are incomplete.
//!
//! Numbers are not touched by it: a datagram whose pieces were restored is missing and lost like any
//! other, for the rate, the round trip and the loss. Only its buffer is complete, and so nothing of
//! it is sent again.

mod decoder;
mod encoder;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod policy;
#[cfg(test)]
mod tests;

use std::fmt;

use reed_solomon_simd::engine::tables::get_exp_log;
use reed_solomon_simd::engine::{DefaultEngine, Engine, GF_MODULUS, GF_ORDER, GfElement};
use reed_solomon_simd::engine::{ShardsRefMut, tables};
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};

pub(super) use decoder::Decoder;
pub(super) use encoder::{Encoder, Next};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzz::parity as fuzz_parity;

use super::wire::{CELLS_MAX, PARITIES_MAX, Parity};
use crate::copy::{self, Copied};

/// Longest cell in bytes; pieces that are longer are not protected.
const CELL_LEN_MAX: u16 = 1_536;

/// The engine of the library, but for one step: it is made for tens of thousands of cells, and
/// would take half a millisecond for it however few there are.
struct FewCells(DefaultEngine);

impl Engine for FewCells {
    fn fft(&self, data: &mut ShardsRefMut<'_>, pos: usize, size: usize, used: usize, skew: usize) {
        self.0.fft(data, pos, size, used, skew);
    }

    fn ifft(&self, data: &mut ShardsRefMut<'_>, pos: usize, size: usize, used: usize, skew: usize) {
        self.0.ifft(data, pos, size, used, skew);
    }

    fn mul(&self, x: &mut [[u8; 64]], log_m: GfElement) {
        self.0.mul(x, log_m);
    }

    /// For each place, the logarithm of the product of its differences from the erased ones. The
    /// first `used` places are all that is erased, and all that is asked for.
    fn eval_poly(erasures: &mut [GfElement; GF_ORDER], used: usize) {
        let log: &tables::Log = &get_exp_log().log;
        let used = used.min(PLACES_MAX);
        let mut erased = [false; PLACES_MAX];
        for (erased, value) in erased.iter_mut().zip(erasures.iter()).take(used) {
            *erased = *value != 0;
        }
        for (at, value) in erasures.iter_mut().enumerate().take(used) {
            let others =
                erased.iter().enumerate().filter(|(other, erased)| **erased && *other != at);
            let logs = others.map(|(other, _)| log.get(at ^ other).copied().unwrap_or(0));
            let sum = logs.map(u64::from).sum::<u64>() % u64::from(GF_MODULUS);
            *value = GfElement::try_from(sum).unwrap_or(0);
        }
    }
}

/// Places of parities and cells together.
const PLACES_MAX: usize = CELLS_MAX as usize + PARITIES_MAX as usize;

const _: () = assert!(PARITIES_MAX.is_power_of_two(), "parities take up a power of two of places");
const _: () = assert!(PLACES_MAX < GF_ORDER);
const _: () = assert!(CELL_LEN_MAX.is_multiple_of(2), "elements of the code have two bytes");

/// The shape that everything is allocated for at the start.
const SHAPE: (usize, usize, usize) =
    (CELLS_MAX as usize, PARITIES_MAX as usize, CELL_LEN_MAX as usize);

fn shape(parity: &Parity) -> (usize, usize, usize) {
    (usize::from(parity.cells), usize::from(parity.parities), usize::from(parity.cell_len))
}

/// The bytes of a cell, filled up with zeros in `room` where they are fewer than `len`.
fn filled<'a>(bytes: &'a [u8], len: usize, room: &'a mut [u8]) -> Option<&'a [u8]> {
    if bytes.len() == len {
        return Some(bytes);
    }
    let whole = room.get_mut(..len)?;
    let (head, tail) = whole.split_at_mut_checked(bytes.len())?;
    copy::bytes(Copied::Protected, head, bytes);
    tail.fill(0);
    Some(whole)
}

/// Makes parities.
struct Coder(HighRateEncoder<FewCells>);

impl Coder {
    fn new() -> Option<Self> {
        let (cells, parities, len) = SHAPE;
        let engine = FewCells(DefaultEngine::new());
        HighRateEncoder::new(cells, parities, len, engine, None).ok().map(Coder)
    }

    /// Begins a set of parities.
    fn begin(&mut self, parity: &Parity) -> Option<()> {
        let (cells, parities, len) = shape(parity);
        self.0.reset(cells, parities, len).ok()
    }

    /// The next cell.
    fn cell(&mut self, bytes: &[u8]) -> Option<()> {
        copy::count(Copied::Protected, bytes.len());
        self.0.add_original_shard(bytes).ok()
    }

    /// The parities, once all cells are there, one behind the other.
    fn code(&mut self, len: usize, out: &mut [u8]) -> Option<()> {
        let coded = self.0.encode().ok()?;
        for (made, place) in coded.recovery_iter().zip(out.chunks_exact_mut(len)) {
            copy::bytes(Copied::Protected, place, made);
        }
        Some(())
    }
}

/// Restores cells.
struct Restorer(HighRateDecoder<FewCells>);

impl Restorer {
    fn new() -> Option<Self> {
        let (cells, parities, len) = SHAPE;
        // The library makes its tables when they are first used.
        let _ = get_exp_log();
        let engine = FewCells(DefaultEngine::new());
        HighRateDecoder::new(cells, parities, len, engine, None).ok().map(Restorer)
    }

    /// Begins to restore a set of cells.
    fn begin(&mut self, parity: &Parity) -> Option<()> {
        let (cells, parities, len) = shape(parity);
        self.0.reset(cells, parities, len).ok()
    }

    /// A cell that is there.
    fn cell(&mut self, cell: u8, bytes: &[u8]) -> Option<()> {
        copy::count(Copied::Protected, bytes.len());
        self.0.add_original_shard(usize::from(cell), bytes).ok()
    }

    /// A parity that is there.
    fn parity(&mut self, index: u8, bytes: &[u8]) -> Option<()> {
        copy::count(Copied::Protected, bytes.len());
        self.0.add_recovery_shard(usize::from(index), bytes).ok()
    }

    /// Gives each cell that is not there to `restored`.
    fn restore(&mut self, mut restored: impl FnMut(u8, &[u8])) -> Option<()> {
        let result = self.0.decode().ok()?;
        for (cell, bytes) in result.restored_original_iter() {
            restored(u8::try_from(cell).ok()?, bytes);
        }
        Some(())
    }
}

impl fmt::Debug for Coder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coder")
    }
}

impl fmt::Debug for Restorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Restorer")
    }
}
