//! Two connections, each the other's host, over a channel with faults, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::support::{
    Event, Random, Recorder, TestConnection, Wire, numbers, pool, receive, rest_and_wake, slice_of,
};
use crate::edge::tcp::{Connection, Finished, Flags, State, TcpConfig, TimeWait};
use crate::frame::heap::HeapSource;
use crate::packet_driver::BufferPool;
use crate::time::{MICROSECOND_NS, SECOND_NS, Time};

/// What the channel does to segments, per direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) delay_us: u64,
    pub(super) loss_per_mille: u64,
    pub(super) duplicate_per_mille: u64,
    pub(super) reorder_per_mille: u64,
    /// How much later a reordered segment is.
    pub(super) reorder_us: u64,
    /// Time on the wire per byte, in picoseconds; 0: none.
    pub(super) byte_ps: u64,
}

impl Faults {
    pub(super) const NONE: Faults = Faults {
        delay_us: 100,
        loss_per_mille: 0,
        duplicate_per_mille: 0,
        reorder_per_mille: 0,
        reorder_us: 0,
        byte_ps: 0,
    };
}

/// One end: a connection, its application, and what it has seen.
pub(super) struct End {
    pub(super) connection: Option<TestConnection>,
    pub(super) recorder: Recorder,
    pub(super) received: Vec<u8>,
    pub(super) to_send: Vec<u8>,
    pub(super) sent: usize,
    pub(super) fin_after_send: bool,
    fin_given: bool,
    pub(super) fin_received: Option<u64>,
    pub(super) fin_acknowledged: bool,
    pub(super) established: bool,
    pub(super) failed: Option<Event>,
    pub(super) time_wait: Option<TimeWait>,
    /// Bytes the application leaves unread before it stops the window.
    pub(super) window: u64,
    pub(super) reading: bool,
    /// Stream offset at which the test begins, both ways.
    pub(super) base: u64,
    busy_until: Time,
    /// How often the connection was at rest.
    pub(super) rested: u32,
}

impl End {
    fn new(connection: Option<TestConnection>) -> Self {
        End {
            connection,
            recorder: Recorder::default(),
            received: Vec::new(),
            to_send: Vec::new(),
            sent: 0,
            fin_after_send: true,
            fin_given: false,
            fin_received: None,
            fin_acknowledged: false,
            established: false,
            failed: None,
            time_wait: None,
            window: 1 << 20,
            reading: true,
            base: 0,
            busy_until: Time::ZERO,
            rested: 0,
        }
    }

    pub(super) fn state(&self) -> State {
        match (&self.connection, self.time_wait) {
            (Some(connection), _) => connection.state(),
            (None, Some(_)) => State::TimeWait,
            (None, None) => State::Closed,
        }
    }
}

/// When, in which order, at which end, and what.
type Arrival = (Time, u64, usize, Vec<u8>);

/// The pair and the channel between them.
pub(super) struct Channel {
    pub(super) now: Time,
    pub(super) ends: [End; 2],
    pub(super) faults: [Faults; 2],
    pub(super) random: Random,
    pub(super) frames: HeapSource,
    pub(super) buffers: BufferPool,
    on_the_way: BinaryHeap<Reverse<Arrival>>,
    count: u64,
    pub(super) lost: u64,
    /// When the latest byte was handed up, at either end.
    pub(super) last_byte_at: Time,
    config: Arc<TcpConfig>,
    initial: [u32; 2],
}

impl Channel {
    /// An active end 0 and, once its SYN arrives, a passive end 1.
    pub(super) fn new(
        seed: u64,
        faults: Faults,
        initial: [u32; 2],
        config: Arc<TcpConfig>,
    ) -> Self {
        let active = Connection::connect(Time::from_ns(1), &config, numbers(initial[0]));
        Channel {
            now: Time::from_ns(1),
            ends: [End::new(Some(active)), End::new(None)],
            faults: [faults; 2],
            random: Random::new(seed),
            frames: HeapSource::new(8192),
            buffers: pool(256),
            on_the_way: BinaryHeap::new(),
            count: 0,
            lost: 0,
            last_byte_at: Time::ZERO,
            config,
            initial,
        }
    }

    /// Runs until `done` or the virtual time is over; true when done.
    pub(super) fn run(&mut self, until: Time, mut done: impl FnMut(&Channel) -> bool) -> bool {
        loop {
            for end in 0..2 {
                self.service(end);
            }
            if done(self) {
                return true;
            }
            let arrival = self.on_the_way.peek().map_or(Time::NEVER, |Reverse(first)| first.0);
            let timers = self.ends.iter().filter_map(|end| end.connection.as_ref());
            let timer = timers.map(Connection::next_timeout).min().unwrap_or(Time::NEVER);
            let next = arrival.min(timer);
            if next > until {
                self.now = until;
                return false;
            }
            self.now = self.now.max(next);
            for end in &mut self.ends {
                if let Some(connection) = &mut end.connection {
                    connection.on_timeout(self.now, &mut end.recorder);
                }
            }
            while let Some(Reverse(first)) = self.on_the_way.peek() {
                if first.0 > self.now {
                    break;
                }
                let Some(Reverse((_, _, to, bytes))) = self.on_the_way.pop() else { break };
                self.arrive(to, &bytes);
            }
        }
    }

