//! Two ways to do the same, by turns: ours, the baseline twice, ours.
//!
//! In: both as [`Work`]. Out: how many times as fast ours is, with its spread. Never: a round in
//! which a thread lost its processor, nor a round left out for its figure.

use std::time::Duration;

use dpdk_wrapper::eal::tsc;

use super::noise::{self, Disturbance, Noise, NoiseError};

/// Something that is measured lap by lap; every lap does the same amount of work.
pub(crate) trait Work {
    /// Before each lap, beyond the clock.
    fn prepare(&mut self) {}

    /// One lap.
    fn run(&mut self);

    /// Whether the cores that it has threads on are cores of their own with a cache in common
    /// ([`crate::apart`]); asked before and after each round. Of one thread, they are.
    fn is_fair(&mut self) -> bool {
        true
    }

    /// One lap; ticks of what counts of it.
    fn lap(&mut self) -> u64 {
        self.prepare();
        let begun = tsc();
        self.run();
        tsc() - begun
    }
}

impl<F: FnMut()> Work for F {
    fn run(&mut self) {
        self();
    }
}

/// Time in which a hypervisor may move processors.
const PAUSE: Duration = Duration::from_millis(20);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Undisturbed rounds that are wanted of each bench.
    pub rounds: usize,
    /// With fewer, nothing is said.
    pub rounds_min: usize,
    /// Rounds that are tried for that.
    pub tries: usize,
    /// How often, by [`PAUSE`], cores are waited for that are not fair.
    pub waits: usize,
    /// How long one side runs at a time, in microseconds.
    pub sample_us: u64,
}

impl Plan {
    /// For figures that are published.
    pub const FULL: Plan =
        Plan { rounds: 200, rounds_min: 40, tries: 1_500, waits: 1_000, sample_us: 500 };
    /// For a look.
    pub const QUICK: Plan =
        Plan { rounds: 40, rounds_min: 10, tries: 400, waits: 500, sample_us: 300 };
}

/// The middle, and where the middle half of the values lies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quartiles {
    /// A quarter is below.
    pub low: f64,
    /// Half.
    pub median: f64,
    /// Three quarters.
    pub high: f64,
}

impl Quartiles {
    pub(crate) fn of(values: &mut [f64]) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |quarter: usize| {
            let place = values.len().saturating_sub(1) * quarter;
            let (low, part) = (place / 4, (place % 4) as f64 / 4.0);
            let value = |index| values.get(index).or(values.last()).copied().unwrap_or(f64::NAN);
            value(low) * (1.0 - part) + value(low + 1) * part
        };
        Quartiles { low: at(1), median: at(2), high: at(3) }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// How many times as fast ours is, by rounds.
    pub ratio: Quartiles,
    /// Nanoseconds per item, ours.
    pub ours_ns: f64,
    /// The same of the baseline.
    pub baseline_ns: f64,
    /// Rounds that counted.
    pub rounds: usize,
    /// Rounds left out because the kernel took the processor.
    pub switched: usize,
    /// Because the hypervisor did.
    pub stolen: usize,
    /// Because a lap had a gap.
    pub gaps: usize,
    /// Because the cores were no longer fair at its end ([`Work::is_fair`]).
    pub moved: usize,
}

/// Measures.
pub(crate) struct Measure {
    plan: Plan,
    tsc_hz: u64,
    laps: Vec<u64>,
}

impl Measure {
    pub(crate) fn new(plan: Plan, tsc_hz: u64) -> Result<Self, NoiseError> {
        Noise::look()?;
        Ok(Measure { plan, tsc_hz, laps: Vec::new() })
    }

    fn ticks_per_us(&self) -> u64 {
        self.tsc_hz / 1_000_000
    }

    /// Ticks per lap over a sample; whether a lap had a gap.
    fn sample(&mut self, work: &mut dyn Work, laps: usize) -> (f64, bool) {
        self.laps.clear();
        self.laps.extend((0..laps).map(|_| work.lap()));
        let sum: u64 = self.laps.iter().sum();
        (sum as f64 / laps as f64, noise::has_gap(&self.laps, self.ticks_per_us()))
    }

    /// Laps that fill a sample. Everything is warm then.
    fn laps_per_sample(&self, work: &mut dyn Work) -> usize {
        const TRIED: usize = 20;
        let shortest = (0..TRIED).map(|_| work.lap()).min().unwrap_or(1).max(1);
        let laps = self.plan.sample_us * self.ticks_per_us() / shortest;
        usize::try_from(laps).unwrap_or(usize::MAX).clamp(4, 10_000)
    }

