//! Hosts against each other over a wire in memory, in virtual time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::rc::Rc;

use super::generator::{Generator, LoadError, Plan};
use super::link::{Link, Wire};
use super::report::Report;
use super::{Kind, Limits, NS_PER_MS, Work, packet};

const STEP_NS: u64 = 20_000;
/// Frames that a wire hands over at a time, and holds.
const BURST: usize = 32;
const ROOM: usize = 256;

type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// What happens to frames that are sent at one end.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// The data frame of which one byte is changed, and whether its checksum is mended then.
    changed: Option<(usize, bool)>,
    /// When nothing moves.
    still: (u64, u64),
    /// Longer frames are lost.
    bytes_max: Option<usize>,
}

struct Memory {
    incoming: Queue,
    link: MemoryLink,
    now: Rc<Cell<u64>>,
}

struct MemoryLink {
    outgoing: Queue,
    faults: Faults,
    data_frames: usize,
}

impl Wire for Memory {
    type Link = MemoryLink;

    fn receive(&mut self, mut take: impl FnMut(&[u8], bool, &mut MemoryLink)) -> usize {
        let (from, to) = self.link.faults.still;
        if (from..to).contains(&self.now.get()) {
            return 0;
        }
        let count = self.incoming.borrow().len().min(BURST);
        let frames: Vec<_> = self.incoming.borrow_mut().drain(..count).collect();
        frames.iter().for_each(|frame| take(frame, false, &mut self.link));
        count
    }

    fn link(&mut self) -> &mut MemoryLink {
        &mut self.link
    }

    fn flush(&mut self) -> usize {
        0
    }
}

impl Link for MemoryLink {
    fn has_room(&self) -> bool {
        self.outgoing.borrow().len() < ROOM
    }

    fn emit<R>(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        packet::fill_checksums(&mut frame);
        if len > 200 {
            self.data_frames += 1;
            if let Some((_, mended)) =
                self.faults.changed.filter(|(number, _)| *number == self.data_frames)
            {
                frame[150] ^= 1;
                if mended {
                    packet::fill_checksums(&mut frame);
                }
            }
        }
        if self.faults.bytes_max.is_none_or(|most| len <= most) {
            self.outgoing.borrow_mut().push_back(frame);
        }
        result
    }
}

fn pair(faults: Faults, now: &Rc<Cell<u64>>) -> [Memory; 2] {
    let [there, back] = [(); 2].map(|()| Queue::default());
    let wire = |incoming: &Queue, outgoing: &Queue| Memory {
        incoming: Rc::clone(incoming),
        link: MemoryLink { outgoing: Rc::clone(outgoing), faults, data_frames: 0 },
        now: Rc::clone(now),
    };
    [wire(&back, &there), wire(&there, &back)]
}

const WORK: Work = Work {
    kind: Kind::Bulk,
    connections: 3,
    rate: 0,
    request_bytes: 100,
    answer_bytes: 5_000,
    text: false,
};
const LIMITS: Limits = Limits { mtu: 1500, large: None, buffer_bytes: 32 << 10 };

fn run_with(work: Work, limits: Limits, faults: Faults, step_ns: u64) -> Result<Report, LoadError> {
    let now = Rc::new(Cell::new(1));
    let mut generator = Generator::new(pair(faults, &now), work, limits)?;
    let plan = Plan { warm_up_ns: 20 * NS_PER_MS, measured_ns: 200 * NS_PER_MS };
    let mut clock = || {
        now.set(now.get() + step_ns);
        now.get()
    };
    let mut said = Vec::new();
    let report = generator.run(plan, &mut clock, &mut |word| said.push(word.to_owned()))?;
    assert_eq!(said, ["measuring", "measured"]);
    Ok(report)
}

fn run(work: Work, faults: Faults) -> Report {
    run_with(work, LIMITS, faults, STEP_NS).expect("it comes to its end")
}

/// Nothing went wrong, and nothing is left.
fn check(report: &Report) {
    let found = report.connections;
    assert_eq!(found.closed, found.opened);
    let bad = [found.refused, found.resets, found.missing_bytes, found.wrong, found.strays];
    assert_eq!((bad, found.left), ([0; 5], 0), "{report:?}");
}

