//! Writing the next datagram: what is due, what fits, in one pass into the outgoing frame.

use super::MoverCounter;
use super::config::SEGMENT_SIZE_MIN;
use super::fec::Next;
use super::receiver::ACK_LEN_MAX;
use super::sender::Pieces;
use super::session::{Established, Session};
use super::wire::{
    ABANDONED_MAX, CloseReason, DATA_BASE_LEN, DIGEST_LEN, DatagramHeader, DatagramKind, Floor,
    HEADER_LEN, Hello, KEY_EPOCH_CLEAR, OVERHEAD_LEN, Parity, Piece, SHORT_HEADER_LEN,
    SUBFIELD_LEN, SessionId, emit_data, emit_digest, emit_keepalive, emit_padding, emit_parity,
    emit_piece,
};
use crate::copy::{self, Copied};
use crate::time::{MILLISECOND_NS, Time};

/// How long data may have to wait for acknowledgements that were sent before, in nanoseconds: the
/// rate may not be known yet, or be much less than that of the other direction.
const ACKS_AHEAD_NS: u64 = 2 * MILLISECOND_NS;
const FLOOR_LEN_MAX: usize = Floor::BASE_LEN + 4 * ABANDONED_MAX;
const SUBFIELDS_LEN_MAX: usize =
    ACK_LEN_MAX + FLOOR_LEN_MAX + SUBFIELD_LEN + DIGEST_LEN + CloseReason::LEN;

// All subfields together fit into the smallest full-size datagram.
const _: () = assert!(
    HEADER_LEN + DATA_BASE_LEN + SUBFIELDS_LEN_MAX <= SEGMENT_SIZE_MIN as usize + OVERHEAD_LEN
);

/// The subfields behind the first, written before it because they take its room.
#[derive(Debug)]
pub(super) struct Scratch {
    bytes: [u8; SUBFIELDS_LEN_MAX],
    len: usize,
    /// Length of the datagram, padded; 0 for as long as it is.
    pad_to: usize,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { bytes: [0; SUBFIELDS_LEN_MAX], len: 0, pad_to: 0 }
    }
}

impl Scratch {
    /// Nothing behind the first subfield, yet; the datagram is to be padded to `pad_to`.
    pub(super) fn clear(&mut self, pad_to: usize) {
        (self.len, self.pad_to) = (0, pad_to);
    }

    /// Appends what `emit` writes; its length.
    pub(super) fn append(&mut self, emit: impl FnOnce(&mut [u8]) -> Option<usize>) -> usize {
        let written = self.bytes.get_mut(self.len..).and_then(emit).unwrap_or(0);
        self.len += written;
        written
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// What the next datagram is for.
#[derive(Clone, Copy, Debug)]
struct Due {
    data: bool,
    acknowledgement: bool,
    floor: bool,
    keepalive: bool,
    digest: bool,
}

/// What comes behind the data mover field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    Pieces(&'a Pieces),
    /// The parity that the sender has ready.
    Parity(Parity),
}

impl Due {
    fn is_only_data(&self) -> bool {
        !(self.acknowledgement || self.floor || self.keepalive || self.digest)
    }
}

impl Session {
    /// Writes the next UDP payload into `out`; its length, or `None` when nothing may be sent now.
    pub fn transmit(&mut self, now: Time, out: &mut [u8]) -> Option<usize> {
        self.sender.path_mtu.limit(out.len());
        if self.closing.is_some() {
            return self.transmit_close(now, out);
        }
        if let Some(len) = self.transmit_hello(now, out) {
            return Some(len);
        }
        let established = self.established?;
        if self.security.as_ref().is_some_and(|security| security.sealing(now).is_none()) {
            return None;
        }
        if self.path_probe_at(&established) <= now
            && let Some(len) = self.transmit_path_probe(now, out, &established)
        {
            return Some(len);
        }
        let limit = out.len().min(self.sender.path_mtu.datagram_len());
        let out = out.get_mut(..limit)?;
        let due = self.due(now, &established);
        if due.is_none_or(|due| due.is_only_data())
            && let Some(len) = self.transmit_parity(now, out, &established)
        {
            return Some(len);
        }
        self.transmit_session(now, out, &established, due?)
    }