    /// Both by turns, until there are rounds enough; `None` when too few were undisturbed.
    pub(crate) fn alternate(
        &mut self,
        items: usize,
        ours: &mut dyn Work,
        baseline: &mut dyn Work,
    ) -> Result<Option<Figures>, NoiseError> {
        let laps = [self.laps_per_sample(ours), self.laps_per_sample(baseline)];
        let mut figures = Figures::default();
        let (mut ratios, mut ours_ticks, mut baseline_ticks) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tries, mut waits) = (0, 0);
        while ratios.len() < self.plan.rounds && tries < self.plan.tries {
            if !ours.is_fair() {
                if waits == self.plan.waits {
                    break;
                }
                waits += 1;
                std::thread::sleep(PAUSE);
                continue;
            }
            tries += 1;
            let before = Noise::look()?;
            let (first, gap1) = self.sample(ours, laps[0]);
            let (second, gap2) = self.sample(baseline, laps[1]);
            let (third, gap3) = self.sample(baseline, laps[1]);
            let (fourth, gap4) = self.sample(ours, laps[0]);
            let disturbed = Noise::look()?.since(before);
            let gap = (gap1 || gap2 || gap3 || gap4).then_some(Disturbance::Gap);
            match disturbed.or(gap) {
                Some(Disturbance::Switched) => figures.switched += 1,
                Some(Disturbance::Stolen) => figures.stolen += 1,
                Some(Disturbance::Gap) => figures.gaps += 1,
                None if !ours.is_fair() => figures.moved += 1,
                None => {
                    ratios.push((second + third) / (first + fourth));
                    ours_ticks.push((first + fourth) / 2.0);
                    baseline_ticks.push((second + third) / 2.0);
                }
            }
        }
        figures.rounds = ratios.len();
        if figures.rounds < self.plan.rounds_min {
            return Ok(None);
        }
        let ns = |ticks: &mut [f64]| {
            Quartiles::of(ticks).median * 1e9 / self.tsc_hz as f64 / items.max(1) as f64
        };
        figures.ratio = Quartiles::of(&mut ratios);
        figures.ours_ns = ns(&mut ours_ticks);
        figures.baseline_ns = ns(&mut baseline_ticks);
        Ok(Some(figures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_values() {
        let of = |values: &[f64]| {
            let Quartiles { low, median, high } = Quartiles::of(&mut values.to_vec());
            (low, median, high)
        };
        assert_eq!(of(&[5.0, 1.0, 4.0, 2.0, 3.0]), (2.0, 3.0, 4.0));
        assert_eq!(of(&[1.0, 2.0]), (1.25, 1.5, 1.75));
        assert_eq!(of(&[7.0]), (7.0, 7.0, 7.0));
        assert!(Quartiles::of(&mut []).median.is_nan());
    }

    struct Counted<'a>(&'a std::cell::RefCell<String>, char);

    impl Work for Counted<'_> {
        fn prepare(&mut self) {
            self.0.borrow_mut().push('.');
        }

        fn run(&mut self) {
            self.0.borrow_mut().push(self.1);
        }
    }

    #[test]
    fn both_run_by_turns_each_lap_prepared() {
        let seen = std::cell::RefCell::default();
        let plan = Plan { rounds: 1, rounds_min: 0, tries: 1, waits: 0, sample_us: 0 };
        let mut measure = Measure::new(plan, 1_000_000_000).unwrap();
        measure.alternate(1, &mut Counted(&seen, 'a'), &mut Counted(&seen, 'b')).unwrap();
        let warm = ".a".repeat(20) + &".b".repeat(20);
        assert_eq!(*seen.borrow(), warm + ".a.a.a.a.b.b.b.b.b.b.b.b.a.a.a.a");
    }

    /// Runs so often before its cores are no longer fair.
    struct Moving(usize);

    impl Work for Moving {
        fn run(&mut self) {
            self.0 = self.0.saturating_sub(1);
        }

        fn is_fair(&mut self) -> bool {
            self.0 > 0
        }
    }

    #[test]
    fn rounds_on_cores_that_move_are_left_out() {
        let plan = Plan { rounds: 2, rounds_min: 0, tries: 9, waits: 0, sample_us: 0 };
        let mut measure = Measure::new(plan, 1_000_000_000).unwrap();
        // Twenty to warm up, and eight in a round: the first and only one ends too late.
        let figures = measure.alternate(1, &mut Moving(20 + 8), &mut || ()).unwrap().unwrap();
        let disturbed = figures.switched + figures.stolen + figures.gaps;
        assert_eq!((figures.rounds, figures.moved + disturbed), (0, 1));
        // None begins on cores that are not fair, and they are not waited for without end.
        let mut measure = Measure::new(Plan { waits: 2, ..plan }, 1_000_000_000).unwrap();
        let figures = measure.alternate(1, &mut Moving(20), &mut || ()).unwrap().unwrap();
        assert_eq!((figures.rounds, figures.moved, figures.gaps), (0, 0, 0));
    }

    #[test]
    fn too_few_rounds_say_nothing() {
        let plan = Plan { rounds: 2, rounds_min: 2, tries: 1, waits: 0, sample_us: 0 };
        let mut measure = Measure::new(plan, 1_000_000_000).unwrap();
        assert!(measure.alternate(1, &mut || (), &mut || ()).unwrap().is_none());
    }
}
