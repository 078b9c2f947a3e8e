//! Frames of both sides: each goes the way the interceptor says.
//!
//! In: bursts of frames. Out: frames passed on untouched, calls on flows, packets in packet mode,
//! answers. Never: a frame dropped without a name; the interceptor counted each before it is here.

use super::EdgeCounter;
use super::stage::{BURST, EdgeStage, UPSTREAM_BUSY};
use super::tcp::{Flags, Segment, State};
use crate::frame::ip::protocol;
use crate::frame::{
    ChecksumStatus, FlowKey, Frame, FrameSource, LinkHeader, Parsed, Side, checksum, icmp,
};
use crate::interceptor::{Action, Fallback, Found, PassReason, Verdict};
use crate::link::Link;
use crate::packet_driver::reset::ResetCause;
use crate::time::Time;

impl<F: Frame> EdgeStage<F> {
    /// Takes in at most a burst of frames of each side; none while the packet driver is behind.
    pub(super) fn take_frames<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        frames_in: &mut [Link<F>; 2],
        source: &mut S,
    ) -> bool {
        let mut burst = std::mem::take(&mut self.burst);
        let mut busy = false;
        for (side, link) in Side::BOTH.into_iter().zip(frames_in) {
            if self.upstream.len() >= UPSTREAM_BUSY {
                break;
            }
            link.pop_into(BURST, &mut burst);
            if burst.is_empty() {
                continue;
            }
            busy = true;
            let mut actions = std::mem::take(&mut self.actions);
            self.interceptor.classify(side, burst.make_contiguous(), now, &mut actions);
            if actions.iter().all(|action| *action == Action::Forward) && !self.looks_at_passing() {
                for frame in &mut burst {
                    self.complete(side.other(), frame);
                }
                self.put_all_out(side.other(), &mut burst);
            }
            for (frame, action) in burst.drain(..).zip(&actions) {
                self.act(now, side, frame, action, source);
            }
            self.actions = actions;
        }
        self.burst = burst;
        self.take_reassembled(now, source);
        busy
    }

    /// Packets of split flows that were put together from their fragments.
    fn take_reassembled<S: FrameSource<Frame = F>>(&mut self, now: Time, source: &mut S) {
        if self.reassembled.is_empty() {
            return;
        }
        let mut whole = std::mem::take(&mut self.reassembled);
        let mut actions = std::mem::take(&mut self.actions);
        self.interceptor.classify(Side::Lan, &mut whole, now, &mut actions);
        for (frame, action) in whole.drain(..).zip(&actions) {
            self.act(now, Side::Lan, frame, action, source);
        }
        self.actions = actions;
        // With its room: `whole` is empty and keeps its memory.
        whole.append(&mut self.reassembled);
        self.reassembled = whole;
    }

    fn act<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        side: Side,
        frame: F,
        action: &Action,
        source: &mut S,
    ) {
        match action {
            Action::Forward => self.forward(now, side, frame, source),
            Action::Answer => self.put_out(side, frame),
            // Our own datagrams are taken out before; what is left is for the LAN address.
            Action::Consumed | Action::Drop(_) | Action::ToMover(_) => {}
            Action::NewFlow { flow, decision, parsed } => {
                if self.continues_time_wait(now, &frame, parsed, source) {
                    self.interceptor.abandon(*flow);
                } else if !self.host_syn(now, &frame, parsed, *decision, *flow) {
                    // The verdict holds for the SYN's retransmissions too.
                    let sequence = self.segment_of(&frame, parsed).map(|segment| segment.seq);
                    if !self.interceptor.decline(*flow, sequence.unwrap_or_default()) {
                        self.interceptor.abandon(*flow);
                    }
                    self.fall_back(side, frame, parsed, decision.peer, source);
                }
            }
            Action::Edge { found, parsed } => match self.interceptor.decision(found.flow) {
                Some(decision) => self.host_segment(now, decision.slot, frame, parsed),
                None => self.count_segment(EdgeCounter::SegmentsStray),
            },
            Action::EdgeIcmp { found, parsed } => self.host_icmp(now, *found, parsed, frame.head()),
            Action::Fragment(parsed) => {
                if let Some(whole) = self.reassembly.add(frame, parsed, now) {
                    self.reassembled.push(whole);
                }
            }
            Action::Datagram { decision, parsed } => {
                self.packet_from_host(now, frame, parsed, decision);
            }
            Action::Refuse { parsed, .. } => self.refuse(&frame, parsed, source),
        }
    }

    /// A frame that no rule takes; but a segment of a connection that has just ended here, or that
    /// our former self held, is not for the far host. A SYN that is passed begins a connection
    /// that has nothing to do with one that was lost with a peer.
    fn forward<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        side: Side,
        frame: F,
        source: &mut S,
    ) {
        if self.looks_at_passing()
            && let Ok(parsed) = crate::frame::parse(frame.head(), frame.frame_len())
            && parsed.key.protocol == protocol::TCP
        {
            if side == Side::Lan
                && (self.continues_time_wait(now, &frame, &parsed, source)
                    || self.reset_listed(now, &frame, &parsed, source))
            {
                self.forget_passed(&parsed.key);
                return;
            }
            if parsed.is_syn() {
                let from_far = if side == Side::Wan { parsed.key } else { parsed.key.reversed() };
                self.begins_anew(&from_far);
            }
        }
        self.pass(side.other(), frame);
    }

    /// Passes a frame on to a side.
    fn pass(&mut self, side: Side, mut frame: F) {
        self.complete(side, &mut frame);
        self.put_out(side, frame);
    }

    /// What came without a checksum, because it never left this machine, does not leave without.
    #[inline]
    fn complete(&self, side: Side, frame: &mut F) {
        if frame.checksum_status() == ChecksumStatus::Unfilled
            && let Ok(parsed) = crate::frame::parse(frame.head(), frame.frame_len())
        {
            let by_device = self.config.device_checksums[side.index()];
            checksum::fill_in(frame, &parsed, by_device);
        }
    }

    /// Whether frames that pass may be of connections that were here.
    fn looks_at_passing(&self) -> bool {
        !(self.time_wait.is_empty() && self.restarts.is_quiet()) || self.restarts.has_lost()
    }

    /// A segment that was not passed after all leaves no entry behind.
    fn forget_passed(&mut self, key: &FlowKey) {
        let Some(found) = self.interceptor.lookup(key) else { return };
        let decision = self.interceptor.decision(found.flow);
        let not_seen = Verdict::Pass(PassReason::SynNotSeen);
        if decision.is_some_and(|decision| decision.verdict == not_seen) {
            self.interceptor.abandon(found.flow);
        }
    }

    /// Hosts begin a connection with this 5-tuple, as in the far host's frames: former ones of
    /// the same addresses and ports are nothing to it.
    pub(super) fn begins_anew(&mut self, from_far: &FlowKey) {
        self.restarts.begun_anew(from_far);
        self.time_wait.remove(&from_far.reversed());
    }

    /// There is no place for a flow that a rule wants split: its peer's fallback.
    fn fall_back<S: FrameSource<Frame = F>>(
        &mut self,
        side: Side,
        frame: F,
        parsed: &Parsed,
        peer: crate::packet_driver::PeerIndex,
        source: &mut S,
    ) {
        self.counters.increment(EdgeCounter::FlowsOverload);
        match self.admission.get(usize::from(peer.0)).map(|status| status.fallback) {
            Some(Fallback::Refuse) => self.refuse(&frame, parsed, source),
            _ => self.pass(side.other(), frame),
        }
    }

    /// Tells a host that its flow is refused.
    fn refuse<S: FrameSource<Frame = F>>(&mut self, frame: &F, parsed: &Parsed, source: &mut S) {
        if parsed.key.protocol == protocol::TCP {
            if let Some(segment) = self.segment_of(frame, parsed) {
                // RFC 9293 3.10.7.1: the reset for a connection that does not exist.
                let ack = segment.seq.wrapping_add(segment.sequence_len());
                let flags = Flags::RST.with(Flags::ACK);
                let reset = Segment { ack, flags, ..Segment::default() };
                self.answer_segment(frame, parsed, &reset, source);
                self.count_segment(EdgeCounter::SegmentsTaken);
            }
            return;
        }
        let original = parsed.ip_packet(frame.head());
        if let Some(link) = LinkHeader::of(frame.head(), parsed)
            && icmp::may_cause_error(parsed)
        {
            let reason = icmp::Unreachable::Prohibited;
            let link = link.mirrored();
            self.send_unreachable(original, parsed.key.source(), &link, reason, source);
        }
    }

    /// An ICMP error about a packet that was sent to our host in the name of the far one.
    fn host_icmp(&mut self, now: Time, found: Found, parsed: &Parsed, head: &[u8]) {
        let mtu = icmp::too_big_mtu(parsed, head);
        let Some(decision) = self.interceptor.decision(found.flow) else { return };
        let Some(flow) = self.table.get_mut(decision.slot) else { return };
        let connecting = matches!(flow.connection.state(), State::SynSent);
        if connecting
            && icmp::Unreachable::of_code(parsed.key.is_ipv4(), parsed.icmp_type, parsed.icmp_code)
                .is_some()
        {
            // RFC 1122 4.2.3.9: while connecting, unreachable ends the attempt; afterwards it is
            // a hint that may be forged, and the retransmissions decide.
            let cause = ResetCause::Unreachable { code: parsed.icmp_code };
            let message =
                flow.facts.signal(crate::packet_driver::MessageKind::Reset, 0, cause.to_status());
            flow.connection.awake(&mut self.connections).abandon();
            self.send(message);
            self.forget(now, decision.slot, EdgeCounter::FlowsRefused);
        } else if let Some(mtu) = mtu {
            let headers = if parsed.key.is_ipv4() { 40 } else { 60 };
            let connection = flow.connection.awake(&mut self.connections);
            connection.reduce_mss(mtu.saturating_sub(headers));
            self.touch(decision.slot);
        }
    }
}
