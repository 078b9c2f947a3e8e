//! The floor: what no appliance can do without. Each byte is copied into a buffer, into a datagram,
//! into a buffer and into a frame, sealed and opened in between.
//!
//! In: how many bytes. Out: the time it takes. Never: a header, a table, a decision; and all of its
//! memory fits the second-level cache.

use std::hint::black_box;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::micro::Work;

/// Bytes of a buffer.
const BUFFER: usize = 64 * 1_024;
/// Bytes of a buffer in one datagram.
const PIECE: usize = 1_400;
/// Payload of a host's frame.
const PAYLOAD: usize = 1_448;
/// Authenticated and not encrypted, in front of each piece.
const CLEAR: usize = 40;
const TAG: usize = 16;
/// Memory of a frame.
const ROOM: usize = 2_048;

/// The floor, as work to be measured.
pub(super) struct Floor {
    key: Option<LessSafeKey>,
    sources: Vec<[u8; ROOM]>,
    buffers: [Vec<u8>; 2],
    datagrams: Vec<[u8; ROOM]>,
    frames: Vec<[u8; ROOM]>,
    number: u64,
    buffers_per_lap: usize,
    /// Whether all that was sealed has opened.
    pub(super) whole: bool,
}

impl Floor {
    /// The floor for laps of about so many bytes; with or without sealing.
    pub(super) fn new(bytes: usize, encrypted: bool) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &[0x5a; 32]).ok()?;
        let frames = BUFFER.div_ceil(PAYLOAD);
        Some(Floor {
            key: encrypted.then(|| LessSafeKey::new(key)),
            sources: vec![[7; ROOM]; frames],
            buffers: [vec![0; BUFFER], vec![0; BUFFER]],
            datagrams: vec![[0; ROOM]; BUFFER.div_ceil(PIECE)],
            frames: vec![[0; ROOM]; frames],
            number: 0,
            buffers_per_lap: bytes / BUFFER,
            whole: true,
        })
    }

    fn buffer(&mut self) {
        let [near, far] = &mut self.buffers;
        for (into, from) in near.chunks_mut(PAYLOAD).zip(&self.sources) {
            into.copy_from_slice(&from[..into.len()]);
        }
        for (piece, datagram) in near.chunks(PIECE).zip(&mut self.datagrams) {
            let (clear, rest) = datagram.split_at_mut(CLEAR);
            rest[..piece.len()].copy_from_slice(piece);
            self.number += 1;
            clear[..8].copy_from_slice(&self.number.to_be_bytes());
            if let Some(key) = &self.key {
                let (secret, tag) = rest.split_at_mut(piece.len());
                let aad = Aad::from(&*clear);
                match key.seal_in_place_separate_tag(nonce(self.number), aad, secret) {
                    Ok(made) => tag[..TAG].copy_from_slice(made.as_ref()),
                    Err(_) => self.whole = false,
                }
            }
        }
        for (piece, datagram) in far.chunks_mut(PIECE).zip(&mut self.datagrams) {
            let (clear, rest) = datagram.split_at_mut(CLEAR);
            if let Some(key) = &self.key {
                let number = u64::from_be_bytes(*clear.first_chunk().unwrap_or(&[0; 8]));
                let sealed = &mut rest[..piece.len() + TAG];
                self.whole &= key.open_in_place(nonce(number), Aad::from(&*clear), sealed).is_ok();
            }
            piece.copy_from_slice(&rest[..piece.len()]);
        }
        for (from, into) in far.chunks(PAYLOAD).zip(&mut self.frames) {
            into[..from.len()].copy_from_slice(from);
        }
        black_box(&mut self.frames);
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Work for Floor {
    fn run(&mut self) {
        for _ in 0..self.buffers_per_lap {
            self.buffer();
        }
    }
}