#[test]
fn streams_arrive_whole_and_their_connections_end() {
    for text in [false, true] {
        let report = run(Work { text, ..WORK }, Faults::default());
        check(&report);
        assert_eq!(report.connections.opened, 3);
        assert!(report.bytes > 1 << 20, "{report:?}");
        assert_eq!(report.frame_bytes_max[1], 1514);
    }
}

#[test]
fn large_segments_are_handed_over_whole() {
    let limits = Limits { large: NonZeroU16::new(32_768), buffer_bytes: 256 << 10, ..LIMITS };
    let report = run_with(WORK, limits, Faults::default(), STEP_NS).expect("it comes to its end");
    check(&report);
    assert_eq!(report.frame_bytes_max[1], 32_768 + packet::ETHERNET);
}

#[test]
fn a_byte_that_differs_is_noticed_where_no_checksum_says_so() {
    let report = run(WORK, Faults { changed: Some((40, true)), ..Faults::default() });
    assert_eq!(report.connections.damaged, 0);
    assert_eq!(report.connections.wrong, 1, "{report:?}");
}

#[test]
fn a_damaged_frame_is_none_and_its_bytes_are_sent_again() {
    let report = run(WORK, Faults { changed: Some((40, false)), ..Faults::default() });
    check(&report);
    assert!(report.connections.damaged >= 1, "{report:?}");
}

#[test]
fn requests_are_answered_at_the_rate_that_is_meant() {
    for connections in [1, 100] {
        let work = Work { kind: Kind::Request, rate: 2_000, connections, ..WORK };
        let report = run(work, Faults::default());
        check(&report);
        assert_eq!((report.due, report.answered), (400, 400), "{report:?}");
        assert!(report.delay_us.iter().all(|(_, us)| *us < 1_000.0), "{report:?}");
    }
}

/// What is due while nothing moves waits, on as few connections as there are, and each of them counts
/// from when it was meant to begin.
#[test]
fn what_is_late_counts_from_when_it_was_meant_to_begin() {
    let still = (100 * NS_PER_MS, 150 * NS_PER_MS);
    let work = Work { kind: Kind::Request, rate: 10_000, connections: 5, ..WORK };
    let report = run(work, Faults { still, ..Faults::default() });
    check(&report);
    assert_eq!((report.due, report.answered), (2_000, 2_000), "{report:?}");
    // Of 200 ms a quarter stood still: those that were due in it waited up to 50 ms, evenly.
    let at = |percentile| report.delay_us.iter().find(|(each, _)| *each == percentile).unwrap().1;
    assert!(at(75.0) < 5_000.0, "{report:?}");
    assert!((28_000.0..36_000.0).contains(&at(90.0)), "{report:?}");
    assert!((45_000.0..56_000.0).contains(&at(99.0)), "{report:?}");
}

#[test]
fn connections_come_and_go() {
    for rate in [0, 5_000] {
        let work = Work { kind: Kind::Connect, rate, connections: 20, ..WORK };
        let report = run(work, Faults::default());
        check(&report);
        assert!(report.connections.opened > 500, "{report:?}");
        assert_eq!(report.due, report.answered);
        if rate > 0 {
            assert_eq!(report.due, rate / 5);
        }
        assert_eq!(report.opening_us.len(), report.delay_us.len());
    }
}

#[test]
fn what_cannot_be_reached_is_said() {
    let lost = |bytes_max| Faults { bytes_max: Some(bytes_max), ..Faults::default() };
    let run = |work, faults| run_with(work, LIMITS, faults, NS_PER_MS).unwrap_err();
    assert_eq!(run(WORK, lost(0)), LoadError::NoNeighbour("clients"));
    let error = run(WORK, lost(packet::ARP_FRAME));
    assert_eq!(error, LoadError::NotOpen { open: 0, wanted: 3, refused: 0 });
    let many = Work { connections: 1_000_000, ..WORK };
    assert_eq!(run(many, Faults::default()), LoadError::TooMany(1_000_000));
}
