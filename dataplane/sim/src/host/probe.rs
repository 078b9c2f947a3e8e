//! Datagrams there and back: UDP echo, UDP client, ping.

use std::net::{IpAddr, SocketAddr};

use dataplane::time::Time;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{icmp, udp};
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress};

use super::script::Probe;
use crate::check::ProbeReport;
use crate::content::Content;

/// Most datagrams that wait in a socket.
const PACKETS: usize = 64;
const BYTES: usize = 256 * 1024;

pub(super) fn udp_socket() -> udp::Socket<'static> {
    let buffer =
        || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; PACKETS], vec![0; BYTES]);
    udp::Socket::new(buffer(), buffer())
}

pub(super) fn icmp_socket() -> icmp::Socket<'static> {
    let buffer =
        || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; PACKETS], vec![0; BYTES]);
    icmp::Socket::new(buffer(), buffer())
}

/// Sends every datagram back to where it came from.
pub(super) fn echo(socket: &mut udp::Socket<'_>) {
    while socket.can_send() {
        let Ok((bytes, from)) = socket.recv().map(|(bytes, from)| (bytes.to_vec(), from)) else {
            return;
        };
        // From the address it was sent to; a full queue loses it, as UDP may.
        let _ = socket.send_slice(&bytes, from);
    }
}

/// How a series of datagrams is sent and told apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carrier {
    Udp,
    Ping { identifier: u16, own: IpAddr },
}

/// A series of datagrams.
pub(super) struct Prober {
    handle: SocketHandle,
    carrier: Carrier,
    remote: SocketAddr,
    probe: Probe,
    content: Content,
    sent_at: Vec<Time>,
    pub(super) report: ProbeReport,
}

impl Prober {
    pub(super) fn new(
        handle: SocketHandle,
        carrier: Carrier,
        remote: SocketAddr,
        probe: Probe,
        content: Content,
    ) -> Self {
        Prober {
            handle,
            carrier,
            remote,
            probe,
            content,
            sent_at: Vec::new(),
            report: ProbeReport::default(),
        }
    }

    /// When the next datagram is to be sent.
    pub(super) fn next_time(&self) -> Time {
        if self.sent_at.len() >= usize::from(self.probe.count) {
            return Time::NEVER;
        }
        Time::from_ns(self.probe.start_ns) + self.probe.interval_ns * self.sent_at.len() as u64
    }

    pub(super) fn step(&mut self, now: Time, sockets: &mut SocketSet<'_>) {
        while self.next_time() <= now {
            let number = self.report.sent;
            let payload = self.payload(number);
            match self.carrier {
                Carrier::Udp => {
                    let socket = sockets.get_mut::<udp::Socket<'_>>(self.handle);
                    let _ = socket.send_slice(&payload, self.remote);
                }
                Carrier::Ping { identifier, own } => {
                    let socket = sockets.get_mut::<icmp::Socket<'_>>(self.handle);
                    let packet = request(own, self.remote.ip(), identifier, number, &payload);
                    let _ = socket.send_slice(&packet, self.remote.ip().into());
                }
            }
            self.sent_at.push(now);
            self.report.sent += 1;
        }
        self.receive(now, sockets);
    }

    fn receive(&mut self, now: Time, sockets: &mut SocketSet<'_>) {
        loop {
            let payload = match self.carrier {
                Carrier::Udp => {
                    let socket = sockets.get_mut::<udp::Socket<'_>>(self.handle);
                    socket.recv().ok().map(|(bytes, _)| Some(bytes.to_vec()))
                }
                Carrier::Ping { .. } => {
                    let socket = sockets.get_mut::<icmp::Socket<'_>>(self.handle);
                    socket.recv().ok().map(|(bytes, from)| reply(from, bytes))
                }
            };
            let Some(payload) = payload else { return };
            self.judge(now, payload.as_deref());
        }
    }

    fn judge(&mut self, now: Time, payload: Option<&[u8]>) {
        let number = payload.and_then(|bytes| bytes.first_chunk()).map(|n| u16::from_be_bytes(*n));
        let sent_at = number.and_then(|n| self.sent_at.get(usize::from(n)));
        match (number, sent_at) {
            (Some(number), Some(at)) if payload == Some(&self.payload(number.into())) => {
                self.report.round_trips_ns.push(now.since_ns(*at));
                self.report.returned += 1;
            }
            _ => self.report.wrong += 1,
        }
    }

    // The number, then bytes that follow from it.
    fn payload(&self, number: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.probe.len.max(2)];
        self.content.part(number).fill(0, &mut bytes);
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        bytes
    }
}

fn request(own: IpAddr, remote: IpAddr, identifier: u16, number: u64, data: &[u8]) -> Vec<u8> {
    let seq_no = u16::try_from(number).unwrap_or(u16::MAX);
    let checksum = ChecksumCapabilities::default();
    match (own, remote) {
        (IpAddr::V6(own), IpAddr::V6(remote)) => {
            let repr = Icmpv6Repr::EchoRequest { ident: identifier, seq_no, data };
            let mut bytes = vec![0; repr.buffer_len()];
            let mut packet = Icmpv6Packet::new_unchecked(&mut bytes);
            repr.emit(&own, &remote, &mut packet, &checksum);
            bytes
        }
        _ => {
            let repr = Icmpv4Repr::EchoRequest { ident: identifier, seq_no, data };
            let mut bytes = vec![0; repr.buffer_len()];
            repr.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes), &checksum);
            bytes
        }
    }
}

// The payload of an echo reply; `None` for any other message. The host has checked the checksum.
fn reply(from: IpAddress, bytes: &[u8]) -> Option<Vec<u8>> {
    let ignored = ChecksumCapabilities::ignored();
    match from {
        IpAddress::Ipv4(_) => {
            let packet = Icmpv4Packet::new_checked(bytes).ok()?;
            match Icmpv4Repr::parse(&packet, &ignored).ok()? {
                Icmpv4Repr::EchoReply { data, .. } => Some(data.to_vec()),
                _ => None,
            }
        }
        IpAddress::Ipv6(from) => {
            let packet = Icmpv6Packet::new_checked(bytes).ok()?;
            match Icmpv6Repr::parse(&from, &from, &packet, &ignored).ok()? {
                Icmpv6Repr::EchoReply { data, .. } => Some(data.to_vec()),
                _ => None,
            }
        }
    }
}
