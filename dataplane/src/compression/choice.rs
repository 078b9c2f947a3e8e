//! Which level pays: pure functions of what the WAN takes, what the core can give, and what was
//! measured of each level on buffers of this kind.
//!
//! In: conditions, and what came of the buffers before. Out: a level for the next buffer. Never: a
//! clock, a byte of the buffer.
//!
//! The model: for each byte of plain data, the core works for the level's cost, over the share of
//! its time that nothing else takes, and the WAN for what the level leaves of the byte. In bulk both
//! work at once, as do all cores that compress, and the slowest sets the pace; the level with the
//! best pace is taken. A sparse buffer passes one core and then the WAN, however many cores there
//! are, and the level with the least sum is taken.
//!
//! What a level costs and leaves is known only of those that are used, so others are tried now and
//! then: less and less often as long as nothing comes of it, and so that a try that costs as much
//! time as `n` buffers is followed by `200 n` buffers without one.

use super::level::Level;

/// The whole, of what is in millionths.
pub const WHOLE_PPM: u64 = 1_000_000;
/// Longest time that one buffer may be expected to take where the level is ours to choose, in
/// nanoseconds: meanwhile this core does nothing else.
pub const BUFFER_NS_MAX: u64 = 400_000;
/// Levels whose pace is within this of the best, in millionths, are as good.
const AS_GOOD_PPM: u64 = 10_000;
/// A buffer that shrinks this much other than expected is a surprise.
const OTHER_CONTENT_PPM: u64 = 150_000;
/// So many in a row at one level, all of them up or all down, are other content.
const SURPRISES: i8 = 4;
/// A level that was expected to leave more than this of a buffer that then did not shrink at all is
/// taken to do nothing.
const HARDLY_SHRINKS_PPM: u64 = 960_000;
/// Samples whose mean is taken; later ones count as the last of so many.
const SAMPLES_MAX: u8 = 8;
/// After n tries in a row that changed nothing, 2^n buffers pass before the next, n being at most
/// this: at 64 KiB a buffer, one in 4 MiB. Each level gets its turn, whatever has a period.
const WAIT_EXPONENT_MAX: u32 = 6;
/// The same for what was tried a few times only.
const WAIT_EXPONENT_UNKNOWN: u32 = 3;
/// Each time that a level is passed over because it takes too long, its cost is taken to be less by
/// this part of it.
const FORGIVEN: u64 = 64;
/// Buffers that pass before the next try, at most, once the content was found to be other.
const WAIT_OTHER_MAX: u32 = 4;
/// Buffers that pass between two tries, at most, whatever they cost.
const WAIT_MAX: u32 = 1 << 16;
/// Buffers that make up for a try that took a buffer's time more.
const WAIT_PER_LOSS: u64 = 200;
/// A cost sample counts for no more than so many times what was expected: the rest was something
/// else that the core did.
const COST_OUTLIER: u64 = 3;

const _: () = {
    assert!(WAIT_EXPONENT_MAX < 16, "counted in 32 bits");
    assert!(matches!(Level::ALL[0], Level::Stored), "storing is always possible");
};

/// What a choice depends on besides the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Time that the WAN takes for a byte, in picoseconds.
    pub wan_ps: u64,
    /// Share of this core's time that nothing else takes, in millionths; not 0.
    pub free_ppm: u64,
    /// Cores that compress, each its part of the buffers; not 0.
    pub replicas: u64,
    /// Weakest level that the configuration allows beside storing.
    pub weakest: Level,
    /// Strongest level that the peer takes and the configuration allows.
    pub strongest: Level,
    /// Longest time that the buffer may be expected to take, in nanoseconds.
    pub takes_ns_max: u64,
    /// Whether the buffer is of flows that send little.
    pub is_sparse: bool,
}

