//! Frames that only pass, without a device: whole turns of an appliance on one core, beside a loop
//! that writes two station addresses, as testpmd's mac mode does.
//!
//! Both have two ports of net_ring, each of which receives what it is given to send: a frame goes
//! from one to the other and back, so that both directions are busy. Before each lap, beyond the
//! clock, the frames become those of other flows. So what is left is the forwarder, the calls of
//! DPDK, and no other core.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};

use control::io::{MbufFrame, MbufSource, Offloads, PortPair, QueuePair};
use dataplane::frame::{Frame, FrameSource, Side};
use dataplane::interceptor::InterceptorCounter as Counter;
use dataplane::pipeline::appliance::{Appliance, Handles, Limits};
use dataplane::pipeline::port::{BURST_MIN, PortIo};
use dataplane::pipeline::worker::Worker;
use dataplane::time::{MICROSECOND_NS, Time};
use dataplane_sim::link::Random;
use dataplane_sim::pair::{PairConfig, Site};
use dpdk_wrapper::port::attach;
use dpdk_wrapper::{
    Burst, Eal, Mbuf, Mempool, MempoolConfig, Port, PortConfig, Queues, RxQueue, TxQueue,
};

use super::measure::Work;
use super::{Bench, MicroError};
use crate::frames::content::{Content, Way};
use crate::frames::size::Sizes;

/// Frames on their way in each direction.
const WAITING: usize = 8 * BURST_MIN;
/// Frames of one lap: each once.
const LAP: usize = 2 * WAITING;
/// Length of a frame, as with a check sequence of four bytes it is 64.
const LEN: usize = 60;
/// What a turn takes, about.
const TURN_NS: u64 = 5 * MICROSECOND_NS;
/// Frames in a pool: those on their way, and what the appliance says.
const FRAMES: u32 = 4095;
/// Entries of the flow table, at least.
const FLOWS_MIN: usize = 16_384;
/// What the baseline writes.
const STATIONS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

const NAMES: [(&str, u64); 3] =
    [("pass 1 flow", 1), ("pass 10k flows", 10_000), ("pass 1M flows", 1_000_000)];

pub(super) fn run(bench: &mut Bench) -> Result<(), MicroError> {
    for (name, flows) in NAMES {
        if !bench.wants(name) {
            continue;
        }
        let failed = |error: Box<dyn Error>| MicroError::set_up(name, error);
        let mut ours = Ours::new(bench.eal, flows).map_err(failed)?;
        let mut mac = Mac::new(bench.eal, flows).map_err(failed)?;
        bench.compare(name, LAP, &mut ours, &mut mac)?;
        ours.check().and_then(|()| mac.check()).map_err(|why| MicroError::set_up(name, why))?;
    }
    Ok(())
}

/// Two ports of net_ring, and the queues of both.
struct Rings {
    pool: Mempool,
    /// Dropped before the ports.
    queues: [(RxQueue, TxQueue); 2],
    ports: [Port; 2],
}

impl Rings {
    fn new(eal: &Eal) -> Result<Self, Box<dyn Error>> {
        // Names of devices are not used twice.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pool = Mempool::new(eal, &MempoolConfig::new(&format!("pass{number}"), FRAMES))?;
        let open = |side: u32| -> Result<_, Box<dyn Error>> {
            let ports = attach(eal, &format!("net_ring{}", 2 * number + side))?;
            let port = Port::open(eal, *ports.first().ok_or("net_ring has no port")?)?;
            let Queues { mut rx, mut tx, .. } =
                port.configure(&PortConfig::default(), std::slice::from_ref(&pool))?;
            port.start()?;
            let queues = rx.pop().zip(tx.pop()).ok_or("net_ring has no queues")?;
            Ok((port, queues))
        };
        let [(lan, lan_queues), (wan, wan_queues)] = [open(0)?, open(1)?];
        Ok(Rings { pool, queues: [lan_queues, wan_queues], ports: [lan, wan] })
    }
}

/// Numbers of frames, lap by lap, as headers. Flows begin on the LAN, one after the other; once each
/// has, they are drawn.
struct Heads {
    content: Content,
    next: [u64; 2],
}

impl Heads {
    fn new(flows: u64) -> Self {
        Heads { content: Content::new(1, flows, Sizes::Fixed(LEN)), next: [0; 2] }
    }

    /// Makes a frame the next one that comes from a side.
    fn write(&mut self, side: Side, frame: &mut [u8]) {
        let way = if side == Side::Lan { Way::Forth } else { Way::Back };
        let next = &mut self.next[side.index()];
        let head = self.content.head(way, *next);
        *next += 1;
        frame.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    }
}

struct Ours {
    heads: Heads,
    worker: Worker<MbufFrame>,
    handles: Handles,
    /// Goes on by turns: between laps there is time in which flows would have grown old.
    now: Time,
    source: MbufSource,
    io: PortPair,
    waiting: VecDeque<MbufFrame>,
    /// Frames that have to have passed, of each direction.
    passed: u64,
    _ports: [Port; 2],
}

