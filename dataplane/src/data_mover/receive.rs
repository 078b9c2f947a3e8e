//! Reading a datagram: everything is checked before anything changes.

use super::MoverCounter;
use super::handshake::{Handshake, PeerHello};
use super::reassembly::Taken;
use super::sender::Violation;
use super::session::{Down, Session, Sink};
use super::wire::{
    Acknowledgement, CloseReason, DataView, DatagramHeader, DatagramKind, Floor, Hello,
    KEY_EPOCH_CLEAR, Malformed, Near, SubfieldKind, Subfields, parse_digest,
};
use crate::time::Time;

/// Transport data and subfields of a datagram of a session.
struct Content<'a> {
    data: DataView<'a>,
    acknowledgement: Option<Acknowledgement<'a>>,
    floor: Option<Floor<'a>>,
    keepalive: bool,
    close: Option<CloseReason>,
    digest: Option<u64>,
}

impl<'a> Content<'a> {
    fn parse(
        kind: DatagramKind,
        field: &'a [u8],
        bytes: &'a [u8],
        near: Near,
    ) -> Result<Self, Malformed> {
        let (data, rest) = DataView::parse(kind, field, bytes, near)?;
        let mut acknowledgement = None;
        let mut floor = None;
        let mut keepalive = false;
        let mut close = None;
        let mut digest = None;
        for subfield in Subfields::new(rest) {
            let subfield = subfield?;
            let body = subfield.body;
            let doubled = match subfield.kind {
                SubfieldKind::Acknowledgement => {
                    acknowledgement.replace(Acknowledgement::parse(body)?).is_some()
                }
                SubfieldKind::Floor => floor.replace(Floor::parse(body)?).is_some(),
                SubfieldKind::Keepalive => std::mem::replace(&mut keepalive, true),
                SubfieldKind::Close => close.replace(CloseReason::parse(body)?).is_some(),
                SubfieldKind::Digest => digest.replace(parse_digest(body)?).is_some(),
                SubfieldKind::Hello
                | SubfieldKind::Initiation
                | SubfieldKind::Response
                | SubfieldKind::Cookie => true,
            };
            if doubled {
                return Err(Malformed::Order);
            }
        }
        Ok(Content { data, acknowledgement, floor, keepalive, close, digest })
    }

    /// Whether the sender wants to know that it arrived.
    fn is_answered(&self) -> bool {
        !self.data.is_empty() || self.keepalive || self.floor.is_some()
    }
}

impl Session {
    /// A datagram arrived, and is opened in place if it is sealed. It is counted under one name,
    /// whatever it is. Says whether it is authentic and newer than all before: then the peer is
    /// where it came from.
    pub fn receive(&mut self, now: Time, datagram: &mut [u8], events: &mut impl Sink) -> bool {
        self.counters.increment(MoverCounter::DatagramsIn);
        let ip_bytes = datagram.len() + usize::from(self.config.ip_overhead_bytes);
        self.counters.add(MoverCounter::BytesIn, ip_bytes as u64);
        let mut newest = false;
        let outcome = match DatagramHeader::parse(datagram) {
            Ok((header, field, bytes)) => match header.kind {
                DatagramKind::Hello => self.receive_hello(now, &header, (field, bytes), events),
                DatagramKind::Session | DatagramKind::Piece | DatagramKind::Parity => {
                    self.receive_session(now, &header, datagram, &mut newest, events)
                }
            },
            Err(Malformed::Version) => {
                if self.established.is_none() {
                    self.foreign_version = datagram.first().map(|first| first >> 4);
                }
                MoverCounter::DropVersion
            }
            Err(_) => MoverCounter::DropMalformed,
        };
        self.counters.increment(outcome);
        newest
    }

    /// A HELLO in the clear.
    fn receive_hello(
        &mut self,
        now: Time,
        header: &DatagramHeader,
        (field, bytes): (&[u8], &[u8]),
        events: &mut impl Sink,
    ) -> MoverCounter {
        if header.key_epoch != KEY_EPOCH_CLEAR {
            return MoverCounter::DropSealed;
        }
        if self.security.is_some() {
            return MoverCounter::DropClear;
        }
        if self.closing.is_some() {
            return MoverCounter::DropSession;
        }
        let hello = match Subfields::new(field).next() {
            Some(Ok(subfield)) if subfield.kind == SubfieldKind::Hello && bytes.is_empty() => {
                Hello::parse(subfield.body)
            }
            _ => Err(Malformed::Order),
        };
        let Ok(hello) = hello else { return MoverCounter::DropMalformed };
        if let Err(mismatch) = self.us.check(&hello) {
            if self.established.is_none() {
                self.mismatch = Some(mismatch);
            }
            return MoverCounter::DropMismatch;
        }
        if let Some(established) = &mut self.established {
            let heard = PeerHello::of(&hello);
            if heard.session == established.peer.session
                && heard.incarnation == established.peer.incarnation
            {
                established.reply = hello.reply_wanted.then_some(hello.stamp);
                return MoverCounter::DatagramsTaken;
            }
            let known = (established.peer.incarnation, established.peer.attempt);
            if (heard.incarnation, heard.attempt) <= known {
                return MoverCounter::DropStaleHello;
            }
        }
        if self.handshake.is_none() {
            let own = self.next_own();
            self.handshake = Some(Handshake::candidate(own, now));
        }
        let us = self.us;
        let proof = self.handshake.as_mut().and_then(|h| h.receive(now, &hello, &us));
        match proof {
            None => return MoverCounter::DropStaleHello,
            Some(true) => self.establish(now, events),
            Some(false) => self.mismatch = None,
        }
        MoverCounter::DatagramsTaken
    }