    fn arrive(&mut self, to: usize, bytes: &[u8]) {
        let (segment, frame) = receive(&mut self.frames, bytes);
        let end = &mut self.ends[to];
        match &mut end.connection {
            Some(connection) => {
                connection.segment(self.now, &segment, frame, &mut end.recorder);
                connection.check();
            }
            None if to == 1 && end.time_wait.is_none() && segment.flags == Flags::SYN => {
                let start = numbers(self.initial[1]);
                let mut connection = Connection::accept(self.now, &self.config, &segment, start);
                connection.set_receive_limit(end.window);
                connection.answer(self.now);
                end.connection = Some(connection);
            }
            None => {
                if let Some(state) = end.time_wait.filter(|_| segment.sequence_len() > 0) {
                    let mut wire = Wire::default();
                    let answer = state.acknowledgement(self.now);
                    crate::edge::tcp::Emit::emit(
                        &mut wire,
                        &answer,
                        crate::edge::tcp::Payload::EMPTY,
                    );
                    for bytes in wire.sent {
                        self.send(to, bytes);
                    }
                }
            }
        }
    }

    /// The application of one end, then its transmission.
    fn service(&mut self, index: usize) {
        let end = &mut self.ends[index];
        let mut fins = [false; 2];
        for event in end.recorder.take() {
            match event {
                Event::Data(offset, bytes) => {
                    let expected = end.base + end.received.len() as u64;
                    assert_eq!(offset, expected, "bytes in order, each once");
                    self.last_byte_at = self.now;
                    end.received.extend_from_slice(&bytes);
                }
                Event::Established(_) => end.established = true,
                Event::Asked => {}
                Event::Fin(offset) => {
                    assert_eq!(offset, end.base + end.received.len() as u64, "no early end");
                    end.fin_received = Some(offset);
                    fins[0] = true;
                }
                Event::FinAcknowledged(_) => end.fin_acknowledged = true,
                Event::Acknowledged(_) => {}
                Event::Refused(_) | Event::Reset(_) => end.failed = Some(event),
            }
        }
        let Some(connection) = &mut end.connection else { return };
        if end.reading {
            connection.set_receive_limit(end.base + end.received.len() as u64 + end.window);
        }
        // The far host takes the FIN at once: what this test bridges to is not the subject.
        if fins[0] {
            connection.fin_acknowledged();
        }
        while end.sent < end.to_send.len() && connection.unread_bytes() < 1 << 20 {
            let len = self.random.up_to(20_000).min(end.to_send.len() - end.sent);
            let slice = slice_of(&self.buffers, &end.to_send[end.sent..end.sent + len]);
            connection.grant(end.base + (end.sent + len) as u64);
            connection.deliver(end.base + end.sent as u64, slice).expect("within the grant");
            end.sent += len;
        }
        if end.fin_after_send && !end.fin_given && end.sent == end.to_send.len() {
            connection.deliver_fin(end.base + end.sent as u64).expect("the end");
            end.fin_given = true;
        }
        let mut wire = Wire::default();
        let _ = connection.transmit(self.now, &mut wire);
        connection.check();
        end.rested += u32::from(rest_and_wake(connection, self.now));
        connection.check();
        match connection.finished() {
            Some(Finished::TimeWait(state)) => {
                end.time_wait = Some(state);
                end.connection = None;
            }
            Some(Finished::Closed) => end.connection = None,
            None => {}
        }
        for bytes in wire.sent {
            self.send(index, bytes);
        }
    }

    fn send(&mut self, from: usize, bytes: Vec<u8>) {
        let faults = self.faults[from];
        let serialised_ns = (bytes.len() as u64 + 40) * faults.byte_ps / 1000;
        let end = &mut self.ends[from];
        end.busy_until = end.busy_until.max(self.now) + serialised_ns;
        let leaves = end.busy_until;
        if self.random.chance(faults.loss_per_mille) {
            self.lost += 1;
            return;
        }
        let copies = 1 + u64::from(self.random.chance(faults.duplicate_per_mille));
        for _ in 0..copies {
            let mut at = leaves + faults.delay_us * MICROSECOND_NS;
            if self.random.chance(faults.reorder_per_mille) {
                at = at + self.random.below(faults.reorder_us.max(1)) * MICROSECOND_NS;
            }
            self.count += 1;
            self.on_the_way.push(Reverse((at, self.count, 1 - from, bytes.clone())));
        }
    }

    /// Both streams are whole and both connections gone without a reset.
    pub(super) fn closed(&self) -> bool {
        self.ends.iter().all(|end| end.connection.is_none() && end.fin_acknowledged)
    }

    /// Runs to the end of both streams and checks that nothing differs or is left over.
    pub(super) fn finish(&mut self) {
        let until = self.now + 600 * SECOND_NS;
        let done = self.run(until, |channel| {
            channel.closed() || channel.ends.iter().any(|end| end.failed.is_some())
        });
        let states = [self.ends[0].state(), self.ends[1].state()];
        for end in &self.ends {
            assert_eq!(end.failed, None, "states {states:?} at {:?}", self.now);
        }
        assert!(done, "states {states:?} at {:?}", self.now);
        assert!(self.ends[0].established);
        for (from, to) in [(0, 1), (1, 0)] {
            assert!(self.ends[from].to_send == self.ends[to].received, "the stream of end {from}");
        }
        self.on_the_way.clear();
        assert_eq!(self.frames.in_use(), 0, "frames leaked");
        assert_eq!(self.buffers.in_use_bytes(), 0, "buffers leaked");
    }
}

/// Bytes that show where they are from.
pub(super) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