impl Ours {
    fn new(eal: &Eal, flows: u64) -> Result<Self, Box<dyn Error>> {
        let Rings { pool, queues, ports } = Rings::new(eal)?;
        let mut source = MbufSource::new(pool);
        let room = usize::try_from(2 * flows + flows / 8)?.max(FLOWS_MIN);
        let limits = Limits { flows: room, ..Limits::default() };
        let config = PairConfig { limits, ..PairConfig::default() }.appliance(Site::A, 1);
        let mut random = Random::for_purpose(config.secret[0], config.secret[1]);
        let entropy = move |bytes: &mut [u8]| {
            random.fill(bytes);
            true
        };
        let Appliance { mut workers, handles, .. } = Appliance::new(&config, Box::new(entropy));
        let worker = workers.pop().ok_or("an appliance without a worker")?;
        let pair = queues.map(|(rx, tx)| QueuePair { rx, tx, offloads: Offloads::default() });
        let [lan, wan] = pair;
        let mut io = PortPair::new(lan, wan);
        let mut heads = Heads::new(flows);
        for side in Side::BOTH {
            let mut frames = VecDeque::new();
            for _ in 0..WAITING {
                let mut frame = source.alloc().ok_or("no frame")?;
                heads.write(side, frame.append(LEN).ok_or("no room in a frame")?);
                frames.push_back(frame);
            }
            while !frames.is_empty() {
                io.transmit(side, &mut frames);
            }
        }
        let now = Time::from_ms(1);
        let waiting = VecDeque::with_capacity(LAP);
        let mut ours =
            Ours { heads, worker, handles, now, source, io, waiting, passed: 0, _ports: ports };
        // Some of a lap are still within the appliance at its end.
        while ours.heads.next[Side::Lan.index()] < flows + LAP as u64 {
            ours.lap();
        }
        Ok(ours)
    }

    /// That each frame went the short way has no counter, but that each went on has. Takes all frames
    /// out of the ports.
    fn check(&mut self) -> Result<(), String> {
        for side in Side::BOTH {
            while {
                self.waiting.clear();
                self.io.receive(side, BURST_MIN, &mut self.waiting);
                !self.waiting.is_empty()
            } {}
        }
        let counters = self.handles.interceptor.each();
        let passed = |counter| counters.iter().map(|each| each.get(counter)).sum::<u64>();
        let found = [Counter::LanToWan, Counter::WanToLan].map(passed);
        if found == [self.passed; 2] {
            return Ok(());
        }
        Err(format!("{found:?} frames have passed, not {} each way", self.passed))
    }
}

impl Work for Ours {
    fn prepare(&mut self) {
        for side in Side::BOTH {
            loop {
                let before = self.waiting.len();
                self.io.receive(side, BURST_MIN, &mut self.waiting);
                if self.waiting.len() == before {
                    break;
                }
            }
            // What the appliance itself has to say comes back, too, and is not wanted twice.
            self.waiting.retain(|frame| frame.head().get(12..14) == Some(&[0x08, 0x00]));
            for frame in &mut self.waiting {
                self.heads.write(side, frame.head_mut());
            }
            while !self.waiting.is_empty() {
                self.io.transmit(side, &mut self.waiting);
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..WAITING / BURST_MIN {
            self.now = self.now + TURN_NS;
            self.worker.turn(self.now, &mut self.io, &mut self.source);
        }
        self.passed += WAITING as u64;
    }
}

/// Station addresses written, and nothing looked at.
struct Mac {
    heads: Heads,
    queues: [(RxQueue, TxQueue); 2],
    burst: Burst<BURST_MIN>,
    waiting: Burst<WAITING>,
    /// Frames that it should have received, and those that it has sent.
    due: usize,
    sent: usize,
    _ports: [Port; 2],
}

impl Mac {
    fn new(eal: &Eal, flows: u64) -> Result<Self, Box<dyn Error>> {
        let Rings { pool, queues, ports } = Rings::new(eal)?;
        let mut mac = Mac {
            heads: Heads::new(flows),
            queues,
            burst: Burst::new(),
            waiting: Burst::new(),
            due: 0,
            sent: 0,
            _ports: ports,
        };
        for (_, tx) in &mut mac.queues {
            for _ in 0..WAITING {
                let frame = pool.alloc_copy(&[0; LEN]).ok_or("no frame")?;
                mac.waiting.push(frame).map_err(|_| "no room in a burst")?;
            }
            tx.tx_burst(&mut mac.waiting);
        }
        Ok(mac)
    }

    /// Takes all frames out of the ports.
    fn check(&mut self) -> Result<(), String> {
        for (rx, _) in &mut self.queues {
            while rx.rx_burst(&mut self.waiting) > 0 {
                self.waiting.clear();
            }
        }
        if self.sent == self.due {
            return Ok(());
        }
        Err(format!("the baseline has sent {} frames, not {}", self.sent, self.due))
    }
}

impl Work for Mac {
    fn prepare(&mut self) {
        for (side, (rx, tx)) in Side::BOTH.into_iter().zip(&mut self.queues) {
            while rx.rx_burst(&mut self.waiting) > 0 {}
            for frame in self.waiting.iter_mut() {
                self.heads.write(side, frame.data_mut());
            }
            tx.tx_burst(&mut self.waiting);
        }
    }

    fn run(&mut self) {
        let [(lan_rx, lan_tx), (wan_rx, wan_tx)] = &mut self.queues;
        for _ in 0..WAITING / BURST_MIN {
            for (rx, tx) in [(&mut *lan_rx, &mut *wan_tx), (&mut *wan_rx, &mut *lan_tx)] {
                rx.rx_burst(&mut self.burst);
                self.burst.iter().for_each(Mbuf::prefetch);
                for frame in self.burst.iter_mut() {
                    if let Some(stations) = frame.data_mut().first_chunk_mut() {
                        *stations = STATIONS;
                    }
                }
                self.sent += tx.tx_burst(&mut self.burst);
            }
        }
        self.due += LAP;
    }
}