    fn receive_session(
        &mut self,
        now: Time,
        header: &DatagramHeader,
        datagram: &mut [u8],
        newest: &mut bool,
        events: &mut impl Sink,
    ) -> MoverCounter {
        if self.closing.is_some() {
            return MoverCounter::DropSession;
        }
        let datagram_len = datagram.len();
        let near = self.near(header);
        let len = match self.authenticate(now, header, near.physical, datagram) {
            Ok(len) => len,
            Err(reason) => return reason,
        };
        let (field, bytes) = match datagram.get(..len).map(DatagramHeader::parse) {
            Some(Ok((_, field, bytes))) => (field, bytes),
            _ => return MoverCounter::DropMalformed,
        };
        let content = match Content::parse(header.kind, field, bytes, near) {
            Ok(content) => content,
            Err(_) => return self.malformed(now, header, events),
        };
        let announced = self
            .handshake
            .as_ref()
            .is_some_and(|h| h.own.session == header.session && h.peer.is_some());
        if announced {
            // It uses the id from our HELLO: the peer has read it.
            self.establish(now, events);
        }
        let Some(established) = &mut self.established else { return MoverCounter::DropSession };
        if established.own.session != header.session {
            return MoverCounter::DropSession;
        }
        let physical = content.data.physical;
        if !self.receiver.received.is_new(physical) {
            return MoverCounter::DropDuplicate;
        }
        established.heard_at = now;
        if let Some(security) = &mut self.security {
            *newest = security.note(physical);
        }
        if let Some(digest) = content.digest {
            established.agreement.heard(now, digest, self.us.digest);
        }
        let ip_bytes = datagram_len + usize::from(self.config.ip_overhead_bytes);
        self.receive_content(now, &content, ip_bytes, events)
    }

    /// Where we are in the session that a datagram says it is of: at its start, if it is not up yet.
    fn near(&self, header: &DatagramHeader) -> Near {
        if self.established.is_none_or(|established| established.own.session != header.session) {
            return Near::default();
        }
        let received = self.receiver.received.highest();
        let opened = self.security.as_ref().map_or(0, |security| security.highest());
        let logical = self.receiver.reassembly.lowest_incomplete();
        Near { physical: received.max(opened), logical }
    }

    /// What an authentic datagram says that did not come before.
    fn receive_content(
        &mut self,
        now: Time,
        content: &Content<'_>,
        ip_bytes: usize,
        events: &mut impl Sink,
    ) -> MoverCounter {
        if let Some(reason) = content.close {
            self.end(now, Down::Closed(reason), events);
            return MoverCounter::DatagramsTaken;
        }
        if let Some(ack) = &content.acknowledgement
            && let Err(violation) = self.sender.acknowledge(now, ack)
        {
            self.counters.increment(MoverCounter::AcksInvalid);
            if self.security.is_some() {
                return self.broken(now, violation, events);
            }
        }
        let outcome = self.receive_pieces(content, events);
        if outcome == MoverCounter::DropMalformed && self.security.is_some() {
            return self.broken(now, Violation::Contradiction, events);
        }
        if outcome == MoverCounter::DatagramsTaken {
            let (physical, answered) = (content.data.physical, content.is_answered());
            self.receiver.received.insert(now, physical, ip_bytes, answered);
            if let Some(floor) = &content.floor {
                self.receive_floor(floor);
            }
        }
        outcome
    }

    /// A datagram whose content no peer writes: in the clear it may be damaged or forged; where it
    /// authenticates, the peer broke the protocol.
    fn malformed(
        &mut self,
        now: Time,
        header: &DatagramHeader,
        events: &mut impl Sink,
    ) -> MoverCounter {
        let is_up = self.established.is_some_and(|e| e.own.session == header.session);
        if self.security.is_some() && is_up {
            return self.broken(now, Violation::Malformed, events);
        }
        MoverCounter::DropMalformed
    }

    /// What was refused is not recorded as received, and so will be sent again.
    fn receive_pieces(&mut self, content: &Content<'_>, events: &mut impl Sink) -> MoverCounter {
        let mut outcome = MoverCounter::DatagramsTaken;
        self.receiver.fec.heard();
        for (piece, bytes) in content.data.pieces() {
            match self.receiver.reassembly.take(&piece, bytes) {
                Taken::Stored => {}
                Taken::Complete(buffer) => {
                    self.receiver.delivered(&self.counters, buffer, piece.kind, events);
                }
                Taken::Duplicate => self.counters.increment(MoverCounter::PiecesDuplicate),
                Taken::Refused => outcome = MoverCounter::DropRefused,
                Taken::Contradiction => return MoverCounter::DropMalformed,
            }
            self.receiver.restore(&self.counters, piece.logical, events);
        }
        if let Some((parity, bytes)) = &content.data.parity
            && !self.receiver.parity(&self.counters, parity, bytes, events)
        {
            return MoverCounter::DropMalformed;
        }
        outcome
    }

    fn receive_floor(&mut self, floor: &Floor<'_>) {
        self.receiver.received.asked_from(floor.physical);
        let mut given_up = self.receiver.reassembly.give_up_below(floor.logical);
        for number in floor.abandoned.iter() {
            given_up += u64::from(self.receiver.reassembly.give_up(number));
        }
        self.counters.add(MoverCounter::BuffersGivenUp, given_up);
        let lowest = self.receiver.reassembly.lowest_incomplete();
        let useless = self.receiver.fec.done_below(lowest);
        self.counters.add(MoverCounter::ParityUseless, useless);
    }
}
