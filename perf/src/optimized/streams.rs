//! A pair that carries streams one way.
//!
//! In: what the pair is like. Out: bytes delivered and as they should be, ticks. Never: a figure of
//! bytes that differ from those that were sent.

use std::sync::Arc;

use dataplane::pipeline::placement::StageKind;
use dataplane_sim::pair::Site;
use dpdk_wrapper::{Eal, Mempool};

use super::frame::MbufSource;
use super::host::{Host, Pattern};
use super::pair::{Kind, Pair, Place};

/// Frames that wait at a LAN port, at most: the host sends no faster than they are taken.
const LAN_QUEUE: usize = 64;
/// Turns in which bytes that were sent should have come.
const TURNS_MAX: usize = 500_000;

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Bytes that the far host has received, in order and as they should be.
    pub(super) bytes: u64,
    /// Frames with data of the near host.
    pub(super) frames: u64,
    /// Segments that were not as they should be.
    pub(super) wrong: u64,
    /// Times that the near host had to go back to what was acknowledged.
    pub(super) again: u64,
    /// Ticks by appliance and stage.
    pub(super) ticks: [[u64; StageKind::ALL.len()]; 2],
    /// Ticks of hosts and cables.
    pub(super) hosts_ticks: u64,
}

impl Totals {
    /// Ticks of both appliances.
    pub(super) fn product_ticks(&self) -> u64 {
        self.ticks.iter().flatten().sum()
    }

    /// What happened since `before`.
    pub(super) fn since(&self, before: &Totals) -> Totals {
        let mut since = *self;
        since.bytes -= before.bytes;
        since.frames -= before.frames;
        since.wrong -= before.wrong;
        since.again -= before.again;
        since.hosts_ticks -= before.hosts_ticks;
        for (ticks, before) in since.ticks.iter_mut().flatten().zip(before.ticks.iter().flatten()) {
            *ticks -= before;
        }
        since
    }
}

/// A pair whose connections are open.
pub(super) struct Streams {
    pub(super) pair: Pair<Host>,
}

impl Streams {
    /// A pair with all connections open; hosts send frames with `payload` bytes.
    ///
    /// # Errors
    /// What did not come about.
    pub(super) fn new(
        eal: &Eal,
        pool: &Mempool,
        kind: Kind,
        payload: usize,
        pattern: Pattern,
    ) -> Result<Self, String> {
        let (source, pattern) = (MbufSource(pool.clone()), Arc::new(pattern));
        let hosts = Site::BOTH.map(|site| {
            let place = Place::new(site, &source);
            Host::new(place, kind.connections, Arc::clone(&pattern), payload)
        });
        let mut pair = Pair::new(eal, &source, kind, hosts)?;
        for site in Site::BOTH {
            let asked = pair.hosts()[site.index()].ask();
            pair.send(site, asked);
        }
        for index in 0..kind.connections {
            let syn = pair.hosts()[0].connect(index);
            pair.send(Site::A, syn);
            pair.turn(0);
        }
        let mut turns = 0;
        while !pair.hosts().iter().all(|host| host.is_connected()) {
            pair.turn(0);
            turns += 1;
            if turns > TURNS_MAX {
                return Err("never: all connections are open".to_owned());
            }
        }
        Ok(Streams { pair })
    }

    /// Runs until so many bytes more have arrived; false when they do not.
    pub(super) fn carry(&mut self, bytes: u64) -> bool {
        let until = self.pair.hosts()[1].received + bytes;
        for _ in 0..TURNS_MAX {
            if self.pair.hosts()[1].received >= until {
                return true;
            }
            self.pair.turn(LAN_QUEUE);
        }
        false
    }

    /// What has happened so far.
    pub(super) fn totals(&mut self) -> Totals {
        let (ticks, hosts_ticks) = (self.pair.ticks(), self.pair.hosts_ticks());
        let [near, far] = self.pair.hosts();
        Totals {
            bytes: far.received,
            frames: near.data_frames,
            wrong: far.wrong,
            again: near.again,
            ticks,
            hosts_ticks,
        }
    }
}
