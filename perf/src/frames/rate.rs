//! Frames per second, in slices of the time.
//!
//! In: how many frames there were, and when. Out: the rate of each slice. The median of slices is
//! not moved by a pause of the machine, which the mean is.

/// Counts frames by slices of a fixed length.
#[derive(Clone, Debug)]
pub struct Slices {
    /// Ticks of a slice.
    length: u64,
    hz: u64,
    began: u64,
    frames: u64,
    rates: Vec<f64>,
}

impl Slices {
    /// Slices of `length` ticks of a clock with `hz` ticks per second, from `now` on.
    #[must_use]
    pub fn new(length: u64, hz: u64, now: u64) -> Self {
        Slices { length: length.max(1), hz, began: now, frames: 0, rates: Vec::new() }
    }

    /// Frames that came back by `now`.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn add(&mut self, frames: u64, now: u64) {
        self.frames += frames;
        let elapsed = now.wrapping_sub(self.began);
        if elapsed >= self.length {
            self.rates.push(self.frames as f64 * self.hz as f64 / elapsed as f64);
            (self.began, self.frames) = (now, 0);
        }
    }

    /// The rate that this share of the slices, 0 to 1, stays below; 0 without a slice.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the slices"
    )]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.rates.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
        sorted.get(at).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_moves_no_more_than_its_own_slice() {
        let mut slices = Slices::new(10, 1000, 0);
        // Ticks 31 to 529 are the pause.
        for tick in (1..=30).chain(530..=560) {
            slices.add(5, tick);
        }
        assert!((slices.quantile(0.5) - 5000.0).abs() < 1e-9);
        assert!((slices.quantile(0.0) - 10.0).abs() < 1e-9);
        assert!(Slices::new(10, 1000, 0).quantile(0.5).abs() < 1e-9);
    }
}
