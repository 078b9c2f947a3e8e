//! A host on a LAN: a whole IP stack (smoltcp) with applications, driven in virtual time.
//!
//! In: frames, the time, applications as data. Out: frames, when to be called next, reports of
//! what the applications saw. Never: a clock, randomness that is not seeded.

mod probe;
mod script;
mod segment;
mod stream;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dataplane::time::{SECOND_NS, Time};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint};

use crate::check::{ProbeReport, StreamReport};
use crate::content::{Content, Kind};
use probe::{Carrier, Prober};
use script::Contents;
use segment::{TcpSegment, as_unacceptable_ack, with_open_window};
use stream::Stream;

pub use script::{Application, Close, Pace, Probe, Read, StreamScript};

/// Bytes of an Ethernet header.
const ETHERNET_LEN: usize = 14;

/// Far more bytes than a host has unacknowledged.
pub(crate) const NEVER_SENT: i32 = 1 << 24;

/// Duplicate acknowledgements come sooner after the first.
const DUPLICATES_NS: u64 = 2 * SECOND_NS;

/// Repetitions of an acknowledgement that do not yet start a fast retransmission, less one.
const ACK_REPEATS_MAX: u32 = 2;

/// What a host is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The VLAN it is in: all its frames have this tag, and it takes no others.
    pub vlan: Option<u16>,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// IPv4 router for what is not on the link.
    pub gateway_v4: Option<Ipv4Addr>,
    /// IPv6 router for what is not on the link.
    pub gateway_v6: Option<Ipv6Addr>,
    /// Bytes of the longest IP packet.
    pub mtu: usize,
    /// Bytes of each TCP buffer, send and receive.
    pub tcp_buffer_bytes: usize,
    /// Nanoseconds of silence after which it asks whether the other end of a connection is still
    /// there; `None` for never.
    pub keep_alive_ns: Option<u64>,
    /// Seed of the contents it sends and expects: the same for all hosts that talk to each other.
    pub content_seed: u64,
    /// What the contents are like: likewise.
    pub content: Kind,
}

impl HostConfig {
    /// A host with this number on 10.0.0.0/24 and fd00::/64, without a router.
    #[must_use]
    pub fn numbered(number: u8) -> Self {
        HostConfig {
            mac: [2, 0, 0, 0, 0, number],
            vlan: None,
            addresses: vec![
                (IpAddr::from([10, 0, 0, number]), 24),
                (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(), 64),
            ],
            gateway_v4: None,
            gateway_v6: None,
            mtu: 1500,
            tcp_buffer_bytes: 64 * 1024,
            keep_alive_ns: None,
            content_seed: 1,
            content: Kind::Noise,
        }
    }
}

/// A host on a LAN.
pub struct Host {
    config: HostConfig,
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    listeners: Vec<Listener>,
    clients: Vec<Waiting>,
    streams: Vec<Stream>,
    echoes: Vec<SocketHandle>,
    probers: Vec<Prober>,
    /// Frames that came in and were read.
    frames_in: u64,
}

struct Listener {
    port: u16,
    script: StreamScript,
    sockets: Vec<SocketHandle>,
}

/// Connections to be opened at a time to come.
struct Waiting {
    at: Time,
    remote: SocketAddr,
    local_port: u16,
    connections: u16,
    script: StreamScript,
}

impl Host {
    /// A host with no applications; `seed` fixes what its stack draws at random.
    #[must_use]
    pub fn new(config: HostConfig, seed: u64) -> Self {
        let mut wire = Wire { mtu: config.mtu, ..Wire::default() };
        let mut settings = Config::new(EthernetAddress(config.mac).into());
        settings.random_seed = seed;
        let mut interface = Interface::new(settings, &mut wire, instant(Time::ZERO));
        interface.update_ip_addrs(|addresses| {
            for (address, prefix) in &config.addresses {
                let added = addresses.push(IpCidr::new((*address).into(), *prefix));
                assert!(added.is_ok(), "more addresses than the stack holds");
            }
        });
        let routes = interface.routes_mut();
        let v4 = config.gateway_v4.map(|gateway| routes.add_default_ipv4_route(gateway));
        let v6 = config.gateway_v6.map(|gateway| routes.add_default_ipv6_route(gateway));
        assert!(!matches!(v4, Some(Err(_))) && !matches!(v6, Some(Err(_))), "room for two routes");
        Host {
            config,
            interface,
            sockets: SocketSet::new(Vec::new()),
            wire,
            listeners: Vec::new(),
            clients: Vec::new(),
            streams: Vec::new(),
            echoes: Vec::new(),
            probers: Vec::new(),
            frames_in: 0,
        }
    }

