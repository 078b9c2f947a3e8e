//! One connection with a stack of its own.
//!
//! In: IP packets, the time. Out: packets for a link, when it next has something to do. Never: a
//! packet that the link has no room for: it waits in the connection.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroUsize;

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{self, ConnectError, ListenError};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::link::Link;
use super::packet::ETHERNET;
use super::{Limits, NS_PER_S};

/// All hosts are on one network of this prefix length, so that none needs a router.
pub(super) const PREFIX_LEN: u8 = 8;

/// A stack with one socket.
pub(super) struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    limits: Limits,
}

/// The way to and from the link for one call.
pub(super) struct Way<'a, L> {
    /// In front of all packets.
    pub(super) head: &'a [u8; ETHERNET],
    pub(super) link: &'a mut L,
    /// In nanoseconds.
    pub(super) now: u64,
}

impl Stack {
    /// A stack without an address; `seed` fixes its sequence numbers.
    pub(super) fn new(limits: Limits, seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut nowhere = Nowhere;
        let mut tap = Tap { limits, head: &[0; ETHERNET], arrived: None, link: &mut nowhere };
        let interface = Interface::new(config, &mut tap, Instant::ZERO);
        let buffer = || tcp::SocketBuffer::new(vec![0; limits.buffer_bytes]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Stack { interface, sockets, handle, limits }
    }

    /// Its socket.
    pub(super) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Opens a connection.
    pub(super) fn connect(
        &mut self,
        own: SocketAddrV4,
        peer: SocketAddrV4,
    ) -> Result<(), ConnectError> {
        self.settle(*own.ip());
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        socket.connect(self.interface.context(), peer, own)
    }

    /// Waits for a connection.
    pub(super) fn listen(&mut self, own: SocketAddrV4) -> Result<(), ListenError> {
        self.settle(*own.ip());
        self.socket().listen(own.port())
    }

    /// A packet has come.
    pub(super) fn ingress<L: Link>(&mut self, packet: &[u8], way: Way<'_, L>) {
        let now = instant(way.now);
        let mut tap =
            Tap { limits: self.limits, head: way.head, arrived: Some(packet), link: way.link };
        self.interface.poll_ingress_single(now, &mut tap, &mut self.sockets);
    }

    /// Sends what there is to send, `most` packets at most; whether that was all.
    pub(super) fn egress<L: Link>(&mut self, most: usize, way: Way<'_, L>) -> bool {
        let now = instant(way.now);
        let mut tap = Tap { limits: self.limits, head: way.head, arrived: None, link: way.link };
        for _ in 0..most {
            if !tap.link.has_room() {
                return false;
            }
            let polled = self.interface.poll_egress(now, &mut tap, &mut self.sockets);
            if matches!(polled, PollResult::None) {
                return true;
            }
        }
        false
    }

    /// When it next has something to do by itself, in nanoseconds.
    pub(super) fn due(&mut self, now: u64) -> u64 {
        let at = self.interface.poll_at(instant(now), &self.sockets);
        at.map_or(u64::MAX, |at| u64::try_from(at.total_micros()).unwrap_or(0) * 1_000)
    }

    /// Forgets the connection, without a word to the other end.
    pub(super) fn forget(&mut self) {
        self.socket().abort();
    }

    fn settle(&mut self, ip: Ipv4Addr) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // There is room for one at least.
            let _ = addresses.push(IpCidr::new(ip.into(), PREFIX_LEN));
        });
    }
}

/// The stack's clock has microseconds.
fn instant(now: u64) -> Instant {
    const _: () = assert!(NS_PER_S == 1_000_000_000);
    Instant::from_micros(i64::try_from(now / 1_000).unwrap_or(i64::MAX))
}

/// The device under a stack: one packet in, a link out.
struct Tap<'a, L> {
    limits: Limits,
    head: &'a [u8; ETHERNET],
    arrived: Option<&'a [u8]>,
    link: &'a mut L,
}

struct Arrival<'a>(&'a [u8]);

impl RxToken for Arrival<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

struct Departure<'a, L> {
    head: &'a [u8; ETHERNET],
    link: &'a mut L,
}

impl<L: Link> TxToken for Departure<'_, L> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let head = self.head;
        self.link.emit(ETHERNET + len, |frame| {
            let (front, packet) = frame.split_at_mut(ETHERNET);
            front.copy_from_slice(head);
            write(packet)
        })
    }
}

impl<L: Link> Device for Tap<'_, L> {
    type RxToken<'b>
        = Arrival<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Departure<'b, L>
    where
        Self: 'b;

    fn receive(&mut self, _now: Instant) -> Option<(Arrival<'_>, Departure<'_, L>)> {
        let arrived = self.arrived.take()?;
        Some((Arrival(arrived), Departure { head: self.head, link: self.link }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Departure<'_, L>> {
        let has_room = self.link.has_room();
        has_room.then_some(Departure { head: self.head, link: self.link })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.limits.mtu.into();
        // The link's to fill in, and ours to look at.
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities.segmentation.tcpv4 = self.limits.large.map(NonZeroUsize::from);
        capabilities
    }
}

/// A link that leads nowhere: what a stack is made with.
struct Nowhere;

impl Link for Nowhere {
    fn has_room(&self) -> bool {
        false
    }

    fn emit<R>(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        write(&mut vec![0; len])
    }
}
