//! Frames from hosts of the LAN that belong to split flows, or begin one.
//!
//! In: frames that the interceptor gave to the edge, parsed. Out: calls on the flow's connection,
//! OPEN messages. Never: an answer to a SYN before the far host has accepted.

use super::flow::{Flow, FlowFacts, Role};
use super::stage::EdgeStage;
use super::tcp::{Connection, Disposition, Emit, Flags, Payload, Segment, TimeWaitVerdict};
use super::writer::FrameWriter;
use super::{EdgeCounter, LanCounter};
use crate::frame::{FlowKey, Frame, FrameSource, LinkHeader, Parsed, Side};
use crate::interceptor::{Decision, FlowHandle, Route};
use crate::packet_driver::MessageKind;
use crate::time::Time;

impl<F: Frame> EdgeStage<F> {
    /// The TCP segment in a frame, if its header is right; else counts what is wrong.
    pub(super) fn segment_of(&self, frame: &F, parsed: &Parsed) -> Option<Segment> {
        let bytes = frame.head().get(parsed.l4_offset as usize..).unwrap_or_default();
        let tcp_len = parsed.ip_end.saturating_sub(parsed.l4_offset);
        let segment = Segment::parse(bytes, parsed.l4_offset, tcp_len);
        if segment.is_err() {
            self.count_segment(EdgeCounter::SegmentsMalformed);
        }
        segment.ok()
    }

    /// Counts what became of a segment; those left to the fallback are not counted here.
    pub(super) fn count_segment(&self, fate: EdgeCounter) {
        self.counters.increment(EdgeCounter::SegmentsIn);
        self.counters.increment(fate);
    }

    /// A segment of a split flow from our host.
    pub(super) fn host_segment(&mut self, now: Time, place: u32, frame: F, parsed: &Parsed) {
        let Some(segment) = self.segment_of(&frame, parsed) else { return };
        if self.table.get(place).is_none() {
            self.count_segment(EdgeCounter::SegmentsStray);
            return;
        }
        let Some(flow) = self.table.get_mut(place) else { return };
        let peer = flow.facts.peer;
        // Frames to the host mirror its latest frame.
        if let Some(link) = LinkHeader::of(frame.head(), parsed) {
            flow.link = Some(link.mirrored());
        }
        if segment.flags.has(Flags::SYN) {
            flow.host_dscp = parsed.dscp();
        }
        if segment.payload_len > 0
            && !segment.flags.has(Flags::RST)
            && !self.places.has_one(peer, &self.backlog)
        {
            // Not acknowledged: the host keeps it and sends it again.
            self.count_segment(EdgeCounter::SegmentsPeerBehind);
            return;
        }
        self.count_lan(peer, LanCounter::BytesToPeer, parsed.ip_len());
        let mut disposition = Disposition::Taken;
        self.with_connection(now, place, |connection, carrier| {
            disposition = connection.segment(now, &segment, frame, carrier);
        });
        self.count_segment(match disposition {
            Disposition::Taken => EdgeCounter::SegmentsTaken,
            Disposition::Duplicate => EdgeCounter::SegmentsDuplicate,
            Disposition::OutOfWindow => EdgeCounter::SegmentsOutOfWindow,
            Disposition::NoRoom => EdgeCounter::SegmentsNoRoom,
            Disposition::OldTimestamp | Disposition::MissingTimestamp => {
                EdgeCounter::SegmentsTimestamp
            }
            Disposition::UnacceptableAck => EdgeCounter::SegmentsUnacceptableAck,
            Disposition::Challenged => EdgeCounter::SegmentsChallenged,
            Disposition::Unexpected => EdgeCounter::SegmentsUnexpected,
            Disposition::Closed => EdgeCounter::SegmentsStray,
        });
        if disposition == Disposition::Closed && segment.flags.has(Flags::SYN) {
            // The host begins anew: its next SYN finds no flow in the way.
            self.forget(now, place, EdgeCounter::FlowsEnded);
        }
    }