    fn transmit_hello(&mut self, now: Time, out: &mut [u8]) -> Option<usize> {
        if self.security.is_some() {
            let len = self.transmit_initiation(now, out)?;
            self.count_hello(now, len);
            return Some(len);
        }
        let reply = self.established.as_mut().and_then(|established| established.reply.take());
        if let (Some(stamp), Some(established)) = (reply, self.established) {
            let stamps = (now.as_ns().max(1), stamp);
            let hello = self.us.hello(established.own, Some(&established.peer), false, stamps);
            let len = emit_hello(&hello, out)?;
            self.count_hello(now, len);
            return Some(len);
        }
        let hello = self.handshake.as_mut()?.transmit(now, &self.us, &mut self.rng)?;
        let len = emit_hello(&hello, out)?;
        self.count_hello(now, len);
        Some(len)
    }

    fn count_hello(&mut self, now: Time, len: usize) {
        self.counters.increment(MoverCounter::HellosOut);
        self.count_out(now, len);
    }

    /// Counts a datagram towards the rate; its IP bytes.
    pub(super) fn count_out(&mut self, now: Time, len: usize) -> usize {
        let ip_bytes = len + usize::from(self.config.ip_overhead_bytes);
        self.counters.increment(MoverCounter::DatagramsOut);
        self.counters.add(MoverCounter::BytesOut, ip_bytes as u64);
        let rate_bps = self.sender.rate_bps();
        self.sender.pacer.charge(now, ip_bytes, rate_bps);
        ip_bytes
    }

    /// When an acknowledgement is to be sent. The pacer does not hold it back: it is earned by what
    /// came the other way.
    pub(super) fn acknowledgement_due(&self) -> Time {
        self.receiver.received.due(self.sender.rtt.smoothed_ns())
    }

    fn due(&mut self, now: Time, established: &Established) -> Option<Due> {
        let probe = self.sender.probe_wanted();
        self.sender.give_up_late(now);
        let waiting = self.sender.has_data();
        let data = waiting && (probe || self.sender.pacer.ready(now));
        match (waiting, data) {
            (false, _) => self.sender.idle(now),
            (true, false) => self.sender.pacer.hold(),
            (true, true) => {}
        }
        let digest = established.agreement.due() <= now;
        let due = Due {
            data,
            acknowledgement: self.acknowledgement_due() <= now,
            floor: self.sender.floor_due() <= now,
            keepalive: probe && !data
                || digest
                || established.keepalive_at(self.config.keepalive_ns) <= now,
            digest,
        };
        (due.data || due.acknowledgement || due.floor || due.keepalive).then_some(due)
    }

    fn transmit_session(
        &mut self,
        now: Time,
        out: &mut [u8],
        established: &Established,
        due: Due,
    ) -> Option<usize> {
        self.make_room(now)?;
        let ack_len = self.write_subfields(now, due);
        let mut pieces = Pieces::new();
        if due.data {
            let taken = HEADER_LEN + DATA_BASE_LEN + self.scratch.len + self.config.tag_len();
            let room = out.len().checked_sub(taken)?;
            let alone = if self.scratch.len == 0 { self.short_room(out.len()) } else { 0 };
            self.sender.choose(now, room, alone, &mut pieces);
            pieces.alone = alone > 0;
        }
        let len = self.write(now, out, established.peer.session, Body::Pieces(&pieces))?;
        let ip_bytes = self.count_out(now, len);
        let answered = !pieces.list().is_empty() || due.floor || due.keepalive;
        if !answered {
            self.counters.increment(MoverCounter::AcksOut);
            self.sender.pacer.limit(now + ACKS_AHEAD_NS);
        }
        let ack_bytes = if answered { ack_len } else { ip_bytes };
        self.counters.add(MoverCounter::AckBytesOut, ack_bytes as u64);
        self.sender.record(now, ip_bytes, answered, &pieces);
        if let Some(established) = &mut self.established {
            established.spoke_at = Some(now);
        }
        Some(len)
    }

