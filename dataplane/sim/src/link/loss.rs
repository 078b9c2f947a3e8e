//! Which packets are lost.
//!
//! In: one call per packet that leaves the queue. Out: lost or not. Never: the time, the packet.

use super::config::Loss;
use super::random::Random;

/// The state of a loss model.
#[derive(Clone, Debug)]
pub(super) struct LossProcess {
    random: Random,
    /// Decides on changes of state.
    states: Random,
    /// Within a burst, or in the bad state.
    bad: bool,
}

impl LossProcess {
    pub(super) fn new(random: Random, states: Random) -> Self {
        LossProcess { random, states, bad: false }
    }

    /// Whether the next packet is lost.
    ///
    /// Takes one number from each stream whatever the model, so that a change of model does not
    /// shift what follows.
    pub(super) fn next(&mut self, loss: Loss) -> bool {
        let (bad, move_number) = (self.bad, self.states.next_u64());
        let lost = match loss {
            Loss::Independent { probability } => self.random.chance(probability),
            Loss::Bursts { probability, burst_mean } => {
                let (begin, stay) = transitions(probability, burst_mean);
                self.random.chance(if bad { stay } else { begin })
            }
            Loss::GilbertElliott { good_to_bad, bad_to_good, loss_good, loss_bad } => {
                let leave = if bad { bad_to_good } else { good_to_bad };
                self.bad = bad != Random::new(move_number).chance(leave);
                return self.random.chance(if self.bad { loss_bad } else { loss_good });
            }
        };
        self.bad = lost;
        lost
    }
}

/// Probability that a burst begins after a packet that arrived, and that it goes on after one that
/// was lost.
///
/// With `1 / burst_mean` as the probability of leaving the bad state, the share of time spent
/// there is `begin / (begin + 1 / burst_mean)`; solved for `begin`.
fn transitions(probability: f64, burst_mean: f64) -> (f64, f64) {
    if probability >= 1.0 {
        return (1.0, 1.0);
    }
    let leave = 1.0 / burst_mean.max(1.0);
    let begin = leave * probability / (1.0 - probability);
    (begin, 1.0 - leave)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share lost and mean burst length of a long run.
    fn measure(loss: Loss, packets: u32) -> (f64, f64) {
        let mut process = LossProcess::new(Random::new(3), Random::new(4));
        let (mut lost, mut bursts, mut before) = (0_u32, 0_u32, false);
        for _ in 0..packets {
            let now = process.next(loss);
            lost += u32::from(now);
            bursts += u32::from(now && !before);
            before = now;
        }
        (f64::from(lost) / f64::from(packets), f64::from(lost) / f64::from(bursts.max(1)))
    }

    #[test]
    fn independent_loss_has_its_share_and_no_memory() {
        let (share, burst) = measure(Loss::Independent { probability: 0.1 }, 200_000);
        assert!((share - 0.1).abs() < 0.005, "share {share}");
        assert!((burst - 1.0 / 0.9).abs() < 0.02, "burst {burst}");
    }

    #[test]
    fn bursts_have_the_same_share_and_their_length() {
        let loss = Loss::Bursts { probability: 0.05, burst_mean: 8.0 };
        let (share, burst) = measure(loss, 1_000_000);
        assert!((share - 0.05).abs() < 0.003, "share {share}");
        assert!((burst - 8.0).abs() < 0.3, "burst {burst}");
    }

    #[test]
    fn two_states_have_the_loss_of_each_by_the_time_spent_in_it() {
        let loss = Loss::GilbertElliott {
            good_to_bad: 0.01,
            bad_to_good: 0.04,
            loss_good: 0.001,
            loss_bad: 0.5,
        };
        assert!((loss.probability() - (0.2 * 0.5 + 0.8 * 0.001)).abs() < 1e-9);
        let (share, burst) = measure(loss, 1_000_000);
        assert!((share - loss.probability()).abs() < 0.005, "share {share}");
        // In the bad state a loss follows a loss half of the time.
        assert!((1.8..2.1).contains(&burst), "burst {burst}");
        // A first state that never changes is the good one.
        let never = Loss::GilbertElliott {
            good_to_bad: 0.0,
            bad_to_good: 0.0,
            loss_good: 0.0,
            loss_bad: 1.0,
        };
        assert_eq!((measure(never, 10_000).0, never.probability()), (0.0, 0.0));
    }

    #[test]
    fn none_and_all_are_exact() {
        assert_eq!(measure(Loss::NONE, 10_000).0, 0.0);
        assert_eq!(measure(Loss::Bursts { probability: 0.0, burst_mean: 8.0 }, 10_000).0, 0.0);
        assert_eq!(measure(Loss::Independent { probability: 1.0 }, 10_000).0, 1.0);
        assert_eq!(measure(Loss::Bursts { probability: 1.0, burst_mean: 8.0 }, 10_000).0, 1.0);
    }
}
