//! Anything a host could send, in any state, with anything the far side could do: nothing panics,
//! and what must always hold does.

use super::support::{Event, Random, Wire, receive, rest_and_wake, slice_of};
use super::table::*;
use crate::edge::tcp::{
    DeliverError, Disposition, Emit, Flags, Options, SackBlock, SackBlocks, Segment, State,
    TcpConfig, Timestamps,
};
use crate::time::Time;

fn start(random: &mut Random) -> Case {
    match random.below(14) {
        0 => Case::held(),
        1 => Case::syn_sent(),
        2 => Case::syn_received(),
        3 => Case::fin_wait_1(),
        4 => Case::fin_wait_2(),
        5 => Case::fin_held(),
        6 => Case::close_wait(),
        7 => Case::last_ack(),
        8 => Case::closing(),
        9 => Case::established_without_sack(),
        10 => {
            let options = Options {
                timestamps: Some(Timestamps { value: 10, echo: 0 }),
                window_scale: Some(7),
                ..syn_options()
            };
            let mut case = Case::held_with(TcpConfig::for_mtu(1500, true), options);
            case.connection.answer(case.now);
            case.output();
            case
        }
        11 => Case::in_flight(1 + u32::try_from(random.below(8)).unwrap()),
        _ => Case::established(),
    }
}

/// A number that is often close to where something happens.
fn number(random: &mut Random, base: u32) -> u32 {
    let offset = match random.below(8) {
        0 => random.next() >> 32,
        1 => random.below(4),
        2 => random.below(20_000),
        3 => 0u64.wrapping_sub(random.below(20_000)),
        4 => (1 << 31) - 2 + random.below(4),
        _ => random.below(10) * 1000 + random.below(3),
    };
    base.wrapping_add(u32::try_from(offset & 0xffff_ffff).unwrap())
}

fn segment(random: &mut Random) -> (Segment, Vec<u8>) {
    let mut options = Options::default();
    if random.chance(300) {
        let value = number(random, 10);
        options.timestamps = Some(Timestamps { value, echo: number(random, 77_000) });
    }
    if random.chance(100) {
        options.mss = Some(u16::try_from(random.below(65_536)).unwrap());
        options.window_scale = Some(u8::try_from(random.below(15)).unwrap());
    }
    if random.chance(300) {
        let mut sack = SackBlocks::default();
        for _ in 0..random.below(4) {
            let block = SackBlock { start: number(random, US), end: number(random, US) };
            sack.push(block);
        }
        if options.mss.is_none() {
            options.sack = sack;
        }
    }
    let bits = if random.chance(700) { 0x10 } else { u8::try_from(random.below(256)).unwrap() };
    let rare = if random.chance(30) { u8::try_from(random.below(256)).unwrap() } else { 0 };
    let len = if random.chance(500) { 0 } else { random.up_to(1400) };
    let segment = Segment {
        seq: number(random, HOST),
        ack: number(random, US),
        flags: Flags(bits | rare),
        window: if random.chance(200) { 0 } else { u16::try_from(random.below(65_536)).unwrap() },
        urgent: u16::try_from(random.below(65_536)).unwrap(),
        options,
        ..Segment::default()
    };
    (segment, vec![0xcd; len])
}

struct Run {
    case: Case,
    received: u64,
    acknowledged: u64,
    fin: Option<u64>,
    over: bool,
    limit: u64,
    offered: u64,
    rested: u64,
    run_bytes_max: u32,
    runs: usize,
    sent: Vec<Vec<u8>>,
}

impl Run {
    fn step(&mut self, random: &mut Random) {
        let case = &mut self.case;
        match random.below(12) {
            0 => case.connection.answer(case.now),
            1 => {
                let n = random.below(5000);
                case.connection.grant(self.offered + n);
                let at = random.below(self.offered + n + 1);
                let bytes = vec![1; random.up_to(3000)];
                let slice = slice_of(&case.buffers, &bytes);
                if case.connection.deliver(at, slice) == Ok(()) {
                    self.offered = self.offered.max(at + bytes.len() as u64);
                }
            }
            2 if random.chance(100) => {
                let end = random.below(self.offered + 10);
                let result = case.connection.deliver_fin(end);
                assert!(matches!(result, Ok(()) | Err(DeliverError::BeyondEnd)));
            }
            3 if random.chance(300) => case.connection.fin_acknowledged(),
            4 if random.chance(300) => case.connection.fin_stored(),
            5 => {
                self.limit += random.below(4000);
                case.connection.set_receive_limit(self.limit);
            }
            6 if random.chance(10) => case.connection.reset(case.now),
            7 if random.chance(50) => {
                let mss = u16::try_from(random.below(1600)).unwrap();
                case.connection.reduce_mss(mss);
            }
            8 => {
                let magnitude = random.below(38);
                let wait_ns = random.below(1 << magnitude);
                case.now = case.now + wait_ns;
                if case.connection.next_timeout() <= case.now {
                    case.connection.on_timeout(case.now, &mut case.up);
                }
            }
            _ => {
                let (header, payload) = segment(random);
                let mut bytes = vec![0; 60];
                let len = header.emit(1, 2, &mut bytes).unwrap();
                bytes.truncate(len);
                bytes.extend_from_slice(&payload);
                let (segment, frame) = receive(&mut case.frames, &bytes);
                let before = case.connection.state();
                let got = case.connection.segment(case.now, &segment, frame, &mut case.up);
                if before == State::Closed {
                    assert_eq!(got, Disposition::Closed);
                }
            }
        }
        case.connection.check();
        self.transmit(random);
        self.check_events();
    }

