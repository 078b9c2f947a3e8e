//! A pair that encrypts, driven by bytes: what is lost, repeated, damaged, and what one of the two
//! writes under its own keys.
//!
//! In: any bytes, as a list of things that happen. Out: nothing; a panic when memory is not
//! bounded, a session ends without a name, or the pair does not come up again once it is left alone.

mod handshake;

use std::collections::VecDeque;
use std::net::SocketAddr;

pub(crate) use handshake::handshake;

use super::PeerConfig;
use super::demux::{Sessions, Source};
use super::security::{KeyExchange, PeerKeys, PrivateKey};
use super::session::{Down, Incarnation, Session, Sink, State, Up};
use super::wire::{
    DatagramHeader, DatagramKind, HEADER_LEN, Piece, SHORT_HEADER_LEN, TAG_LEN, emit_data,
    emit_piece,
};
#[cfg(test)]
use super::wire::{Parity, emit_parity};
use crate::frame::MacAddr;
use crate::packet_driver::{
    BufferKind, BufferPool, BufferSlice, Lane, OutboundBuffer, PeerIndex, PoolClass, SessionNumber,
};
use crate::time::{MILLISECOND_NS, Time};

const PEER: PeerIndex = PeerIndex(0);
/// Longest datagram of the data mover here.
const DATAGRAM_MAX: usize = 2_048;
/// Datagrams on the way, at most; more are lost.
const ON_THE_WAY: usize = 256;
/// Milliseconds within which a pair that is left alone comes up.
const HEAL_MS: u64 = 30_000;