    /// What it is like.
    #[must_use]
    pub fn config(&self) -> &HostConfig {
        &self.config
    }

    /// Its first address of the family.
    #[must_use]
    pub fn address(&self, v6: bool) -> Option<IpAddr> {
        let mut addresses = self.config.addresses.iter().map(|(address, _)| *address);
        addresses.find(|address| address.is_ipv6() == v6)
    }

    /// Starts an application.
    pub fn run(&mut self, application: Application) {
        match application {
            Application::Server { port, backlog, script } => {
                let mut listener = Listener { port, script, sockets: Vec::new() };
                for _ in 0..backlog {
                    listener.sockets.push(self.listen(port));
                }
                self.listeners.push(listener);
            }
            Application::Client { remote, local_port, connections, start_ns, script } => {
                let at = Time::from_ns(start_ns);
                self.clients.push(Waiting { at, remote, local_port, connections, script });
            }
            Application::UdpEcho { port } => {
                let handle = self.bind(port);
                self.echoes.push(handle);
            }
            Application::UdpClient { remote, local_port, probe } => {
                let handle = self.bind(local_port);
                self.probe(handle, Carrier::Udp, remote, probe);
            }
            Application::Ping { remote, identifier, probe } => {
                let mut socket = probe::icmp_socket();
                socket.bind(icmp::Endpoint::Ident(identifier)).expect("a fresh socket binds");
                let handle = self.sockets.add(socket);
                let own = self.address(remote.is_ipv6()).expect("an address of that family");
                self.probe(handle, Carrier::Ping { identifier, own }, remote, probe);
            }
        }
    }

    /// A frame has come in; what it makes the host send at once waits for [`Host::poll`].
    pub fn receive(&mut self, now: Time, frame: &[u8]) {
        self.frames_in += 1;
        let untagged = self.config.vlan.map(|vlan| without_tag(frame, vlan));
        let Some(frame) = untagged.as_ref().map_or(Some(frame), Option::as_deref) else { return };
        let segment = TcpSegment::parse(frame);
        let shuts = segment.as_ref().is_some_and(|segment| self.shuts_over_some(segment));
        if segment.as_ref().is_some_and(|segment| self.would_confuse(now, segment)) {
            return;
        }
        let mut frame = frame.to_vec();
        if shuts {
            with_open_window(&mut frame);
        }
        if let Some(segment) = segment.as_ref().filter(|segment| segment.is_first())
            && let Some(index) = self.stream_of(segment)
            && let Some(ack) = self.streams[index].last_ack()
        {
            as_unacceptable_ack(&mut frame, segment, ack);
        }
        self.wire.incoming.push_back(frame);
        let acked = segment.as_ref().and_then(|segment| self.stream_of(segment));
        let unacknowledged = acked.and_then(|index| self.unacknowledged_of(index));
        let reset = segment
            .as_ref()
            .filter(|segment| segment.rst)
            .and_then(|segment| self.stream_of(segment));
        let before = reset.map(|index| self.state_of(index));
        self.interface.poll_ingress_single(instant(now), &mut self.wire, &mut self.sockets);
        self.wire.incoming.clear();
        if let Some(index) = acked
            && self.unacknowledged_of(index) < unacknowledged
        {
            self.streams[index].ack_was_taken(now);
        }
        if let Some(index) = reset {
            let closed = Some(tcp::State::Closed);
            if self.state_of(index) == closed
                && before != Some(closed)
                && let Some(handle) = self.streams[index].handle
            {
                let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
                self.streams[index].was_reset(now, socket);
            }
        }
        self.accept();
        if let Some(segment) = segment {
            self.note_first_ack(now, &segment);
        }
    }

