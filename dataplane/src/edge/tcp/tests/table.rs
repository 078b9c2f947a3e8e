//! The state table: a connection in a given state, packets in, packets and events out.

use std::sync::Arc;

use super::support::{
    Event, Recorder, TestConnection, Wire, config, numbers, pool, receive, slice_of,
};
use crate::edge::tcp::segment::HEADER_LEN_MAX;
use crate::edge::tcp::{
    Connection, Disposition, Flags, Options, SackBlock, SackBlocks, Segment, State, TcpConfig,
    Transmitted,
};
use crate::frame::heap::HeapSource;
use crate::packet_driver::BufferPool;
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

pub(super) const SYN: Flags = Flags::SYN;
pub(super) const ACK: Flags = Flags::ACK;
pub(super) const RST: Flags = Flags::RST;
pub(super) const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
pub(super) const RST_ACK: Flags = Flags(Flags::RST.0 | Flags::ACK.0);
pub(super) const FIN_ACK: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);
pub(super) const PSH_ACK: Flags = Flags(Flags::PSH.0 | Flags::ACK.0);

/// Our initial sequence number, and the host's.
pub(super) const US: u32 = 5000;
pub(super) const HOST: u32 = 1000;
/// What may be received at first, and the window the host offers.
pub(super) const LIMIT: u64 = 10_000;
pub(super) const WINDOW: u16 = 8000;
/// Payload of a full segment in these tests.
pub(super) const MSS: u16 = 1000;

/// A segment with its payload, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: Flags,
    pub(super) window: u16,
    pub(super) options: Options,
    pub(super) payload: Vec<u8>,
}

/// A packet from the host. Numbers count from the initial ones: the first byte is 1.
pub(super) fn host(seq: u32, ack: u32, flags: Flags) -> Packet {
    Packet {
        seq: HOST.wrapping_add(seq),
        ack: if flags.has(ACK) { US.wrapping_add(ack) } else { 0 },
        flags,
        window: WINDOW,
        options: Options::default(),
        payload: Vec::new(),
    }
}

/// A packet of ours, likewise; its window is what is left of [`LIMIT`].
pub(super) fn us(seq: u32, ack: u32, flags: Flags) -> Packet {
    Packet {
        seq: US.wrapping_add(seq),
        ack: if flags.has(ACK) { HOST.wrapping_add(ack) } else { 0 },
        flags,
        window: u16::try_from((LIMIT + 1).saturating_sub(u64::from(ack))).unwrap(),
        options: Options::default(),
        payload: Vec::new(),
    }
}