    /// Writes what protects datagrams that were sent, if that is due.
    fn transmit_parity(
        &mut self,
        now: Time,
        out: &mut [u8],
        established: &Established,
    ) -> Option<usize> {
        let taken = HEADER_LEN + DATA_BASE_LEN + self.config.tag_len();
        let room = out.len().checked_sub(taken)?;
        let alone = self.short_room(out.len());
        let next = self.sender.next_parity(now, alone)?;
        self.make_room(now)?;
        self.scratch.clear(0);
        let mut pieces = Pieces::new();
        let session = established.peer.session;
        let len = match next {
            Next::Repeats => {
                self.sender.fec.repeats(room, &mut pieces);
                pieces.alone = alone > 0;
                self.write(now, out, session, Body::Pieces(&pieces))
            }
            Next::Parity(parity) => {
                let len = self.write(now, out, session, Body::Parity(parity));
                self.sender.fec.parity_sent();
                len
            }
        }?;
        let ip_bytes = self.count_out(now, len);
        self.counters.increment(MoverCounter::ParityOut);
        self.counters.add(MoverCounter::ParityBytesOut, ip_bytes as u64);
        // Pieces belong to their first transmission: whose this one is, is not remembered.
        self.sender.record(now, ip_bytes, true, &Pieces::new());
        if let Some(established) = &mut self.established {
            established.spoke_at = Some(now);
        }
        Some(len)
    }

    /// Bytes of a piece or of parity in a datagram of this length that has nothing else: an even
    /// number, as parity needs, and pieces that it is over. 0 when the short form will not do.
    fn short_room(&self, len: usize) -> usize {
        let taken = self.config.overhead_len();
        if self.sender.is_near() { len.saturating_sub(taken) & !1 } else { 0 }
    }

    /// Makes sure that a transmission can be remembered; `None` when nothing may be sent. Of a
    /// sealed session a number is left out now and then: a peer that acknowledges it tells what it
    /// cannot know.
    pub(super) fn make_room(&mut self, now: Time) -> Option<()> {
        let mut has_room = self.sender.make_room(now);
        if has_room
            && let Some(security) = &mut self.security
            && security.skips(self.sender.next_physical(), self.rng.next_u64())
        {
            self.sender.skip(now);
            has_room = self.sender.make_room(now);
        }
        has_room.then_some(())
    }

    /// Writes what goes behind the first subfield; the length of the acknowledgement in it.
    fn write_subfields(&mut self, now: Time, due: Due) -> usize {
        let Session { scratch, sender, receiver, established, us, .. } = self;
        scratch.clear(0);
        let mut ack_len = 0;
        if due.acknowledgement {
            let highest_sent = sender.next_physical();
            ack_len = scratch.append(|out| receiver.acknowledge(now, highest_sent, out));
        }
        if due.floor {
            let (physical, logical) = sender.floor();
            let abandoned = sender.outbound.abandoned();
            scratch.append(|out| Floor::emit(physical, logical, abandoned, out));
            sender.floor_sent(now);
        }
        if due.keepalive {
            scratch.append(emit_keepalive);
        }
        if due.digest
            && let Some(established) = established
        {
            scratch.append(|out| emit_digest(us.digest, out));
            established.agreement.told(now, us.digest);
        }
        ack_len
    }

