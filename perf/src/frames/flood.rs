//! Both directions at once: flows are learned, then frames are counted.
//!
//! In: both ports, what to send. Out: rates, what was lost, and how busy the generator itself was:
//! a generator that waits has a device under test that is slower than it.

use std::sync::Arc;
use std::time::Duration;

use dpdk_wrapper::{Burst, Mempool, RxQueue, TxQueue, eal};

use super::content::{Content, Way};
use super::lane::{BURST, Counts, Lane};
use super::rate::Slices;
use crate::apart::{Apart, Asker, Ball};

/// Length of a slice of the measured time.
const SLICE: Duration = Duration::from_millis(20);
/// How long frames are waited for before they count as lost.
pub(super) const LOST_AFTER: Duration = Duration::from_millis(200);

/// What the generator works with.
#[derive(Debug)]
pub struct Ports {
    /// First and second port.
    pub queues: [(RxQueue, TxQueue); 2],
    /// Empty frames, filled ([`super::content::filler`]) to the longest length.
    pub pool: Mempool,
    /// Ticks per second of the time stamp counter.
    pub hz: u64,
}

/// What came of it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Frames per second that came back, both directions together: median of slices of 20 ms.
    pub frames_per_second: f64,
    /// The rate that a tenth, and nine tenths, of the slices stay below.
    pub spread: [f64; 2],
    /// Frames sent.
    pub sent: u64,
    /// Frames that came back.
    pub received: u64,
    /// Frames compared whole.
    pub compared: u64,
    /// Of these, not as they were sent.
    pub changed: u64,
    /// Of these, behind one with a higher number.
    pub overtaken: u64,
    /// Frames that never came back.
    pub lost: u64,
    /// Part of its time that the generator had something to do.
    pub busy_share: f64,
    /// Cycles (of the time stamp counter) of the generator per frame that it sent and got back.
    pub cycles_per_frame: f64,
    /// Ticks per second of the time stamp counter.
    pub tsc_hz: u64,
    /// How far the core of the device under test was meanwhile, if that was asked.
    pub apart: Option<Apart>,
}

/// A device under test that does not forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FloodError {
    /// Nothing came back.
    #[error("nothing has come back for {0} s: does the device under test forward?")]
    Silent(u64),
}

/// Both directions.
#[derive(Debug)]
pub struct Flood {
    pub(super) lanes: [Lane; 2],
    pub(super) rx: [RxQueue; 2],
    pub(super) pool: Mempool,
    pub(super) hz: u64,
    pub(super) burst: Burst<BURST>,
}

/// What a turn moved.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    sent: u64,
    received: u64,
}

impl Flood {
    /// A generator that has sent nothing.
    #[must_use]
    pub fn new(ports: Ports, content: Content, window: u64) -> Self {
        let Ports { queues: [(rx_a, tx_a), (rx_b, tx_b)], pool, hz } = ports;
        let lane = |way, tx| Lane::new(way, content, tx, window);
        Flood {
            lanes: [lane(Way::Forth, tx_a), lane(Way::Back, tx_b)],
            rx: [rx_a, rx_b],
            pool,
            hz,
            burst: Burst::new(),
        }
    }

    /// Sends the first frame of each of the flows forth until the device under test has passed
    /// all of them.
    ///
    /// # Errors
    /// Nothing comes back for as long as `patience`.
    pub fn learn(&mut self, flows: u64, patience: Duration) -> Result<(), FloodError> {
        let (mut latest, mut waited) = (eal::tsc(), Duration::ZERO);
        while self.lanes[0].counts().received < flows {
            let moved = self.turn(&[Way::Forth]);
            let now = eal::tsc();
            if moved.received > 0 {
                (latest, waited) = (now, Duration::ZERO);
            } else if now.wrapping_sub(latest) > self.ticks(LOST_AFTER) {
                // The first ones come before the other end has its port up.
                self.lanes[0].forget_lost();
                waited += LOST_AFTER;
                latest = now;
                if waited >= patience {
                    return Err(FloodError::Silent(patience.as_secs()));
                }
            }
        }
        Ok(())
    }

    /// Sends for so long, without counting.
    pub fn warm_up(&mut self, time: Duration) {
        let end = eal::tsc() + self.ticks(time);
        while eal::tsc() < end {
            self.turn(&Way::BOTH);
        }
    }

    /// Sends for so long, and counts; `beside` is the core of the device under test, if it is to be asked
    /// how far that is.
    ///
    /// # Errors
    /// The system refused a thread there.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn measure(&mut self, time: Duration, beside: Option<usize>) -> std::io::Result<Report> {
        let ball = Arc::new(Ball::new(self.hz));
        let asker = beside.map(|core| Asker::start(Arc::clone(&ball), core)).transpose()?;
        let before = self.counts();
        let began = eal::tsc();
        let end = began + self.ticks(time);
        let mut slices = Slices::new(self.ticks(SLICE), self.hz, began);
        let (mut now, mut busy) = (began, 0);
        while now < end {
            ball.serve();
            let moved = self.turn(&Way::BOTH);
            let after = eal::tsc();
            if moved.sent + moved.received > 0 {
                busy += after - now;
            }
            now = after;
            slices.add(moved.received, now);
        }
        let received = (self.counts().received - before.received).max(1);
        let busy_share = busy as f64 / (now - began) as f64;
        self.drain();
        // Not before: nobody takes frames out of the rings while it is waited for.
        let apart = asker.map(Asker::stop);
        let after = self.counts();
        Ok(Report {
            frames_per_second: slices.quantile(0.5),
            spread: [slices.quantile(0.1), slices.quantile(0.9)],
            sent: after.sent - before.sent,
            received: after.received - before.received,
            compared: after.compared - before.compared,
            changed: after.changed - before.changed,
            overtaken: after.overtaken - before.overtaken,
            lost: self.lanes.iter().map(Lane::in_flight).sum(),
            busy_share,
            cycles_per_frame: busy as f64 / received as f64,
            tsc_hz: self.hz,
            apart,
        })
    }

    /// Waits for what is on its way.
    pub(super) fn drain(&mut self) {
        let mut latest = eal::tsc();
        while self.lanes.iter().any(|lane| lane.in_flight() > 0) {
            let now = eal::tsc();
            if self.receive() > 0 {
                latest = now;
            } else if now.wrapping_sub(latest) > self.ticks(LOST_AFTER) {
                return;
            }
        }
    }

    fn turn(&mut self, ways: &[Way]) -> Moved {
        let received = self.receive();
        let sent = ways.iter().map(|way| self.lanes[way.index()].send(&self.pool) as u64).sum();
        Moved { sent, received }
    }

    fn receive(&mut self) -> u64 {
        let mut received = 0;
        for (lane, rx) in self.lanes.iter_mut().zip(self.rx.iter_mut().rev()) {
            rx.rx_burst(&mut self.burst);
            received += lane.take(&mut self.burst) as u64;
        }
        received
    }

    pub(super) fn counts(&self) -> Counts {
        let [a, b] = [self.lanes[0].counts(), self.lanes[1].counts()];
        Counts {
            sent: a.sent + b.sent,
            received: a.received + b.received,
            compared: a.compared + b.compared,
            changed: a.changed + b.changed,
            overtaken: a.overtaken + b.overtaken,
        }
    }

    pub(super) fn ticks(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() * u128::from(self.hz) / 1_000_000_000).unwrap_or(u64::MAX)
    }
}