/// What a datagram carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carried<'a> {
    Pieces(&'a [Piece]),
    #[cfg(test)]
    Parity(&'a Parity),
}

/// A datagram of an established, sealed session with these pieces and further subfields: what its
/// owner could write if it did not keep to the protocol.
pub(super) fn sealed(
    session: &mut Session,
    now: Time,
    carried: Carried<'_>,
    rest: &[u8],
    bytes: &[u8],
) -> Option<Vec<u8>> {
    let to = session.established?.peer.session;
    let key_epoch = session.security.as_ref()?.sealing(now)?;
    session.sender.make_room(now).then_some(())?;
    let physical = session.sender.next_physical();
    session.sender.skip(now);
    let mut out = vec![0; HEADER_LEN + 1_024 + rest.len() + bytes.len() + TAG_LEN];
    let field = out.get_mut(SHORT_HEADER_LEN..)?;
    let header = match carried {
        #[cfg(test)]
        Carried::Parity(parity) => {
            emit_parity(physical, parity, true, field)?;
            DatagramHeader::short(DatagramKind::Parity, key_epoch, to)
        }
        Carried::Pieces([piece]) if rest.is_empty() => {
            emit_piece(physical, piece, true, field)?;
            DatagramHeader::short(DatagramKind::Piece, key_epoch, to)
        }
        Carried::Pieces(pieces) => {
            let body = out.get_mut(HEADER_LEN..)?;
            let data_len = emit_data(physical, pieces, body)?;
            body.get_mut(data_len..data_len + rest.len())?.copy_from_slice(rest);
            let field_len = u16::try_from(data_len + rest.len()).ok()?;
            DatagramHeader { kind: DatagramKind::Session, key_epoch, field_len, session: to }
        }
    };
    header.emit(&mut out)?;
    let clear_len = header.clear_len();
    out.get_mut(clear_len..clear_len + bytes.len())?.copy_from_slice(bytes);
    out.truncate(clear_len + bytes.len() + TAG_LEN);
    session.security.as_mut()?.seal(physical, &mut out, clear_len)?;
    Some(out)
}

#[derive(Default)]
struct Heard(Vec<Down>);

impl Sink for Heard {
    fn delivered(&mut self, _: BufferSlice, _: BufferKind) {}
    fn up(&mut self, _: Up) {}
    fn down(&mut self, reason: Down) {
        self.0.push(reason);
    }
}

struct End {
    sessions: Sessions,
    exchange: KeyExchange,
    pool: BufferPool,
    heard: Heard,
    /// What it sent, with where to.
    out: VecDeque<Vec<u8>>,
}

fn private_key(number: u8) -> PrivateKey {
    PrivateKey::new([number; 32])
}

fn address(side: usize) -> SocketAddr {
    let last = if side == 0 { 1 } else { 2 };
    SocketAddr::from(([10, 0, 0, last], 4980))
}

impl End {
    fn new(side: usize) -> Self {
        let number = if side == 0 { 1 } else { 2 };
        let pool = BufferPool::new(&[
            PoolClass { size: 2_048, count: 64, reserve: 8 },
            PoolClass { size: 65_536, count: 8, reserve: 0 },
        ]);
        let config = PeerConfig {
            buffers_max: 256,
            reassembly_bytes_max: 256 * 1024,
            dead_after_ns: 3_000 * MILLISECOND_NS,
            ..PeerConfig::new(PEER, 10_000_000)
        };
        let incarnation = Incarnation(u64::from(number));
        let session = Session::new(config, incarnation, pool.clone(), u64::from(number));
        let mut sessions = Sessions::new(vec![(address(1 - side), session)]);
        let peers = vec![Some(PeerKeys { public: private_key(3 - number).public(), psk: None })];
        let mut drawn = 0_u8;
        let entropy = move |bytes: &mut [u8]| {
            drawn = drawn.wrapping_add(1);
            bytes.fill(drawn ^ number << 6);
            true
        };
        let exchange = sessions.secure(private_key(number), peers, true, [3; 4], Box::new(entropy));
        End { sessions, exchange, pool, heard: Heard::default(), out: VecDeque::new() }
    }

    fn session(&mut self) -> Option<&mut Session> {
        self.sessions.get_mut(PEER)
    }

    fn is_up(&self) -> bool {
        self.sessions.get(PEER).is_some_and(|session| matches!(session.state(), State::Up(_)))
    }

    fn receive(&mut self, now: Time, from: SocketAddr, mut bytes: Vec<u8>) {
        let source = Source { remote: from, local: from, station: MacAddr([2; 6]) };
        if let Some((peer, session)) = self.sessions.route(now, &source, &bytes)
            && session.receive(now, &mut bytes, &mut self.heard)
        {
            self.sessions.found(peer, from);
        }
    }

    fn turn(&mut self, now: Time) {
        if let Some(session) = self.sessions.get_mut(PEER) {
            session.on_timeout(now, &mut self.heard);
        }
        for _ in 0..8 {
            while let Some(reply) = self.sessions.reply() {
                self.sessions.on_reply(now, reply, &mut self.heard);
            }
            self.sessions.ask(now);
            if !self.exchange.turn() {
                break;
            }
        }
        let mut out = [0; DATAGRAM_MAX];
        while let Some(outgoing) = self.sessions.outgoing() {
            self.out.push_back(outgoing.bytes().to_vec());
        }
        while self.out.len() < ON_THE_WAY
            && let Some(len) = self.sessions.get_mut(PEER).and_then(|s| s.transmit(now, &mut out))
        {
            self.out.extend(out.get(..len).map(<[u8]>::to_vec));
        }
    }

    fn feed(&mut self, kind: BufferKind, len: usize) {
        let pool = self.pool.clone();
        let Some(session) = self.session().filter(|session| session.can_take(kind, Lane::BULK))
        else {
            return;
        };
        let Some(mut buffer) = pool.alloc(len) else { return };
        buffer.set_len(len);
        let bytes = buffer.freeze();
        let peer = PEER;
        let _ = session.send(OutboundBuffer {
            peer,
            session: SessionNumber(1),
            lane: Lane::BULK,
            kind,
            deadline: None,
            compress: false,
            bytes,
        });
    }
}

/// What happens next.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head.to_vec()
    }
}

const KINDS: [BufferKind; 3] = [BufferKind::Control, BufferKind::Stream, BufferKind::Datagram];

/// Drives a pair by bytes, then leaves it alone.
///
/// # Panics
/// When what must hold does not.
pub(crate) fn pair(bytes: &[u8]) {
    let (mut ends, now) = drive(bytes);
    for end in &ends {
        let named = |down: &Down| !matches!(down, Down::Expired);
        assert!(end.heard.0.iter().all(named), "{:?}", end.heard.0);
    }
    heal(&mut ends, now);
}