/// What is known of one level, for one kind of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Time for a byte of plain data, in picoseconds.
    pub cost_ps: u64,
    /// What is left of the data, in millionths.
    pub left_ppm: u64,
    /// How often that was measured with content like this, at most [`SAMPLES_MAX`].
    samples: u8,
    /// Surprises in a row: up, or down as a negative number.
    surprises: i8,
    /// How often the cost was measured, at most [`SAMPLES_MAX`].
    measured: u8,
}

impl Estimate {
    /// Before anything is known.
    pub(super) const fn of(level: Level) -> Self {
        let (cost_ps, left_ppm) = level.expected();
        Estimate { cost_ps, left_ppm, samples: 0, surprises: 0, measured: 0 }
    }

    /// Time per byte of plain data that the core takes.
    fn core_ps(&self, conditions: &Conditions) -> u64 {
        self.cost_ps.saturating_mul(WHOLE_PPM) / conditions.free_ppm.max(1)
    }

    /// Time per byte of plain data that the slower of all cores and the WAN takes, and that one core
    /// and the WAN take together.
    fn pace(&self, conditions: &Conditions) -> (u64, u64) {
        let core_ps = self.core_ps(conditions);
        let wan_ps = self.left_ppm.saturating_mul(conditions.wan_ps) / WHOLE_PPM;
        let both_ps = core_ps.saturating_add(wan_ps);
        let cores_ps = core_ps.div_ceil(conditions.replicas.max(1));
        (if conditions.is_sparse { both_ps } else { cores_ps.max(wan_ps) }, both_ps)
    }

    /// The pace if it left nothing at all.
    fn pace_at_best(&self, conditions: &Conditions) -> u64 {
        Estimate { left_ppm: 0, ..*self }.pace(conditions).0
    }
}

/// All levels of one kind of buffers.
pub type Estimates = [Estimate; Level::COUNT];

/// The level that pays most for a buffer of `len` bytes; among those that are as good, the one that
/// gets it there soonest.
#[must_use]
pub fn choose(estimates: &Estimates, conditions: &Conditions, len: usize) -> Level {
    let possible = || {
        let of = |level: Level| (level, estimates[level.index()]);
        let can = move |(level, estimate): &(Level, Estimate)| {
            is_possible(*level, estimate, conditions, len)
        };
        Level::ALL.into_iter().map(of).filter(can)
    };
    let best_ps = possible().map(|(_, each)| each.pace(conditions).0).min().unwrap_or(0);
    let good_ps = best_ps.saturating_add(best_ps.saturating_mul(AS_GOOD_PPM) / WHOLE_PPM);
    possible()
        .filter(|(_, each)| each.pace(conditions).0 <= good_ps)
        .min_by_key(|(_, each)| each.pace(conditions).1)
        .map_or(Level::Stored, |(level, _)| level)
}

fn is_possible(level: Level, estimate: &Estimate, conditions: &Conditions, len: usize) -> bool {
    let takes_ns = estimate.cost_ps.saturating_mul(len as u64) / 1_000;
    level == Level::Stored || is_allowed(level, conditions) && takes_ns <= conditions.takes_ns_max
}

fn is_allowed(level: Level, conditions: &Conditions) -> bool {
    (conditions.weakest..=conditions.strongest).contains(&level)
}

/// What a sample says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lesson {
    /// What is known is true.
    Expected,
    /// It may be chance.
    Surprise,
    /// The content is other than it was.
    Other,
}

/// What is known of one kind of buffers, and the next try.
#[derive(Clone, Copy, Debug)]
pub struct Chooser {
    estimates: Estimates,
    /// Level tried last.
    tried: Level,
    /// What is tried again with the next buffer.
    again: Option<Level>,
    /// The try under way, and what would have been chosen.
    under_way: Option<(Level, Level)>,
    /// Buffers that still pass before the next try.
    wait: u32,
    /// Tries in a row that changed nothing, at most [`WAIT_EXPONENT_MAX`].
    in_vain: u32,
}