    /// The first SYN of a flow that a rule wants split. The frame is held as the host's state: no
    /// answer leaves until the far host has given one. False when there is no place for the flow;
    /// the frame is then for the caller to treat by the peer's fallback.
    pub(super) fn host_syn(
        &mut self,
        now: Time,
        frame: &F,
        parsed: &Parsed,
        decision: Decision,
        handle: FlowHandle,
    ) -> bool {
        let Some(segment) = self.segment_of(frame, parsed) else {
            self.interceptor.abandon(handle);
            return true;
        };
        if self.half_open >= self.config.half_open {
            return false;
        }
        let Some(place) = self.vacant_place() else { return false };
        let peer = decision.peer;
        let Some(grant) = self.credit.open(now, self.bdp_bytes(peer)) else { return false };
        let opener = self.openers.get(usize::from(peer.0)).is_some_and(|opener| *opener);
        let key = parsed.key;
        let numbers = self.numbers.numbers(now, &key.reversed());
        let connection = Connection::accept(now, self.config.tcp(&key), &segment, numbers);
        let connection = self.connections.begin(connection);
        let facts = FlowFacts {
            place,
            peer,
            id: self.flow_ids.next(opener, &key),
            key,
            role: Role::Opener,
            class: decision.class,
            compress: decision.compress,
        };
        let mut flow = Flow::new(now, facts, connection, grant, handle);
        flow.link = LinkHeader::of(frame.head(), parsed).map(|link| link.mirrored());
        flow.host_dscp = parsed.dscp();
        flow.syn_sequence = segment.seq;
        flow.is_half_open = true;
        let message = facts.open_message(MessageKind::Open, &flow.parameters());
        if let Some(mut flow) = self.table.insert(place, flow) {
            self.credit.close(&mut flow.grant);
            return false;
        }
        self.interceptor.bind(handle, place);
        self.begins_anew(&key.reversed());
        self.half_open += 1;
        self.send(message);
        self.count_segment(EdgeCounter::SegmentsTaken);
        self.counters.increment(EdgeCounter::FlowsFromHosts);
        self.count_lan(peer, LanCounter::BytesToPeer, parsed.ip_len());
        self.counters.set(EdgeCounter::Flows, self.table.len() as u64);
        true
    }

    /// A segment of no flow in the table: it may belong to a connection in TIME-WAIT. True when it
    /// did and is dealt with.
    pub(super) fn continues_time_wait<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        frame: &F,
        parsed: &Parsed,
        source: &mut S,
    ) -> bool {
        if !self.time_wait.contains(&parsed.key) {
            return false;
        }
        let Some(segment) = self.segment_of(frame, parsed) else { return true };
        match self.time_wait.segment(now, &parsed.key, &segment) {
            None | Some(TimeWaitVerdict::Reuse) => return false,
            Some(TimeWaitVerdict::Drop) => {}
            Some(TimeWaitVerdict::Answer(answer)) => {
                self.answer_segment(frame, parsed, &answer, source);
            }
        }
        self.count_segment(EdgeCounter::SegmentsTaken);
        true
    }

    /// Sends one segment with this 5-tuple, outside any connection, to where the host was last seen.
    pub(super) fn segment_to<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        key: &FlowKey,
        segment: &Segment,
        source: &mut S,
    ) {
        let route = self.interceptor.route(Side::Lan, key.vlan, key.destination(), now);
        if let Route::Known(link) = route {
            self.emit_segment(*key, link, 0, segment, source);
        }
    }

    /// Sends one segment to the host that sent `frame`, outside any connection.
    pub(super) fn answer_segment<S: FrameSource<Frame = F>>(
        &mut self,
        frame: &F,
        parsed: &Parsed,
        answer: &Segment,
        source: &mut S,
    ) {
        if let Some(link) = LinkHeader::of(frame.head(), parsed) {
            let key = parsed.key.reversed();
            self.emit_segment(key, link.mirrored(), parsed.dscp(), answer, source);
        }
    }

    fn emit_segment<S: FrameSource<Frame = F>>(
        &mut self,
        key: FlowKey,
        link: LinkHeader,
        dscp: u8,
        segment: &Segment,
        source: &mut S,
    ) {
        let frames = &mut self.frames[Side::Lan.index()];
        let frames_max = self.config.frames_max;
        let mut writer = FrameWriter {
            source,
            frames,
            frames_max,
            key,
            link,
            dscp,
            device_checksums: self.config.device_checksums[Side::Lan.index()],
            parts: &mut self.parts,
            cut_bytes_max: 0,
            frames_spare: 0,
            starved: false,
            ip_bytes: 0,
        };
        if !writer.emit(segment, Payload::EMPTY) {
            self.counters.increment(EdgeCounter::FramesExhausted);
        }
    }
}
