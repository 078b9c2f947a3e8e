//! Shares and rates in whole numbers, and the share of datagrams that is lost whatever the rate.

use super::Settled;
use crate::time::SECOND_NS;

/// Shares are of a million.
pub(super) const WHOLE: u64 = 1_000_000;
/// One of a hundred.
pub(super) const PERCENT: u64 = WHOLE / 100;
/// More than this is no random loss; the path is down, or its capacity is.
const RANDOM_LOSS_PPM_MAX: u64 = 350_000;
/// Of so many datagrams: a burst may take a large part of few.
const MANY_DATAGRAMS: u64 = 200;
/// Bytes over which random loss is averaged.
const LOSS_MEMORY_BYTES: u64 = 6_000_000;
/// The same of what was lost while less was sent than the capacity.
const LOW_MEMORY_BYTES: u64 = 2_000_000;
/// Bytes of it that say something.
const LOW_BYTES_MIN: u64 = 150_000;
/// By how much loss may be greater at the capacity than below it, of a million.
const LOW_MARGIN_PPM: u64 = 5_000;
/// Losses in bursts of many datagrams, in thousandths.
const BURSTINESS_MAX: u64 = 64_000;
/// About the bytes of a datagram.
pub(super) const DATAGRAM_BYTES: u64 = 1_500;

/// `value * numerator / denominator`, without overflow on the way.
pub(super) fn scaled(value: u64, numerator: u64, denominator: u64) -> u64 {
    let product = u128::from(value) * u128::from(numerator) / u128::from(denominator.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// Bytes that a rate sends in a time.
pub(super) fn bytes_in(rate_bps: u64, ns: u64) -> u64 {
    scaled(rate_bps / 8, ns, SECOND_NS)
}

/// What was lost of what was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    lost_bytes: u64,
    seen_bytes: u64,
}

impl Tally {
    /// Adds a round, and forgets what is older than so many bytes.
    fn add(&mut self, lost_bytes: u64, bytes: u64, memory_bytes: u64) {
        self.lost_bytes += lost_bytes;
        self.seen_bytes += bytes;
        let keep = memory_bytes.max(bytes);
        if self.seen_bytes > keep {
            self.lost_bytes = scaled(self.lost_bytes, keep, self.seen_bytes);
            self.seen_bytes = keep;
        }
    }

    fn ppm(&self) -> u64 {
        scaled(self.lost_bytes, WHOLE, self.seen_bytes)
    }
}

/// The loss that a path has whatever the rate.
///
/// It is no greater than what is lost while less is sent than the capacity: else a queue that does
/// not show would be taken for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RandomLoss {
    all: Tally,
    low: Tally,
    /// Variance of a round's share over what it would be if losses were independent, in
    /// thousandths; 0 before anything is known.
    burstiness: u64,
}

impl RandomLoss {
    /// A round whose losses had nothing to do with the rate, unless they are too many for that.
    pub(super) fn learn(&mut self, round: &Settled, low: bool) {
        let bytes = round.arrived_bytes + round.lost_bytes;
        let share_ppm = round.lost_ppm();
        let too_much = share_ppm > RANDOM_LOSS_PPM_MAX && round.datagrams() >= MANY_DATAGRAMS;
        if bytes == 0 || too_much {
            return;
        }
        self.all.add(round.lost_bytes, bytes, LOSS_MEMORY_BYTES);
        if low {
            self.low.add(round.lost_bytes, bytes, LOW_MEMORY_BYTES);
        }
        self.learn_burstiness(share_ppm, round.datagrams());
    }

    fn learn_burstiness(&mut self, share_ppm: u64, datagrams: u64) {
        let ppm = self.all.ppm();
        let independent = ppm * (WHOLE - ppm) / datagrams.max(1);
        if independent == 0 {
            return;
        }
        let off_ppm = share_ppm.abs_diff(ppm);
        let seen = scaled(off_ppm * off_ppm, 1_000, independent).min(BURSTINESS_MAX);
        // Long runs without a loss belong to bursts, too.
        self.burstiness = match seen > self.burstiness {
            true => (7 * self.burstiness + seen) / 8,
            false => (63 * self.burstiness + seen) / 64,
        };
    }

    /// Three standard deviations of the share lost of so many datagrams, where this is the mean.
    fn deviations_ppm(&self, ppm: u64, datagrams: u64) -> u64 {
        let independent = ppm * (WHOLE - ppm) / datagrams.max(1);
        3 * scaled(independent, self.burstiness.max(1_000), 1_000).isqrt()
    }

    /// What is known counts for less from now on: the path has changed.
    pub(super) fn doubt(&mut self) {
        self.all.lost_bytes /= 16;
        self.all.seen_bytes /= 16;
    }

    /// The share that is lost.
    pub(super) fn ppm(&self) -> u64 {
        let all_ppm = self.all.ppm();
        if self.low.seen_bytes < LOW_BYTES_MIN {
            return all_ppm.min(RANDOM_LOSS_PPM_MAX);
        }
        let low_ppm = self.low.ppm();
        let low_datagrams = self.low.seen_bytes / DATAGRAM_BYTES;
        let margin_ppm = self.deviations_ppm(low_ppm, low_datagrams) + LOW_MARGIN_PPM;
        all_ppm.min(low_ppm + margin_ppm).min(RANDOM_LOSS_PPM_MAX)
    }

    /// Whether far more is lost than is when less is sent than the capacity: by want of capacity, or
    /// because the latter was seen for too short.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.all.ppm() > 2 * self.ppm()
    }

    /// Losses that come together, on average, as far as rounds can tell.
    pub(super) fn burstiness(&self) -> u64 {
        self.burstiness / 1_000
    }

    /// By how much the share of a round of so many datagrams may differ from it by chance: three
    /// standard deviations.
    pub(super) fn noise_ppm(&self, datagrams: u64) -> u64 {
        self.deviations_ppm(self.all.ppm(), datagrams)
    }

    /// The rate that must have been sent for so much to arrive.
    pub(super) fn sent_for(&self, delivered_bps: u64) -> u64 {
        scaled(delivered_bps, WHOLE, WHOLE - self.ppm())
    }
}