impl Default for Chooser {
    fn default() -> Self {
        Chooser {
            estimates: Level::ALL.map(Estimate::of),
            tried: Level::Stored,
            again: None,
            under_way: None,
            wait: 1,
            in_vain: 0,
        }
    }
}

impl Chooser {
    /// What is known.
    #[must_use]
    pub fn estimates(&self) -> &Estimates {
        &self.estimates
    }

    /// The level for the next buffer, of `len` bytes. What comes of it is told by
    /// [`Chooser::packed`].
    pub fn next(&mut self, conditions: &Conditions, len: usize) -> Level {
        let best = choose(&self.estimates, conditions, len);
        self.under_way = None;
        let again = self.again.take().filter(|level| is_allowed(*level, conditions));
        if self.wait > 0 && again.is_none() {
            self.wait -= 1;
            return best;
        }
        let Some(other) = again.or_else(|| self.next_try(best, conditions, len)) else {
            self.wait = 1 << WAIT_EXPONENT_MAX;
            return best;
        };
        self.tried = other;
        self.under_way = Some((other, best));
        other
    }

    /// The next level in turn that is worth a try.
    fn next_try(&mut self, best: Level, conditions: &Conditions, len: usize) -> Option<Level> {
        let (best_ps, _) = self.estimates[best.index()].pace(conditions);
        let hopeless_ps = best_ps.saturating_add(best_ps / 4);
        let from = self.tried.index() + 1;
        for level in Level::ALL.into_iter().cycle().skip(from).take(Level::COUNT) {
            let estimate = &mut self.estimates[level.index()];
            if level == Level::Stored || level == best {
                continue;
            }
            if estimate.pace_at_best(conditions) <= hopeless_ps
                && is_possible(level, estimate, conditions, len)
            {
                return Some(level);
            }
            // It would be too slow if it left nothing at all; unless that is not so any more.
            estimate.cost_ps -= estimate.cost_ps / FORGIVEN;
        }
        None
    }

    /// What a buffer of `len` bytes has become at a level: `left` bytes.
    pub fn packed(&mut self, conditions: &Conditions, level: Level, len: usize, left: usize) {
        let left_ppm = (left as u64).saturating_mul(WHOLE_PPM) / (len as u64).max(1);
        let lesson = self.learn_left(level, left_ppm.min(WHOLE_PPM));
        if let Some((tried, before)) = self.under_way.take() {
            self.after_try(conditions, tried, before, len);
            // Whether it was chance is seen by the next.
            self.again = (lesson == Lesson::Surprise).then_some(tried);
        }
        if lesson == Lesson::Other {
            // What the other levels are like is to be seen soon.
            (self.wait, self.in_vain) = (self.wait.min(WAIT_OTHER_MAX), 0);
        }
    }

    fn after_try(&mut self, conditions: &Conditions, tried: Level, before: Level, len: usize) {
        let changed = choose(&self.estimates, conditions, len) != before;
        let Estimate { samples, left_ppm, .. } = self.estimates[tried.index()];
        let is_known = samples == SAMPLES_MAX || left_ppm == WHOLE_PPM;
        let most = if is_known { WAIT_EXPONENT_MAX } else { WAIT_EXPONENT_UNKNOWN };
        self.in_vain = if changed { 0 } else { (self.in_vain + 1).min(most) };
        let pace_ps = |level: Level| self.estimates[level.index()].pace(conditions).0;
        let more_ps = pace_ps(tried).saturating_sub(pace_ps(before));
        let made_up = more_ps.saturating_mul(WAIT_PER_LOSS) / pace_ps(before).max(1);
        let wait = u32::try_from(made_up.max(1 << self.in_vain)).unwrap_or(u32::MAX);
        self.wait = self.wait.saturating_add(wait).min(WAIT_MAX);
    }

