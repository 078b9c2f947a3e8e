//! How many bytes may be in flight to the host: CUBIC (RFC 9438) over RFC 5681's slow start.
//!
//! On a LAN the Reno-friendly region rules. A loss at which no queue is seen (the delay is that of
//! the empty path) is taken for a bad cable rather than congestion and answered less harshly, as
//! TCP Veno does (Fu and Liew, 2003); else 1 % of such losses would halve the window for good.

use super::rtt::Rtt;
use crate::time::{SECOND_NS, Time};

/// CUBIC's constant C, in segments per second cubed (RFC 9438 4.1).
const CUBIC_C: f64 = 0.4;
/// What remains of the window after a loss with a queue (RFC 9438 4.6).
const BETA: f64 = 0.7;
/// What remains of it after a loss without one.
const BETA_NO_QUEUE: f64 = 0.875;
/// Segments in the path's queue up to which a loss is not congestion (Veno).
const QUEUE_SEGMENTS: u64 = 3;
/// Smallest window after a loss, in segments.
const WINDOW_MIN_SEGMENTS: u64 = 2;

/// What a congestion event changed, kept until it is known not to have been spurious.
#[derive(Clone, Copy, Debug, Default)]
struct Undo {
    window: u64,
    threshold: u64,
}

/// What is kept of it while nothing is sent, in bytes; the largest values stand for all above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered {
    window: u32,
    threshold: u32,
}

/// The congestion window of one connection, in bytes.
#[derive(Debug)]
pub(super) struct Congestion {
    window: u64,
    /// Slow start below it.
    threshold: u64,
    segment: u64,
    window_max: u64,
    /// Start of the present stretch of congestion avoidance; `NEVER`: none yet.
    epoch: Time,
    /// W_max, in segments.
    peak: f64,
    /// K, in seconds.
    peak_after_s: f64,
    /// W_est, in segments.
    reno_estimate: f64,
    /// Growth of W_est per window, in segments.
    reno_growth: f64,
    undo: Undo,
}

impl Congestion {
    pub(super) fn new(segment: u16, initial_segments: u32, window_max: u32) -> Self {
        let segment = u64::from(segment.max(1));
        let window_max = u64::from(window_max).max(segment * WINDOW_MIN_SEGMENTS);
        Congestion {
            window: (segment * u64::from(initial_segments.max(1))).min(window_max),
            threshold: u64::MAX,
            segment,
            window_max,
            epoch: Time::NEVER,
            peak: 0.0,
            peak_after_s: 0.0,
            reno_estimate: 0.0,
            reno_growth: 1.0,
            undo: Undo::default(),
        }
    }

    /// What to resume from after a pause.
    pub(super) fn remember(&self) -> Remembered {
        let short = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        Remembered { window: short(self.window), threshold: short(self.threshold) }
    }

