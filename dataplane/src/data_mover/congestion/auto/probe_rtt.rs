//! Probing for the round trip: for one round so little is sent that the queue empties, and the path
//! is seen without it.

use super::super::share::{WHOLE, scaled};
use super::super::{Mark, RoundSample};
use super::Phase;
use super::cruise::Cruise;
use super::model::Model;
use super::startup::{MANY_DATAGRAMS, Startup};

/// Least rate over the capacity, in millionths.
const GAIN_PPM_MIN: u64 = 500_000;
/// Rounds after which it is over in any case.
const ROUNDS_MAX: u32 = 6;

/// State of the probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeRtt {
    gain_ppm: u64,
    /// Rounds begun, the one of little included.
    rounds: u32,
    /// Round trip before little was sent, and how much less that is.
    before_ns: u64,
    less_ppm: u64,
    /// It is the end of start-up.
    started: bool,
}

impl ProbeRtt {
    /// Sends so much less that a round empties twice the queue there is, from the round on that
    /// begins now.
    pub(super) fn now(model: &Model) -> Self {
        let gain_ppm = Self::gain(model, model.queue_ns().max(model.target_ns()));
        // A queue that is full all the time is not to be seen: what is lost tells of it.
        let gain_ppm = if model.loss.is_in_doubt() { GAIN_PPM_MIN } else { gain_ppm };
        let (less_ppm, before_ns) = (WHOLE - gain_ppm, model.before_ns());
        ProbeRtt { gain_ppm, less_ppm, rounds: 1, before_ns, started: false }
    }

    /// The same after start-up, which ended with round trips of `before_ns`. Its queue has been let
    /// out by sending `less_ppm` less.
    pub(super) fn started(model: &Model, before_ns: u64, less_ppm: u64) -> Self {
        let gain_ppm = Self::gain(model, model.target_ns());
        ProbeRtt { gain_ppm, less_ppm, rounds: 0, before_ns, started: true }
    }

    /// What empties twice this queue in a round.
    fn gain(model: &Model, queue_ns: u64) -> u64 {
        let less_ppm = scaled(2 * queue_ns, WHOLE, model.span_ns());
        WHOLE.saturating_sub(less_ppm).max(GAIN_PPM_MIN)
    }

    /// Rate over the capacity, in millionths.
    pub(super) fn gain_ppm(&self) -> u64 {
        match self.rounds {
            0 | 1 => self.gain_ppm,
            _ => WHOLE,
        }
    }

    /// What the round is called that is sent now: only the first is of little.
    pub(super) fn mark(&self) -> Mark {
        match self.rounds {
            0 | 1 => Mark::ProbeRtt,
            _ => Mark::Cruise,
        }
    }

    pub(super) fn on_round(&mut self, round: &RoundSample, model: &mut Model) -> Option<Phase> {
        self.rounds += 1;
        let seen = round.mark == Mark::ProbeRtt && round.rtt_count > 0;
        if seen {
            // Who had little to send and met no queue has not seen how much the path carries.
            let queued = self.before_ns > model.base_ns() + model.target_ns();
            let little = self.less_ppm > 0 && round.datagrams < MANY_DATAGRAMS;
            let longer = model.seen_low(round, self.before_ns, self.less_ppm, self.started);
            if self.started && (longer || (little && !queued)) {
                return Some(Phase::Startup(Startup::again(model)));
            }
        } else if self.rounds >= ROUNDS_MAX {
            model.set_base(round.now, model.base_ns());
        } else {
            if !self.started && round.rtt_count > 0 {
                self.before_ns = round.rtt_last_ns;
            }
            return None;
        }
        Some(Phase::Cruise(Cruise::default()))
    }
}