    fn transmit(&mut self, random: &mut Random) {
        let case = &mut self.case;
        let room = if random.chance(100) { random.below(3) } else { 1000 };
        let mut wire = Wire {
            room: usize::try_from(room).unwrap(),
            run_bytes_max: self.run_bytes_max,
            ..Wire::default()
        };
        let _ = case.connection.transmit(case.now, &mut wire);
        case.connection.check();
        assert!(wire.sent.len() < 1000, "one transmission is bounded");
        for bytes in &wire.sent {
            assert!(bytes.len() <= 20 + 1460, "fits the MTU: {}", bytes.len());
        }
        let next = case.connection.next_timeout();
        assert!(next > case.now || next == Time::NEVER || room < 1000, "no timer spins");
        self.rested += u64::from(rest_and_wake(&mut case.connection, case.now));
        self.runs += wire.runs;
        self.sent.append(&mut wire.sent);
        self.case.connection.check();
    }

    fn check_events(&mut self) {
        for event in self.case.up.take() {
            assert!(!self.over, "nothing after the end: {event:?}");
            match event {
                Event::Data(offset, bytes) => {
                    assert_eq!(offset, self.received, "in order, each once");
                    self.received += bytes.len() as u64;
                    assert!(self.received <= self.limit, "within the limit");
                    assert_eq!(self.fin, None, "nothing behind the end");
                }
                Event::Fin(offset) => {
                    assert_eq!(offset, self.received);
                    assert_eq!(self.fin.replace(offset), None, "one end");
                }
                Event::Acknowledged(offset) => {
                    assert!(offset >= self.acknowledged && offset <= self.offered);
                    self.acknowledged = offset;
                }
                Event::Reset(_) | Event::Refused(_) => self.over = true,
                Event::Established(_) | Event::FinAcknowledged(_) | Event::Asked => {}
            }
        }
        let over = matches!(self.case.connection.state(), State::Closed | State::Resetting);
        assert!(!self.over || over);
    }
}

/// What a connection sends, and how often it was at rest, with everything that the seed says.
fn run(seed: u64, run_bytes_max: u32) -> Run {
    let mut random = Random::new(seed);
    let mut case = start(&mut random);
    case.up.take();
    let unread = case.connection.unread_bytes();
    let fin = matches!(case.connection.state(), State::CloseWait | State::LastAck | State::Closing);
    let limit = LIMIT;
    let mut run = Run {
        received: case.connection.received_offset(),
        acknowledged: case.connection.acknowledged_offset(),
        // These have told of the host's FIN already.
        fin: fin.then_some(0),
        over: false,
        limit,
        offered: unread,
        rested: 0,
        run_bytes_max,
        runs: 0,
        sent: Vec::new(),
        case,
    };
    for step in 0..200 {
        if std::env::var_os("TPO_SHOW_STEPS").is_some() {
            println!("seed {seed} step {step} {:?}", run.case.connection.state());
        }
        run.step(&mut random);
    }
    run.case.connection.abandon();
    run
}

#[test]
fn no_host_and_no_peer_breaks_an_invariant() {
    let (mut rested, mut runs) = (0, 0);
    for seed in 1..=1500 {
        let alone = run(seed, 0);
        rested += alone.rested;
        let in_runs = run(seed, 5_000);
        assert!(alone.sent == in_runs.sent, "seed {seed}: runs are other segments");
        runs += in_runs.runs;
        for Run { case, .. } in [alone, in_runs] {
            drop(case.connection);
            assert_eq!(case.frames.in_use(), 0, "seed {seed}: frames leaked");
            assert_eq!(case.buffers.in_use_bytes(), 0, "seed {seed}: buffers leaked");
        }
    }
    assert!(runs > 10, "{runs} runs");
    assert!(rested > 100, "{rested} times at rest");
}

/// A writer that never has a frame: whatever is due stays due, without a loop.
struct NoFrames;

impl Emit for NoFrames {
    fn emit(&mut self, _: &Segment, _: crate::edge::tcp::Payload<'_>) -> bool {
        false
    }
}

#[test]
fn without_frames_nothing_is_forgotten() {
    for mut case in [Case::established(), Case::syn_sent(), Case::fin_held()] {
        case.deliver(&[1; 100]);
        for _ in 0..10 {
            let _ = case.connection.transmit(case.now, &mut NoFrames);
            case.after_ms(500);
            case.connection.check();
        }
        assert!(!case.output().is_empty());
    }
}
