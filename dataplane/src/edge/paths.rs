//! Where frames go on their links: hosts of flows that were opened at the far side, next hops of
//! the peers; and what is done some times a second.
//!
//! In: the interceptor's knowledge of neighbours. Out: link headers of flows, next hops for the
//! transmit stage, requests, refusals of flows whose host nobody answers for. Never: a wait.

use std::net::IpAddr;

use super::EdgeCounter;
use super::stage::EdgeStage;
use super::tcp::{Flags, Segment};
use crate::frame::build::{TTL_DEFAULT, prepend_ip};
use crate::frame::ip::protocol;
use crate::frame::{Frame, FrameSource, IpHeader, LinkHeader, Side, icmp};
use crate::interceptor::Route;
use crate::packet_driver::{MessageKind, reset::ResetCause};
use crate::time::Time;

/// Part of the places below which opens and SYNs are taken again after the table was full.
const CALM: usize = 8;

impl<F: Frame> EdgeStage<F> {
    /// Bounded housekeeping: neighbours, ageing, hosts of before a restart, overload.
    pub(super) fn keep_house<S: FrameSource<Frame = F>>(&mut self, now: Time, source: &mut S) {
        self.interceptor.housekeeping(now);
        self.find_next_hops(now);
        while let Some((side, frame)) = self.interceptor.next_request(source, now) {
            self.put_out(side, frame);
        }
        while self.interceptor.next_outcome().is_some() {}
        for _ in 0..self.unresolved.len() {
            if let Some(place) = self.unresolved.pop_front() {
                self.resolve(now, place);
            }
        }
        self.retry_waiting(now);
        self.time_wait.expire(now, 64);
        self.reassembly.expire(now);
        self.ask_hosts(now, source);
        self.look_after_memory(now);
        self.judge_overload();
    }

    fn find_next_hops(&mut self, now: Time) {
        self.next_hop_missing = false;
        for (endpoint, status) in self.endpoints.iter().zip(self.peers.iter()) {
            let Some(endpoint) = endpoint else { continue };
            let next_hop = match self.interceptor.route(Side::Wan, 0, *endpoint, now) {
                Route::Known(link) => Some(link.destination.0),
                // The old one is kept while it is asked for anew.
                Route::Pending | Route::Busy => {
                    self.next_hop_missing = true;
                    continue;
                }
                Route::Unreachable => None,
            };
            status.set_next_hop(next_hop);
        }
    }

    /// New flows are kept out while the table is nearly full, until it is calm again.
    fn judge_overload(&mut self) {
        let (used, capacity) = (self.table.len(), self.table.capacity());
        let half_open_full = self.half_open >= self.config.half_open;
        if used >= capacity || half_open_full {
            self.interceptor.set_edge_overloaded(true);
        } else if used <= capacity - capacity.div_ceil(CALM)
            && self.half_open <= self.config.half_open - self.config.half_open.div_ceil(8)
        {
            self.interceptor.set_edge_overloaded(false);
        }
    }

    /// Finds out how frames get to the host of a flow that was opened at the far side.
    pub(super) fn resolve(&mut self, now: Time, place: u32) {
        let Some(flow) = self.table.get_mut(place) else { return };
        if flow.link.is_some() {
            return;
        }
        let key = flow.facts.key_to_host();
        match self.interceptor.route(Side::Lan, key.vlan, key.destination(), now) {
            Route::Known(link) => {
                flow.link = Some(link);
                self.touch(place);
            }
            Route::Pending | Route::Busy => self.unresolved.push_back(place),
            Route::Unreachable => {
                let code = icmp::Unreachable::Host.code(key.is_ipv4()).1;
                let cause = ResetCause::Unreachable { code };
                let message = flow.facts.signal(MessageKind::Reset, 0, cause.to_status());
                flow.connection.awake(&mut self.connections).abandon();
                self.send(message);
                self.forget(now, place, EdgeCounter::FlowsRefused);
            }
        }
    }

    /// Tells the host that waits for this flow that the far host is unreachable, by the ICMP code
    /// that came across.
    pub(super) fn tell_unreachable<S: FrameSource<Frame = F>>(
        &mut self,
        place: u32,
        code: u8,
        source: &mut S,
    ) {
        let Some(flow) = self.table.get(place) else { return };
        let (key, sequence, link) = (flow.facts.key, flow.syn_sequence, flow.link);
        let (Some(link), Some(mut frame)) = (link, source.alloc()) else { return };
        let ipv4 = key.is_ipv4();
        let icmp_type = if ipv4 { icmp::UNREACHABLE_V4 } else { icmp::UNREACHABLE_V6 };
        let reason = icmp::Unreachable::of_code(ipv4, icmp_type, code);
        let reason = reason.unwrap_or(icmp::Unreachable::Host);
        // The error quotes the SYN: as much of it as a host needs to find its connection.
        let syn = Segment { seq: sequence, flags: Flags::SYN, ..Segment::default() };
        let header = IpHeader {
            source: key.source(),
            destination: key.destination(),
            protocol: protocol::TCP,
            traffic_class: 0,
            ttl: TTL_DEFAULT,
        };
        let written = frame
            .append(syn.header_len())
            .and_then(|into| syn.emit(key.source_port, key.destination_port, into))
            .is_some_and(|_| prepend_ip(&mut frame, &header).is_ok());
        if written {
            self.send_unreachable(frame.head(), key.source(), &link, reason, source);
        }
    }

    /// Tells a host that what its packet asked for is unreachable. `original` is that packet.
    pub(super) fn send_unreachable<S: FrameSource<Frame = F>>(
        &mut self,
        original: &[u8],
        host: IpAddr,
        link: &LinkHeader,
        reason: icmp::Unreachable,
        source: &mut S,
    ) {
        let Some(own) = self.interceptor.own().lan.source_for(host) else { return };
        let Some(mut frame) = source.alloc() else {
            self.counters.increment(EdgeCounter::FramesExhausted);
            return;
        };
        if icmp::write_unreachable(&mut frame, link, own, reason, original).is_ok() {
            self.put_out(Side::Lan, frame);
        }
    }
}