    /// Lets applications and stack do what is due; frames to send are appended to `out`.
    pub fn poll(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        self.connect(now);
        self.step_applications(now);
        loop {
            let sent_before = self.wire.outgoing.len();
            self.interface.poll(instant(now), &mut self.wire, &mut self.sockets);
            self.accept();
            // Also after a turn without frames: a connection may have come to its end.
            self.step_applications(now);
            if self.wire.outgoing.len() == sent_before {
                break;
            }
            self.note_sent(sent_before);
        }
        match self.config.vlan {
            Some(vlan) => out.extend(self.wire.outgoing.drain(..).map(|f| with_tag(&f, vlan))),
            None => out.append(&mut self.wire.outgoing),
        }
    }

    /// When to call [`Host::poll`] next, if no frame comes in until then.
    pub fn next_time(&mut self, now: Time) -> Time {
        let stack = self.interface.poll_at(instant(now), &self.sockets).map_or(Time::NEVER, |at| {
            let us = u64::try_from(at.total_micros()).unwrap_or(0);
            // What the stack could not do just now, it cannot do at this very moment either.
            Time::from_ns(us * 1_000).max(now + 1_000)
        });
        let clients = self.clients.iter().map(|client| client.at);
        let streams = self.streams.iter().map(|stream| stream.next_time(now));
        let probers = self.probers.iter().map(Prober::next_time);
        clients.chain(streams).chain(probers).min().map_or(stack, |at| at.min(stack))
    }

    /// All connections that were made or tried, in the order they began.
    pub fn streams(&self) -> impl Iterator<Item = &StreamReport> {
        self.streams.iter().map(|stream| &stream.report)
    }

    /// All series of datagrams, in the order they were started.
    pub fn probes(&self) -> impl Iterator<Item = &ProbeReport> {
        self.probers.iter().map(|prober| &prober.report)
    }

