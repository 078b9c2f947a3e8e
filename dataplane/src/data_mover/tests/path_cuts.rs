//! Paths whose MTU shrinks at any moment, by seed: nothing may hang.
//!
//! `TPO_SIM_SEEDS` says how many seeds are tried, `TPO_SIM_SEED` which is the first.

use super::super::congestion::Congestion;
use super::super::rng::Rng;
use super::super::{MoverCounter as C, PeerConfig};
use super::harness::{Link, MBIT, World, config};
use crate::packet_driver::BufferKind;
use crate::time::{MILLISECOND_NS, SECOND_NS};

const SEEDS: u64 = 24;
const BULK: (usize, usize) = (60_000, 65_536);
/// What the links of these tests can hold in their queues.
const QUEUE_MS: u64 = 100;
/// After a length was confirmed, nothing is asked for so long.
const CALM_MS: u64 = 500;
/// Answers that may be waited for until long datagrams stop: two until the loss is a doubt, and two
/// more if the peer, whose own long datagrams vanish with acknowledgements in them, is as slow;
/// then three sets of probes, and one more for what random loss takes of them.
const ANSWERS: u64 = 8;

/// What a run is made of.
#[derive(Debug)]
struct Draw {
    rtt_ms: u64,
    rate_bps: u64,
    auto: bool,
    loss: u64,
    fec: bool,
    sealed: bool,
    /// Which directions get narrower, and which are full of data.
    narrowed: [bool; 2],
    busy: [bool; 2],
    /// Whether there are small buffers and packets too, in both directions.
    small: bool,
}

impl Draw {
    fn new(rng: &mut Rng) -> Self {
        let mut draw = |below: u64| rng.next_u64() % below;
        let sides = |draw: u64| [draw != 2, draw != 3];
        Draw {
            rtt_ms: 20 + draw(81),
            rate_bps: [50, 200][usize::from(draw(2) == 0)] * MBIT,
            auto: draw(2) == 0,
            loss: 20_000 * draw(2),
            fec: draw(2) == 0,
            sealed: draw(4) == 0,
            narrowed: sides(draw(4)),
            busy: sides(draw(4)),
            small: draw(2) == 0,
        }
    }

    fn world(&self, seed: u64) -> World {
        let rate_bps = self.rate_bps;
        let congestion = match self.auto {
            true => Congestion::Auto { hint_bps: None, rate_bps_max: rate_bps },
            false => Congestion::Fixed { rate_bps },
        };
        let config = PeerConfig {
            congestion,
            fec: self.fec,
            sealed: self.sealed,
            segment_size_max: 1_420,
            path_mtu_raise_ns: 2 * SECOND_NS,
            ..config(rate_bps)
        };
        let link = Link {
            queue_bytes: rate_bps / 8 * QUEUE_MS / 1_000,
            ..Link::new(rate_bps, self.rtt_ms * MILLISECOND_NS / 2, self.loss)
        };
        let mut world = World::new(config, link, seed);
        for side in 0..2 {
            if self.busy[side] {
                world.source(side, BufferKind::Stream, BULK, u64::MAX);
            }
            if self.small {
                for (kind, len, every_ms) in
                    [(BufferKind::Stream, (40, 900), 3), (BufferKind::Datagram, (40, 1_300), 5)]
                {
                    world.source_every(side, kind, len, u64::MAX, every_ms * MILLISECOND_NS);
                }
            }
        }
        world
    }
}

/// A run, and what it still draws.
struct Run {
    draw: Draw,
    rng: Rng,
    world: World,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let draw = Draw::new(&mut rng);
        println!("{draw:?}");
        Run { world: draw.world(seed), draw, rng }
    }

    fn random(&mut self, from: u64, to: u64) -> u64 {
        from + self.rng.next_u64() % (to - from)
    }

    fn run_random_ms(&mut self, ms_max: u64) {
        let ms = self.random(0, ms_max);
        self.world.run_ms(ms);
    }

    /// Sides that send datagrams longer than this.
    fn too_long(&self, mtu: u64) -> Vec<usize> {
        let path_mtu = |side: usize| self.world.sides[side].session.report().path_mtu.0;
        (0..2).filter(|side| self.draw.busy[*side] && path_mtu(*side) > mtu).collect()
    }

    fn narrow(&mut self) {
        let mtu = self.random(1_280, 1_481);
        for side in (0..2).filter(|side| self.draw.narrowed[*side]) {
            self.world.sides[side].link.mtu = mtu;
        }
        let answer_ms = 2 * (self.draw.rtt_ms + QUEUE_MS) + 25;
        let bound_ms = CALM_MS + ANSWERS * answer_ms;
        let begun = self.world.now;
        let narrowed = self.draw.narrowed;
        while self.too_long(mtu).iter().any(|side| narrowed[*side]) {
            self.world.run_ms(5);
            let ms = self.world.now.since_ns(begun) / MILLISECOND_NS;
            assert!(ms < bound_ms, "still longer than {mtu} after {ms} ms");
        }
        let ms = self.world.now.since_ns(begun) / MILLISECOND_NS;
        println!("{mtu}: {ms} of {bound_ms} ms");
    }

    /// The path takes everything again; until that is found, or before.
    fn widen(&mut self) {
        self.world.links(|link| link.mtu = 0);
        let end = self.world.now + self.random(0, 6_000) * MILLISECOND_NS;
        let full = (self.world.config.datagram_len_max() + 28) as u64;
        while self.world.now < end && self.too_long(full - 1) != self.too_long(0) {
            self.world.run_ms(5);
        }
    }

    fn check_whole(&mut self) {
        self.world.sides.iter_mut().for_each(|side| side.sources.clear());
        assert!(self.world.run_until_done(20_000));
        // What was given up is told.
        self.world.run_ms(1_000);
        for side in 0..2 {
            assert!(self.world.sides[side].heard.downs.is_empty());
            assert_eq!(self.world.sides[side].heard.wrong, 0);
            let given_up = self.world.sides[1 - side].get(C::BuffersAbandoned);
            let heard = &self.world.sides[side].heard.buffers;
            assert!(heard.values().all(|count| *count == 1));
            assert!(heard.len() as u64 + given_up >= self.world.sides[1 - side].offered);
        }
        self.world.assert_clean();
    }
}

#[test]
fn long_datagrams_stop_whenever_the_path_shrinks() {
    let from_environment = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first = from_environment("TPO_SIM_SEED", 1);
    for seed in first..first + from_environment("TPO_SIM_SEEDS", SEEDS) {
        let mut run = Run::new(seed);
        // In the first search, or long after.
        run.run_random_ms([150, 2_000][usize::from(seed.is_multiple_of(2))]);
        run.narrow();
        run.run_random_ms(1_500);
        run.widen();
        // Just after it was raised, or while it is searched for.
        run.run_random_ms(300);
        run.narrow();
        run.run_random_ms(1_500);
        run.widen();
        run.check_whole();
    }
}
