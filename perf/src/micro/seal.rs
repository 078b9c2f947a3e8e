//! Sealing and opening full datagrams beside the AEAD library alone, with the same bytes.

use std::hint::black_box;

use dataplane::data_mover::security::alone::{EPOCH, Opener, Sealer, pair};
use dataplane::data_mover::wire::{
    DatagramHeader, DatagramKind, OVERHEAD_LEN, Piece, SHORT_HEADER_LEN, SessionId, TAG_LEN,
    emit_piece,
};
use dataplane::packet_driver::BufferKind;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::measure::Work;
use super::{Bench, MicroError, random_bytes};

/// Bytes of a full datagram: 1,500 with the headers of UDP and IPv4.
pub(super) const DATAGRAM: usize = 1_472;
/// Of these, how many are in front of the one piece of a buffer.
pub(crate) const FRONT_LEN: usize = OVERHEAD_LEN;
/// How many are of the buffer.
pub(crate) const PAYLOAD: usize = DATAGRAM - FRONT_LEN - TAG_LEN;
/// Datagrams of one lap.
const LAP: usize = 32;

pub(crate) const KEY: [u8; 32] = [0x5a; 32];

pub(super) fn run(bench: &mut Bench) -> Result<(), MicroError> {
    let failed = || MicroError::set_up("seal", "what was sealed does not open");
    let (mut sealer, opener) = pair(KEY).ok_or_else(failed)?;
    let plain = plain().ok_or_else(failed)?;
    let mut sealed = plain.clone();
    for (datagram, number) in sealed.iter_mut().zip(1..) {
        sealer.seal(number, datagram, FRONT_LEN).ok_or_else(failed)?;
    }
    let mut ours = OurOpen { sealed: &sealed, datagrams: sealed.clone(), opener, whole: true };
    let mut alone =
        RingOpen { sealed: &sealed, datagrams: sealed.clone(), key: key()?, whole: true };
    for work in [&mut ours as &mut dyn Work, &mut alone] {
        work.prepare();
        work.run();
    }
    if !ours.whole
        || !alone.whole
        || ours.datagrams[0][..DATAGRAM - TAG_LEN] != plain[0][..DATAGRAM - TAG_LEN]
    {
        return Err(failed());
    }
    let mut our_seal = OurSeal { plain: &plain, datagrams: plain.clone(), sealer };
    let mut ring_seal = RingSeal { plain: &plain, datagrams: plain.clone(), key: key()? };
    bench.compare("seal", LAP, &mut our_seal, &mut ring_seal)?;
    bench.compare("seal: open", LAP, &mut ours, &mut alone)
}

fn key() -> Result<LessSafeKey, MicroError> {
    let key =
        UnboundKey::new(&AES_256_GCM, &KEY).map_err(|_| MicroError::set_up("seal", "no key"))?;
    Ok(LessSafeKey::new(key))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// A header in front of a piece of a buffer, as the data mover writes it; its length.
pub(super) fn emit_front(number: u64, out: &mut [u8]) -> Option<usize> {
    let piece = Piece {
        logical: number / 47,
        kind: BufferKind::Stream,
        buffer_len: 65_536,
        offset: 0,
        len: u16::try_from(PAYLOAD).ok()?,
    };
    emit_piece(number, &piece, true, out.get_mut(SHORT_HEADER_LEN..)?)?;
    let header = DatagramHeader::short(DatagramKind::Piece, EPOCH, SessionId(1));
    header.emit(out)?;
    Some(header.clear_len())
}

/// Datagrams that are not sealed yet, numbered from 1.
pub(crate) fn plain() -> Option<Vec<Vec<u8>>> {
    let of = |number: u64| {
        let mut datagram = random_bytes(DATAGRAM);
        (emit_front(number, &mut datagram)? == FRONT_LEN).then_some(datagram)
    };
    (1..=LAP as u64).map(of).collect()
}

fn renew(datagrams: &mut [Vec<u8>], from: &[Vec<u8>]) {
    for (datagram, from) in datagrams.iter_mut().zip(from) {
        datagram.copy_from_slice(from);
    }
}

struct OurSeal<'a> {
    plain: &'a [Vec<u8>],
    datagrams: Vec<Vec<u8>>,
    sealer: Sealer,
}

impl Work for OurSeal<'_> {
    fn prepare(&mut self) {
        renew(&mut self.datagrams, self.plain);
    }

    fn run(&mut self) {
        for (datagram, number) in self.datagrams.iter_mut().zip(1..) {
            black_box(self.sealer.seal(number, datagram, FRONT_LEN));
        }
    }
}

struct RingSeal<'a> {
    plain: &'a [Vec<u8>],
    datagrams: Vec<Vec<u8>>,
    key: LessSafeKey,
}

impl Work for RingSeal<'_> {
    fn prepare(&mut self) {
        renew(&mut self.datagrams, self.plain);
    }

    fn run(&mut self) {
        for (datagram, number) in self.datagrams.iter_mut().zip(1..) {
            let (clear, rest) = datagram.split_at_mut(FRONT_LEN);
            let secret = &mut rest[..PAYLOAD];
            let aad = Aad::from(&*clear);
            let _ = black_box(self.key.seal_in_place_separate_tag(nonce(number), aad, secret));
        }
    }
}

struct OurOpen<'a> {
    sealed: &'a [Vec<u8>],
    datagrams: Vec<Vec<u8>>,
    opener: Opener,
    whole: bool,
}

impl Work for OurOpen<'_> {
    fn prepare(&mut self) {
        renew(&mut self.datagrams, self.sealed);
        self.opener.forget();
    }

    fn run(&mut self) {
        for datagram in &mut self.datagrams {
            self.whole &= black_box(self.opener.open(datagram)).is_some();
        }
    }
}

struct RingOpen<'a> {
    sealed: &'a [Vec<u8>],
    datagrams: Vec<Vec<u8>>,
    key: LessSafeKey,
    whole: bool,
}

impl Work for RingOpen<'_> {
    fn prepare(&mut self) {
        renew(&mut self.datagrams, self.sealed);
    }

    fn run(&mut self) {
        for (datagram, number) in self.datagrams.iter_mut().zip(1..) {
            let (clear, sealed) = datagram.split_at_mut(FRONT_LEN);
            let opened = self.key.open_in_place(nonce(number), Aad::from(&*clear), sealed);
            self.whole &= black_box(opened).is_ok();
        }
    }
}