    /// Writes header, subfields and pieces, and seals them in place; the length of all.
    pub(super) fn write(
        &mut self,
        now: Time,
        out: &mut [u8],
        session: SessionId,
        body: Body<'_>,
    ) -> Option<usize> {
        let key_epoch = match &self.security {
            Some(security) => security.sealing(now)?,
            None => KEY_EPOCH_CLEAR,
        };
        let header = self.write_clear(out, (key_epoch, session), body)?;
        let clear_len = header.clear_len();
        let mut len = clear_len;
        match body {
            Body::Pieces(pieces) => {
                for piece in pieces.list() {
                    let end = len + usize::from(piece.len);
                    let bytes = self.sender.outbound.bytes(piece)?;
                    copy::bytes(Copied::BufferToDatagram, out.get_mut(len..end)?, bytes);
                    len = end;
                }
            }
            Body::Parity(_) => {
                let bytes = self.sender.fec.bytes();
                let end = len + bytes.len();
                copy::bytes(Copied::BufferToDatagram, out.get_mut(len..end)?, bytes);
                len = end;
            }
        }
        len += self.config.tag_len();
        let physical = self.sender.next_physical();
        if let Some(security) = &mut self.security {
            security.seal(physical, out.get_mut(..len)?, clear_len)?;
        }
        Some(len)
    }

    /// Writes header and data mover field: in the short form if that can say it all.
    fn write_clear(
        &self,
        out: &mut [u8],
        (key_epoch, session): (u8, SessionId),
        body: Body<'_>,
    ) -> Option<DatagramHeader> {
        let physical = self.sender.next_physical();
        let sealed = key_epoch != KEY_EPOCH_CLEAR;
        let short = |kind| DatagramHeader::short(kind, key_epoch, session);
        let field = out.get_mut(SHORT_HEADER_LEN..)?;
        let header = match body {
            Body::Parity(parity) => {
                emit_parity(physical, &parity, sealed, field)?;
                short(DatagramKind::Parity)
            }
            Body::Pieces(pieces) => match pieces.list() {
                [piece] if pieces.alone => {
                    emit_piece(physical, piece, sealed, field)?;
                    short(DatagramKind::Piece)
                }
                list => self.write_field(out, (key_epoch, session), list)?,
            },
        };
        header.emit(out)?;
        Some(header)
    }

    /// Writes a data mover field with pieces, subfields and padding; the header in front of it.
    fn write_field(
        &self,
        out: &mut [u8],
        (key_epoch, session): (u8, SessionId),
        pieces: &[Piece],
    ) -> Option<DatagramHeader> {
        let rest = out.get_mut(HEADER_LEN..)?;
        let data_len = emit_data(self.sender.next_physical(), pieces, rest)?;
        let subfields = self.scratch.bytes();
        let mut field_len = data_len + subfields.len();
        copy::bytes(Copied::Made, rest.get_mut(data_len..field_len)?, subfields);
        let whole_len = HEADER_LEN + field_len + self.config.tag_len();
        if let Some(padding) = self.scratch.pad_to.checked_sub(whole_len) {
            let written = emit_padding(padding, rest.get_mut(field_len..)?);
            field_len += written.unwrap_or(0);
        }
        let field_len = u16::try_from(field_len).ok()?;
        Some(DatagramHeader { kind: DatagramKind::Session, key_epoch, field_len, session })
    }

    fn transmit_close(&mut self, now: Time, out: &mut [u8]) -> Option<usize> {
        let closing = self.closing.filter(|closing| closing.left > 0 && closing.at <= now)?;
        let established = self.established?;
        // Nobody asks any more for what is forgotten for it.
        let _ = self.sender.make_room(now);
        self.scratch.clear(0);
        self.scratch.append(|out| closing.reason.emit(out));
        let pieces = Pieces::new();
        let len = self.write(now, out, established.peer.session, Body::Pieces(&pieces))?;
        let ip_bytes = self.count_out(now, len);
        self.sender.record(now, ip_bytes, false, &pieces);
        self.close_told(now);
        Some(len)
    }
}

fn emit_hello(hello: &Hello, out: &mut [u8]) -> Option<usize> {
    let (head, body) = out.split_at_mut_checked(HEADER_LEN)?;
    let field_len = u16::try_from(hello.emit(body)?).ok()?;
    let (kind, session) = (DatagramKind::Hello, hello.echo_session);
    let header = DatagramHeader { kind, key_epoch: KEY_EPOCH_CLEAR, field_len, session };
    header.emit(head)?;
    Some(header.clear_len())
}