/// A pair after all that the bytes let happen.
fn drive(bytes: &[u8]) -> ([End; 2], Time) {
    let mut script = Script(bytes);
    let mut ends = [End::new(0), End::new(1)];
    let mut now = Time::from_ms(1);
    while let Some(code) = script.byte() {
        if happen(&mut ends, &mut now, code, &mut script).is_none() {
            break;
        }
        for end in &mut ends {
            end.turn(now);
            assert!(end.pool.in_use_bytes() <= end.pool.capacity_bytes());
        }
    }
    (ends, now)
}

/// One thing happens; `None` at the end of the script.
fn happen(ends: &mut [End; 2], now: &mut Time, code: u8, script: &mut Script<'_>) -> Option<()> {
    let from = usize::from(code & 1);
    let [a, b] = ends;
    let (sender, receiver) = if from == 0 { (a, b) } else { (b, a) };
    match code >> 1 & 7 {
        0 => *now = *now + u64::from(script.byte()?) * MILLISECOND_NS,
        1 => {
            let datagram = sender.out.pop_front();
            datagram.into_iter().for_each(|d| receiver.receive(*now, address(from), d));
        }
        2 => drop(sender.out.pop_front()),
        3 => {
            let datagram = sender.out.front().cloned();
            datagram.into_iter().for_each(|d| receiver.receive(*now, address(from), d));
        }
        4 => {
            let (at, value) = (usize::from(script.word()?), script.byte()?);
            if let Some(mut datagram) = sender.out.front().cloned() {
                let at = at % datagram.len().max(1);
                datagram.get_mut(at).into_iter().for_each(|byte| *byte ^= value);
                let other = SocketAddr::from(([9, 9, 9, value], 1));
                receiver.receive(*now, other, datagram);
            }
        }
        5 => {
            sender.feed(KINDS[usize::from(script.byte()? % 3)], usize::from(script.word()?).max(1))
        }
        6 => {
            let len = usize::from(script.byte()?);
            let rest = script.bytes(len);
            if let Some(datagram) = sender
                .session()
                .and_then(|session| sealed(session, *now, Carried::Pieces(&[]), &rest, &[]))
            {
                receiver.receive(*now, address(from), datagram);
            }
        }
        _ => {
            let kind = KINDS[usize::from(script.byte()? % 3)];
            let (logical, offset) = (u64::from(script.word()?), u32::from(script.word()?));
            let (buffer_len, len) = (u32::from(script.word()?), u16::from(script.byte()?));
            let piece = Piece { logical, kind, buffer_len, offset, len };
            let content = vec![7; usize::from(len)];
            let datagram = sender
                .session()
                .and_then(|s| sealed(s, *now, Carried::Pieces(&[piece]), &[], &content));
            datagram.into_iter().for_each(|d| receiver.receive(*now, address(from), d));
        }
    }
    Some(())
}

/// Everything arrives from now on: the pair is up within a bounded time, or stays up.
fn heal(ends: &mut [End; 2], mut now: Time) {
    for _ in 0..HEAL_MS / 10 {
        now = now + 10 * MILLISECOND_NS;
        for from in 0..2 {
            let [a, b] = &mut *ends;
            let (sender, receiver) = if from == 0 { (a, b) } else { (b, a) };
            sender.turn(now);
            while let Some(datagram) = sender.out.pop_front() {
                receiver.receive(now, address(from), datagram);
            }
        }
    }
    assert!(ends.iter().all(End::is_up), "the pair does not come up");
}

#[cfg(test)]
mod tests {
    use super::super::sender::Violation;
    use super::*;

    fn downs(script: &[u8]) -> Vec<Down> {
        drive(script).0.into_iter().flat_map(|end| end.heard.0).collect()
    }

    #[test]
    fn the_scripts_of_the_corpus_do_what_their_names_say() {
        let (ends, _) = drive(include_bytes!("../../../fuzz/corpus/pair/comes_up"));
        assert!(ends.iter().all(End::is_up));
        let contradiction = include_bytes!("../../../fuzz/corpus/pair/contradiction");
        assert!(downs(contradiction).contains(&Down::Broken(Violation::Contradiction)));
        let too_much = include_bytes!("../../../fuzz/corpus/pair/acknowledges_too_much");
        assert!(downs(too_much).contains(&Down::Broken(Violation::Acknowledgement)));
        let unknown = include_bytes!("../../../fuzz/corpus/pair/unknown_subfield");
        assert_eq!(downs(unknown), []);
        assert!(downs(include_bytes!("../../../fuzz/corpus/pair/dead")).contains(&Down::Dead));
    }
}