    /// The window after a pause. Where CUBIC was in its curve is forgotten: the window has to be
    /// opened anew anyway ([`Congestion::restart`]).
    pub(super) fn resume(segment: u16, window_max: u32, remembered: Remembered) -> Self {
        let Remembered { window, threshold } = remembered;
        Congestion {
            window: window.into(),
            threshold: if threshold == u32::MAX { u64::MAX } else { threshold.into() },
            ..Congestion::new(segment, 1, window_max)
        }
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn threshold(&self) -> u64 {
        self.threshold
    }

    /// The path takes smaller segments from now on.
    pub(super) fn set_segment(&mut self, segment: u16) {
        self.segment = u64::from(segment.max(1));
    }

    /// `bytes` more have arrived while the window was what held us back.
    pub(super) fn acknowledged(&mut self, bytes: u64, now: Time, rtt: &Rtt) {
        if self.window < self.threshold {
            // RFC 5681 section 3.1, counting bytes (RFC 3465) without a limit per
            // acknowledgement: a poll-mode receiver sees many at once.
            self.window = (self.window + bytes).min(self.window_max);
            return;
        }
        if self.epoch == Time::NEVER {
            self.begin_epoch(now);
        }
        let window = segments(self.window, self.segment);
        self.reno_estimate += self.reno_growth * segments(bytes, self.segment) / window;
        if self.reno_estimate >= self.peak {
            self.reno_growth = 1.0;
        }
        let seconds = seconds(now.since_ns(self.epoch) + rtt.smoothed_ns) - self.peak_after_s;
        let cubic = self.peak + CUBIC_C * seconds * seconds * seconds;
        let cubic = cubic.clamp(window, window * 1.5);
        let grown = if cubic > self.reno_estimate {
            window + (cubic - window) / window * segments(bytes, self.segment)
        } else {
            self.reno_estimate.max(window)
        };
        self.window = bytes_of(grown, self.segment).clamp(self.window, self.window_max);
    }

    fn begin_epoch(&mut self, now: Time) {
        let window = segments(self.window, self.segment);
        self.epoch = now;
        self.peak = self.peak.max(window);
        self.peak_after_s = ((self.peak - window) / CUBIC_C).cbrt();
        self.reno_estimate = window;
    }

    /// Something was lost, for the first time since the window was last reduced.
    pub(super) fn loss(&mut self, in_flight: u64, rtt: &Rtt) {
        self.undo = Undo { window: self.window, threshold: self.threshold };
        let queued_ns = rtt.latest_ns.saturating_sub(rtt.min_ns);
        let used = in_flight.min(self.window);
        let queue_bytes = used.saturating_mul(queued_ns) / rtt.latest_ns.max(1);
        let no_queue = queue_bytes < QUEUE_SEGMENTS * self.segment;
        let window = segments(self.window, self.segment);
        let beta = if no_queue { BETA_NO_QUEUE } else { BETA };
        self.reno_growth = if no_queue { 1.0 } else { 3.0 * (1.0 - BETA) / (1.0 + BETA) };
        // Fast convergence (RFC 9438 4.7).
        self.peak =
            if window < self.peak && !no_queue { window * (1.0 + beta) / 2.0 } else { window };
        let reduced = bytes_of(window * beta, self.segment);
        self.window = reduced.max(WINDOW_MIN_SEGMENTS * self.segment);
        self.threshold = self.window;
        self.epoch = Time::NEVER;
    }

    /// The retransmission timer fired (RFC 5681 section 3.1); `again`: without progress since it
    /// fired last.
    pub(super) fn timeout(&mut self, in_flight: u64, again: bool) {
        if !again {
            self.undo = Undo { window: self.window, threshold: self.threshold };
            self.threshold = (in_flight / 2).max(WINDOW_MIN_SEGMENTS * self.segment);
            self.peak = segments(self.window, self.segment);
        }
        self.window = self.segment;
        self.epoch = Time::NEVER;
    }

    /// The latest event was none: everything sent had arrived.
    pub(super) fn undo(&mut self) {
        self.window = self.window.max(self.undo.window);
        self.threshold = self.threshold.max(self.undo.threshold);
        self.epoch = Time::NEVER;
    }

    /// Nothing was sent for longer than a retransmission timeout (RFC 5681 section 4.1).
    pub(super) fn restart(&mut self, initial_segments: u32) {
        self.window = self.window.min(self.segment * u64::from(initial_segments.max(1)));
        self.epoch = Time::NEVER;
    }
}

#[expect(clippy::cast_precision_loss, reason = "windows are far below 2^52 bytes")]
fn segments(bytes: u64, segment: u64) -> f64 {
    bytes as f64 / segment as f64
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND_NS as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "casts from floats saturate, and windows are positive"
)]
fn bytes_of(segments: f64, segment: u64) -> u64 {
    (segments * segment as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MILLISECOND_NS;

    const SEGMENT: u16 = 1000;

    fn rtt(latest_ms: u64, min_ms: u64) -> Rtt {
        Rtt {
            smoothed_ns: latest_ms * MILLISECOND_NS,
            latest_ns: latest_ms * MILLISECOND_NS,
            min_ns: min_ms * MILLISECOND_NS,
            ..Rtt::default()
        }
    }

    #[test]
    fn slow_start_doubles_per_round_trip_up_to_the_limit() {
        let mut c = Congestion::new(SEGMENT, 10, 30_000);
        assert_eq!(c.window(), 10_000);
        c.acknowledged(10_000, Time::ZERO, &rtt(1, 1));
        assert_eq!(c.window(), 20_000);
        c.acknowledged(20_000, Time::ZERO, &rtt(1, 1));
        assert_eq!(c.window(), 30_000);
    }

    #[test]
    fn a_loss_with_a_queue_costs_more_than_one_without() {
        let mut c = Congestion::new(SEGMENT, 100, 1_000_000);
        c.loss(100_000, &rtt(2, 1));
        assert_eq!(c.window(), 70_000);
        let mut c = Congestion::new(SEGMENT, 100, 1_000_000);
        c.loss(100_000, &rtt(1, 1));
        assert_eq!(c.window(), 87_500);
        c.undo();
        assert_eq!(c.window(), 100_000);
    }

    #[test]
    fn avoidance_grows_like_reno_on_a_lan_and_like_cubic_on_a_long_path() {
        let grow = |rtt_ms: u64, rounds: u64| {
            let mut c = Congestion::new(SEGMENT, 100, 10_000_000);
            c.loss(100_000, &rtt(2 * rtt_ms, rtt_ms));
            for round in 0..rounds {
                let now = Time::from_ms(1 + round * rtt_ms);
                c.acknowledged(c.window(), now, &rtt(rtt_ms, rtt_ms));
            }
            c.window()
        };
        // 0.53 segments per round trip up to 100, then 1.
        let lan = grow(1, 100);
        assert!((139_000..=145_000).contains(&lan), "{lan}");
        // K = cbrt(30 / 0.4) = 4.2 s back to the peak; Reno would need 57 round trips of 0.4 s.
        let long = grow(400, 20);
        assert!(long > 120_000, "{long}");
    }

    #[test]
    fn a_timeout_starts_over() {
        let mut c = Congestion::new(SEGMENT, 100, 1_000_000);
        c.timeout(100_000, false);
        assert_eq!((c.window(), c.threshold()), (1_000, 50_000));
        c.timeout(1_000, true);
        assert_eq!((c.window(), c.threshold()), (1_000, 50_000));
    }
}