    /// Sockets of connections that are not gone: 0 at the end, when nothing leaked.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.streams.iter().filter(|stream| stream.handle.is_some()).count()
    }

    /// Frames that came in.
    #[must_use]
    pub fn frames_in(&self) -> u64 {
        self.frames_in
    }

    // What the stack has sent since there were so many frames.
    fn note_sent(&mut self, sent_before: usize) {
        for frame in self.wire.outgoing.iter().skip(sent_before) {
            let Some(segment) = TcpSegment::parse(frame) else { continue };
            let stream = self.streams.iter_mut().find(|stream| {
                let report = &stream.report;
                report.local == segment.remote && report.remote == segment.local
            });
            if let Some(stream) = stream {
                stream.note_sent(segment.end);
            }
        }
    }

    fn content(&self) -> Content {
        Content::new(self.config.content_seed, self.config.content)
    }

    fn tcp_socket(&self) -> tcp::Socket<'static> {
        let buffer = || tcp::SocketBuffer::new(vec![0; self.config.tcp_buffer_bytes]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        let interval = self.config.keep_alive_ns.map(|ns| Duration::from_micros(ns / 1_000));
        socket.set_keep_alive(interval);
        socket
    }

    fn listen(&mut self, port: u16) -> SocketHandle {
        let mut socket = self.tcp_socket();
        socket.listen(port).expect("a fresh socket listens");
        self.sockets.add(socket)
    }

    fn bind(&mut self, port: u16) -> SocketHandle {
        let mut socket = probe::udp_socket();
        socket.bind(port).expect("a fresh socket binds");
        self.sockets.add(socket)
    }

    fn probe(&mut self, handle: SocketHandle, carrier: Carrier, remote: SocketAddr, probe: Probe) {
        let content = self.content().part(self.probers.len() as u64);
        self.probers.push(Prober::new(handle, carrier, remote, probe, content));
    }

    // Opens the connections that are due.
    fn connect(&mut self, now: Time) {
        let (due, later) = std::mem::take(&mut self.clients).into_iter().partition(|c| c.at <= now);
        self.clients = later;
        let due: Vec<Waiting> = due;
        for client in due {
            for n in 0..client.connections {
                self.open(client.remote, client.local_port + n, client.script);
            }
        }
    }

    fn open(&mut self, remote: SocketAddr, local_port: u16, script: StreamScript) {
        let own = self.address(remote.is_ipv6()).expect("an address of that family");
        let local = SocketAddr::new(own, local_port);
        let mut socket = self.tcp_socket();
        let context = self.interface.context();
        socket.connect(context, remote, endpoint(local)).expect("a fresh socket connects");
        let handle = self.sockets.add(socket);
        let contents = Contents::new(self.content(), local, remote);
        let (sends, receives) = (contents.from_client, contents.from_server);
        self.streams.push(Stream::new(handle, local, remote, script, sends, receives));
    }

    // Makes streams of the sockets that a client has connected to; others listen in their place.
    fn accept(&mut self) {
        for index in 0..self.listeners.len() {
            for place in 0..self.listeners[index].sockets.len() {
                let Listener { port, script, ref sockets } = self.listeners[index];
                let handle = sockets[place];
                let socket = self.sockets.get::<tcp::Socket<'_>>(handle);
                if matches!(socket.state(), tcp::State::Listen | tcp::State::SynReceived) {
                    continue;
                }
                let (Some(local), Some(remote)) =
                    (socket.local_endpoint(), socket.remote_endpoint())
                else {
                    continue;
                };
                let (local, remote) = (address(local), address(remote));
                let contents = Contents::new(self.content(), remote, local);
                let (sends, receives) = (contents.from_server, contents.from_client);
                self.streams.push(Stream::new(handle, local, remote, script, sends, receives));
                self.listeners[index].sockets[place] = self.listen(port);
            }
        }
    }

    fn step_applications(&mut self, now: Time) {
        for stream in &mut self.streams {
            let Some(handle) = stream.handle else { continue };
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
            if stream.step(now, socket) && socket.remote_endpoint().is_none() {
                self.sockets.remove(handle);
                stream.handle = None;
            }
        }
        for handle in &self.echoes {
            probe::echo(self.sockets.get_mut::<udp::Socket<'_>>(*handle));
        }
        for prober in &mut self.probers {
            prober.step(now, &mut self.sockets);
        }
    }

    fn state_of(&self, index: usize) -> Option<tcp::State> {
        let handle = self.streams.get(index)?.handle?;
        Some(self.sockets.get::<tcp::Socket<'_>>(handle).state())
    }

    // Bytes in the send queue, sent or not.
    fn unacknowledged_of(&self, index: usize) -> Option<usize> {
        let handle = self.streams.get(index)?.handle?;
        Some(self.sockets.get::<tcp::Socket<'_>>(handle).send_queue())
    }

    fn stream_of(&self, segment: &TcpSegment) -> Option<usize> {
        self.streams.iter().position(|stream| {
            let report = &stream.report;
            let live = stream.handle.is_some();
            live && report.local == segment.local && report.remote == segment.remote
        })
    }

    // The acknowledgement that has made a connection.
    fn note_first_ack(&mut self, now: Time, segment: &TcpSegment) {
        let (Some(index), Some(ack)) = (self.stream_of(segment), segment.ack) else { return };
        let connecting = Some(tcp::State::SynSent);
        if self.state_of(index) != connecting {
            self.streams[index].note_first_ack(now, ack, segment.window);
        }
    }

    // Whether a segment acknowledges something, shuts the window, and leaves something under way, as
    // windows that are rounded do. The stack's timer that probes the window would take the place of
    // the one that sends again what is lost, and once the window opens there would be neither.
    fn shuts_over_some(&self, segment: &TcpSegment) -> bool {
        let (Some(ack), 0) = (segment.ack, segment.window) else { return false };
        let index = self.stream_of(segment).filter(|_| !segment.rst);
        index.is_some_and(|index| self.streams[index].leaves_some(ack))
    }

    // Whether a segment meets one of four faults of the stack and has to be taken for lost.
    fn would_confuse(&mut self, now: Time, segment: &TcpSegment) -> bool {
        if segment.is_first() {
            return self.is_half_open(segment);
        }
        let (Some(index), Some(ack)) = (self.stream_of(segment), segment.ack) else { return false };
        let waits_for_ack_of_fin = self.waits_for_ack_of_fin(index);
        let window = segment.window;
        let Some(last) = self.streams[index].repeated_ack(ack, window) else { return false };
        if !segment.is_bare {
            return false;
        }
        // A window that closed and opened again, told in the other order: the stack believes the
        // former, and when its retransmission timer then fires it forgets to probe the window.
        let is_shut = window == 0;
        // What keepalives make the other end repeat counts for the stack as duplicates: the third
        // starts a fast retransmission, of one segment, and its retransmission timer, which would
        // send all that was lost, anew. So each hole of a lost window took two keepalives.
        let is_late = window == last.window
            && last.taken_at.is_some_and(|taken_at| now >= taken_at + DUPLICATES_NS);
        let is_confusing =
            is_shut || is_late || last.repeats >= ACK_REPEATS_MAX && waits_for_ack_of_fin;
        if !is_confusing {
            last.window = window;
        }
        is_confusing
    }

    // Whether such a connection is in the making. The stack would give a second SYN to the first
    // socket that listens, which need not be that connection's.
    fn is_half_open(&self, segment: &TcpSegment) -> bool {
        let waiting = self.listeners.iter().flat_map(|listener| &listener.sockets);
        waiting.copied().any(|handle| {
            let socket = self.sockets.get::<tcp::Socket<'_>>(handle);
            let local = socket.local_endpoint() == Some(endpoint(segment.local));
            local && socket.remote_endpoint() == Some(endpoint(segment.remote))
        })
    }

    // Whether nothing but a FIN is outstanding. Three equal acknowledgements then make the stack
    // stop its timer for a fast retransmission that it does not do: the FIN would stay lost.
    fn waits_for_ack_of_fin(&self, index: usize) -> bool {
        let Some(handle) = self.streams[index].handle else { return false };
        let socket = self.sockets.get::<tcp::Socket<'_>>(handle);
        let closing = matches!(
            socket.state(),
            tcp::State::FinWait1 | tcp::State::Closing | tcp::State::LastAck
        );
        closing && socket.send_queue() == 0
    }
}

/// A frame with an 802.1Q tag.
#[must_use]
pub fn with_tag(frame: &[u8], vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(ETHERNET_LEN - 2);
    [addresses, &[0x81, 0x00], &vlan.to_be_bytes(), rest].concat()
}

/// A frame without its 802.1Q tag; `None` when it has none, or that of another VLAN.
#[must_use]
pub fn without_tag(frame: &[u8], vlan: u16) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ETHERNET_LEN - 2)?;
    let rest = rest.strip_prefix(&[0x81, 0x00])?;
    let (tag, rest) = rest.split_first_chunk()?;
    (u16::from_be_bytes(*tag) & 0x0fff == vlan).then(|| [addresses, rest].concat())
}

fn endpoint(address: SocketAddr) -> IpEndpoint {
    address.into()
}

fn address(endpoint: IpEndpoint) -> SocketAddr {
    let ip = match endpoint.addr {
        IpAddress::Ipv4(v4) => IpAddr::V4(v4),
        IpAddress::Ipv6(v6) => IpAddr::V6(v6),
    };
    SocketAddr::new(ip, endpoint.port)
}

/// The stack's time has microseconds.
pub(crate) fn instant(now: Time) -> Instant {
    Instant::from_micros(i64::try_from(now.as_ns() / 1_000).unwrap_or(i64::MAX))
}

/// The device under the stack: two queues.
#[derive(Debug, Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
    mtu: usize,
}

struct Arrival(Vec<u8>);
struct Departure<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Arrival {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Departure<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Arrival;
    type TxToken<'a> = Departure<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Arrival, Departure<'_>)> {
        let frame = self.incoming.pop_front()?;
        Some((Arrival(frame), Departure(&mut self.outgoing)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Departure<'_>> {
        Some(Departure(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + ETHERNET_LEN;
        capabilities
    }
}