impl Packet {
    pub(super) fn with(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(super) fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    pub(super) fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// SACK blocks of our segments (from the host) as numbers counting from ours.
    pub(super) fn sack(self, blocks: &[(u32, u32)]) -> Self {
        self.sack_from(US, blocks)
    }

    /// SACK blocks of the host's segments.
    pub(super) fn sack_host(self, blocks: &[(u32, u32)]) -> Self {
        self.sack_from(HOST, blocks)
    }

    fn sack_from(mut self, initial: u32, blocks: &[(u32, u32)]) -> Self {
        let mut sack = SackBlocks::default();
        for &(start, end) in blocks {
            let start = initial.wrapping_add(start);
            assert!(sack.push(SackBlock { start, end: initial.wrapping_add(end) }));
        }
        self.options.sack = sack;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let segment = Segment {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            options: self.options,
            ..Segment::default()
        };
        let mut bytes = vec![0; HEADER_LEN_MAX];
        let len = segment.emit(1, 2, &mut bytes).unwrap();
        bytes.truncate(len);
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// A connection under test.
pub(super) struct Case {
    pub(super) connection: TestConnection,
    pub(super) up: Recorder,
    pub(super) frames: HeapSource,
    pub(super) buffers: BufferPool,
    pub(super) now: Time,
    delivered: u64,
}

/// Options of a plain SYN: no scaling, no timestamps.
pub(super) fn syn_options() -> Options {
    Options { mss: Some(MSS), sack_permitted: true, ..Options::default() }
}

pub(super) fn plain_config() -> TcpConfig {
    TcpConfig { timestamps: false, ..(*config()).clone() }
}

impl Case {
    fn new(connection: TestConnection, now: Time) -> Self {
        Case {
            connection,
            up: Recorder::default(),
            frames: HeapSource::new(64),
            buffers: pool(64),
            now,
            delivered: 0,
        }
    }

    /// The host's SYN has come and waits.
    pub(super) fn held_with(config: TcpConfig, options: Options) -> Self {
        let now = Time::from_ms(1);
        let syn = host(0, 0, SYN).options(options).bytes();
        let mut frames = HeapSource::new(1);
        let (segment, _) = receive(&mut frames, &syn);
        let mut connection = Connection::accept(now, &Arc::new(config), &segment, numbers(US));
        connection.set_receive_limit(LIMIT);
        Case::new(connection, now)
    }

    pub(super) fn held() -> Self {
        Case::held_with(plain_config(), syn_options())
    }

    /// Our SYN-ACK is out.
    pub(super) fn syn_received() -> Self {
        let mut case = Case::held();
        case.connection.answer(case.now);
        case.output();
        case.is(State::SynReceived);
        case
    }

    /// Our SYN is out.
    pub(super) fn syn_sent_with(config: TcpConfig) -> Self {
        let now = Time::from_ms(1);
        let mut connection = Connection::connect(now, &Arc::new(config), numbers(US));
        connection.set_receive_limit(LIMIT);
        let mut case = Case::new(connection, now);
        case.output();
        case.is(State::SynSent);
        case
    }

    pub(super) fn syn_sent() -> Self {
        Case::syn_sent_with(plain_config())
    }

    pub(super) fn established_with(config: TcpConfig, options: Options) -> Self {
        let mut case = Case::held_with(config, options);
        case.connection.answer(case.now);
        case.output();
        case.after_ms(1);
        case.takes(&host(1, 1, ACK), Disposition::Taken);
        case.says(&[]);
        case.sends(&[]);
        case.is(State::Established);
        case
    }

    /// The host has connected.
    pub(super) fn established() -> Self {
        Case::established_with(plain_config(), syn_options())
    }

    /// The host has connected, and has no SACK.
    pub(super) fn established_without_sack() -> Self {
        let options = Options { sack_permitted: false, ..syn_options() };
        Case::established_with(plain_config(), options)
    }

    /// Our FIN is out.
    pub(super) fn fin_wait_1() -> Self {
        let mut case = Case::established();
        case.connection.deliver_fin(0).unwrap();
        case.sends(&[us(1, 1, FIN_ACK)]);
        case.is(State::FinWait1);
        case
    }

    /// Our FIN is acknowledged.
    pub(super) fn fin_wait_2() -> Self {
        let mut case = Case::fin_wait_1();
        case.takes(&host(1, 2, ACK), Disposition::Taken);
        case.says(&[Event::Acknowledged(0), Event::FinAcknowledged(0)]);
        case.is(State::FinWait2);
        case
    }

    /// The host's FIN has come, unacknowledged.
    pub(super) fn fin_held() -> Self {
        let mut case = Case::established();
        case.takes(&host(1, 1, FIN_ACK), Disposition::Taken);
        case.says(&[Event::Fin(0)]);
        case.sends(&[us(1, 1, ACK)]);
        case.is(State::Established);
        case
    }

    /// The host's FIN is acknowledged.
    pub(super) fn close_wait() -> Self {
        let mut case = Case::fin_held();
        case.connection.fin_acknowledged();
        case.sends(&[us(1, 2, ACK)]);
        case.is(State::CloseWait);
        case
    }

    /// Both FINs are out, ours last.
    pub(super) fn last_ack() -> Self {
        let mut case = Case::close_wait();
        case.connection.deliver_fin(0).unwrap();
        case.sends(&[us(1, 2, FIN_ACK)]);
        case.is(State::LastAck);
        case
    }

    /// Both FINs are out, ours unacknowledged.
    pub(super) fn closing() -> Self {
        let mut case = Case::fin_wait_1();
        case.takes(&host(1, 1, FIN_ACK), Disposition::Taken);
        case.says(&[Event::Fin(0)]);
        case.sends(&[us(2, 1, ACK)]);
        case.connection.fin_acknowledged();
        case.sends(&[us(2, 2, ACK)]);
        case.is(State::Closing);
        case
    }

    /// Everything is acknowledged, our FIN having been first.
    pub(super) fn time_wait() -> Self {
        let mut case = Case::closing();
        case.takes(&host(2, 2, ACK), Disposition::Taken);
        case.says(&[Event::Acknowledged(0), Event::FinAcknowledged(0)]);
        case.is(State::TimeWait);
        case
    }

    /// A packet from the host.
    pub(super) fn takes(&mut self, packet: &Packet, disposition: Disposition) {
        let (segment, frame) = receive(&mut self.frames, &packet.bytes());
        let got = self.connection.segment(self.now, &segment, frame, &mut self.up);
        assert_eq!(got, disposition, "for {packet:?}");
        self.connection.check();
    }

    /// What is sent now.
    pub(super) fn output(&mut self) -> Vec<Packet> {
        let mut wire = Wire::default();
        assert_eq!(self.connection.transmit(self.now, &mut wire), Transmitted::Done);
        self.connection.check();
        let mut frames = HeapSource::new(1);
        let packets = wire.sent.iter().map(|bytes| {
            let (segment, _) = receive(&mut frames, bytes);
            Packet {
                seq: segment.seq,
                ack: segment.ack,
                flags: segment.flags,
                window: segment.window,
                options: segment.options,
                payload: bytes[segment.header_len()..].to_vec(),
            }
        });
        packets.collect()
    }

    /// Exactly these packets are sent now.
    pub(super) fn sends(&mut self, expected: &[Packet]) {
        assert_eq!(self.output(), expected);
        assert_eq!(self.output(), [], "nothing more");
    }

    /// Exactly these events were told.
    pub(super) fn says(&mut self, expected: &[Event]) {
        assert_eq!(self.up.take(), expected);
    }

    pub(super) fn is(&self, state: State) {
        assert_eq!(self.connection.state(), state);
    }

    /// Time passes, and nothing that was due before the end of it is left undone.
    pub(super) fn after_ns(&mut self, ns: u64) {
        self.now = self.now + ns;
        if self.connection.next_timeout() <= self.now {
            self.connection.on_timeout(self.now, &mut self.up);
        }
    }

    pub(super) fn after_ms(&mut self, ms: u64) {
        self.after_ns(ms * MILLISECOND_NS);
    }

    pub(super) fn after_s(&mut self, s: u64) {
        self.after_ns(s * SECOND_NS);
    }

    /// Waits for the next timer; returns how long that took.
    pub(super) fn wait_ns(&mut self) -> u64 {
        let at = self.connection.next_timeout();
        assert_ne!(at, Time::NEVER, "a timer is armed");
        let waited_ns = at.since_ns(self.now);
        self.now = self.now.max(at);
        self.connection.on_timeout(self.now, &mut self.up);
        waited_ns
    }

    /// Waits until something is sent, and returns that.
    pub(super) fn wait_for_output(&mut self) -> Vec<Packet> {
        loop {
            let sent = self.output();
            if !sent.is_empty() {
                return sent;
            }
            self.wait_ns();
        }
    }

    /// The next bytes of the far host's stream.
    pub(super) fn deliver(&mut self, bytes: &[u8]) {
        let slice = slice_of(&self.buffers, bytes);
        self.connection.grant(self.delivered + bytes.len() as u64);
        self.connection.deliver(self.delivered, slice).unwrap();
        self.delivered += bytes.len() as u64;
    }

    /// The far host asks whether this one is still there.
    pub(super) fn ask(&mut self) {
        self.connection.ask(self.now, &mut self.up);
    }

    /// Delivers and sends so many full segments; numbers count from the first byte, 1.
    pub(super) fn in_flight(count: u32) -> Self {
        let mut case = Case::established();
        case.send_segments(count);
        case
    }

    pub(super) fn send_segments(&mut self, count: u32) {
        for _ in 0..count {
            self.deliver(&[0x55; MSS as usize]);
        }
        let sent = self.output();
        assert_eq!(sent.len(), count as usize);
        assert!(sent.iter().all(|packet| packet.payload.len() == usize::from(MSS)));
    }
}

/// Number of the first byte of the n-th full segment, counting from 0.
pub(super) fn nth(n: u32) -> u32 {
    1 + n * u32::from(MSS)
}

/// Where packets begin, counting from our initial number.
pub(super) fn starts(packets: &[Packet]) -> Vec<u32> {
    packets.iter().map(|packet| packet.seq.wrapping_sub(US)).collect()
}