    /// Takes a sample of what a level leaves, and says what is to be made of it.
    fn learn_left(&mut self, level: Level, sample_ppm: u64) -> Lesson {
        let Some(estimate) = self.estimates.get_mut(level.index()) else { return Lesson::Expected };
        let (samples, old_ppm) = (estimate.samples, estimate.left_ppm);
        let is_surprise = samples > 0 && sample_ppm.abs_diff(old_ppm) > OTHER_CONTENT_PPM;
        let way = if sample_ppm > old_ppm { 1 } else { -1 };
        estimate.surprises = match estimate.surprises {
            _ if !is_surprise => 0,
            before if before.signum() == way => before + way,
            _ => way,
        };
        let is_other = estimate.surprises.abs() >= SURPRISES;
        if is_other {
            (estimate.samples, estimate.surprises) = (0, 0);
        }
        estimate.samples = (estimate.samples + 1).min(SAMPLES_MAX);
        let mut left_ppm = towards(old_ppm, sample_ppm, estimate.samples.into());
        if sample_ppm == WHOLE_PPM && left_ppm > HARDLY_SHRINKS_PPM {
            left_ppm = WHOLE_PPM;
        }
        estimate.left_ppm = left_ppm;
        if is_other || samples == 0 {
            self.infer(level, left_ppm, is_other);
        }
        match (is_other, is_surprise) {
            (true, _) => Lesson::Other,
            (_, true) => Lesson::Surprise,
            _ => Lesson::Expected,
        }
    }

    /// What one level leaves says something about what those do that nothing is known of; with other
    /// content nothing is known of any.
    fn infer(&mut self, from: Level, left_ppm: u64, is_other: bool) {
        let (_, from_ppm) = from.expected();
        let saved_ppm = WHOLE_PPM - left_ppm;
        for (level, estimate) in Level::ALL.into_iter().zip(&mut self.estimates).skip(1) {
            if level == from || estimate.samples > 0 && !is_other {
                continue;
            }
            let (_, expected_ppm) = level.expected();
            let inferred_ppm = if level > from {
                left_ppm * expected_ppm / from_ppm
            } else {
                WHOLE_PPM - saved_ppm * (WHOLE_PPM - expected_ppm) / (WHOLE_PPM - from_ppm).max(1)
            };
            (estimate.left_ppm, estimate.samples) = (inferred_ppm, 0);
        }
    }

    /// Takes a sample of what a level costs: `ns` for a buffer of `len` bytes.
    pub fn took(&mut self, level: Level, len: usize, ns: u64) {
        let sample_ps = ns.saturating_mul(1_000) / (len as u64).max(1);
        let Some(estimate) = self.estimates.get_mut(level.index()) else { return };
        if level == Level::Stored {
            return;
        }
        let most_ps = estimate.cost_ps.saturating_mul(COST_OUTLIER).max(1_000);
        let is_first = estimate.measured == 0;
        estimate.measured = (estimate.measured + 1).min(SAMPLES_MAX);
        let part = estimate.measured.into();
        estimate.cost_ps = towards(estimate.cost_ps, sample_ps.min(most_ps), part);
        if !is_first {
            return;
        }
        let (expected_ps, _) = level.expected();
        let cost_ps = estimate.cost_ps;
        // This core, or buffers of this length: the same goes for the others, but for content that
        // only this level is soon done with.
        let others = Level::ALL.into_iter().zip(&mut self.estimates);
        for (level, other) in others.filter(|(_, other)| other.measured == 0) {
            let (other_ps, _) = level.expected();
            other.cost_ps = (other_ps * cost_ps / expected_ps.max(1)).max(other_ps / 2);
        }
    }
}

/// A part of the way from `old` to `sample`, and all of it where that part is less than 1.
fn towards(old: u64, sample: u64, part: u64) -> u64 {
    if sample >= old {
        old + (sample - old).div_ceil(part)
    } else {
        old - (old - sample).div_ceil(part)
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
pub(super) mod tests;
