//! A second core that compresses, beside what the ticks of the stages predict of it.
//!
//! In: what the pair is like. Out: its goodput, by the clock on the wall, as a part of the
//! prediction. Never: a model of what it costs that two cores share a ring: that is what the one has
//! and the other has not.
//!
//! Measured: the near appliance's compression is a worker in a thread of its own, and everything
//! else (both appliances, hosts, cables) is on the first core. Predicted: the same pair with the
//! same workers on one core, by turns, each with its ticks; on two cores it would be as fast as the
//! one of both that takes longer for a byte.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dpdk_wrapper::eal::tsc;
use dpdk_wrapper::{Eal, Mempool};

use super::pair::{Kind, Spread};
use super::streams::Totals;
use super::{Carried, Case, Found, LAP, carried, check, of_lap, profile};
use crate::apart::Ball;
use crate::micro::{Measure, MicroError, Quartiles, Row, Work, set_up_error};

/// Bytes that fill the rings again after the other side had its turn.
const FILL: u64 = LAP as u64 / 4;

/// Measured with a compressor in another thread, which serves the ball, too.
struct TwoCores<'a>(Carried, &'a Ball);

/// What both would take, from their ticks on one core.
struct Predicted {
    carried: Carried,
    /// How much faster two cores would be than this one, lap by lap.
    gains: Vec<f64>,
}

impl Work for TwoCores<'_> {
    fn is_fair(&mut self) -> bool {
        self.1.is_fair()
    }

    fn prepare(&mut self) {
        self.0.carries &= self.0.streams.carry(FILL);
    }

    fn run(&mut self) {
        self.0.run();
    }

    fn lap(&mut self) -> u64 {
        self.prepare();
        let (before, begun) = (self.0.streams.totals().bytes, tsc());
        self.run();
        let (after, ended) = (self.0.streams.totals().bytes, tsc());
        of_lap(ended - begun, after - before)
    }
}

impl Work for Predicted {
    fn run(&mut self) {
        self.carried.run();
    }

    fn lap(&mut self) -> u64 {
        let before = self.carried.streams.totals();
        self.run();
        let since = self.carried.streams.totals().since(&before);
        let [first, second] = by_core(&since);
        let longer = first.max(second);
        self.gains.push((first + second) as f64 / longer.max(1) as f64);
        of_lap(longer, since.bytes)
    }
}

/// Ticks of what is on the first core, and of the near appliance's compression.
fn by_core(totals: &Totals) -> [u64; 2] {
    let [near, _] = &totals.ticks;
    let second = near[Spread::COMPRESSOR];
    [totals.product_ticks() - second + totals.hosts_ticks, second]
}

/// Measures one row; from here on this thread stays on the first core.
pub(super) fn row(
    eal: &Eal,
    pool: &Mempool,
    case: &Case,
    measure: &mut Measure,
) -> Result<Found, MicroError> {
    let failed = |reason: &str| set_up_error(case.spec.name, reason);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let [here, there, ..] = *cores.as_slice() else {
        return Err(failed("there is only one core"));
    };
    core_affinity::set_for_current(here);
    let kind = Kind { spread: Spread::Compressor, ..case.kind };
    let mut predicted = Predicted { carried: carried(eal, pool, case, kind)?, gains: Vec::new() };
    let ball = Ball::new(eal.tsc_hz());
    let mut ours = TwoCores(carried(eal, pool, case, kind)?, &ball);
    let mut compressor =
        ours.0.streams.pair.take_compressor().ok_or_else(|| failed("nothing compresses"))?;
    let ends = AtomicBool::new(false);
    let figures = thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(there);
            while !ends.load(Ordering::Relaxed) {
                ball.serve();
                if !compressor.turn() {
                    spin_loop();
                }
            }
        });
        let figures = measure.alternate(LAP, &mut ours, &mut predicted);
        ends.store(true, Ordering::Relaxed);
        figures
    })?;
    check(case, &mut ours.0)?;
    check(case, &mut predicted.carried)?;
    let gain = Quartiles::of(&mut predicted.gains).median;
    drop((ours, predicted));
    let row = Row { spec: case.spec, figures };
    Ok(Found { row, profile: profile(eal, pool, case)?, gbps_min: None, gain: Some(gain) })
}
