//! What the emulated WAN is like, one setting at a time.
//!
//! In: a key and a value, from the command line or the control socket. Out: the configuration of
//! both links. Never: half of a wrong value.

use dataplane_sim::link::{LinkConfig, Loss, Windows};

use super::Direction;
use crate::units::{self, UnitError};

/// A queue given in bandwidth-delay products is at least this long, so that a link without delay
/// can still take a burst.
const BDP_QUEUE_BYTES_MIN: u64 = 64 * 1024;

/// The keys, in the order of the help text.
pub const KEYS: [&str; 14] = [
    "rate",
    "delay",
    "jitter",
    "jitter-reorder",
    "loss",
    "loss-burst",
    "loss-states",
    "duplicate",
    "corrupt",
    "reorder",
    "reorder-delay",
    "queue",
    "mtu",
    "black-hole",
];

/// Why a setting is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No such key.
    #[error("there is no setting {0:?}; known are {known}", known = KEYS.join(", "))]
    UnknownKey(String),
    /// The value does not fit the key.
    #[error("{key}: {error}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        error: UnitError,
    },
}

/// How long the queue is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Queue {
    /// In IP bytes.
    Bytes(u64),
    /// In products of this direction's rate and the delay of both directions together.
    Bdp(f64),
}

/// One direction as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    link: LinkConfig,
    queue: Queue,
    /// Mean length of bursts of loss, in packets; 0 for independent loss.
    loss_burst: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { link: LinkConfig::default(), queue: Queue::Bdp(1.0), loss_burst: 0.0 }
    }
}

impl Settings {
    /// Changes one setting.
    ///
    /// # Errors
    ///
    /// [`SettingError`]; then nothing has changed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        let Some(key) = KEYS.into_iter().find(|known| *known == key) else {
            return Err(SettingError::UnknownKey(key.to_owned()));
        };
        self.apply(key, value).map_err(|error| SettingError::Value { key, error })
    }

    fn apply(&mut self, key: &str, value: &str) -> Result<(), UnitError> {
        let link = &mut self.link;
        match key {
            "rate" => link.rate_bps = if value == "0" { 0 } else { units::rate_bps(value)? },
            "delay" => link.delay_ns = units::duration_ns(value)?,
            "jitter" => link.jitter_ns = units::duration_ns(value)?,
            "jitter-reorder" => link.jitter_reorders = switch(value)?,
            "loss" => link.loss = Loss::Independent { probability: units::probability(value)? },
            "loss-burst" => {
                self.loss_burst =
                    units::scaled(value, &[("", 1.0)], "a number of packets, 0 for no bursts")?;
            }
            "loss-states" => link.loss = states(value)?,
            "duplicate" => link.duplicate_probability = units::probability(value)?,
            "corrupt" => link.corrupt_probability = units::probability(value)?,
            "reorder" => link.reorder_probability = units::probability(value)?,
            "reorder-delay" => link.reorder_delay_ns = units::duration_ns(value)?,
            "queue" => self.queue = queue(value)?,
            "black-hole" => link.black_hole_windows = windows(value)?,
            _ => link.mtu_bytes = units::bytes(value)?,
        }
        Ok(())
    }

    /// Cuts or restores the link.
    pub fn set_up(&mut self, up: bool) {
        self.link.up = up;
    }

    /// Makes the link swallow everything, or not.
    pub fn set_black_hole(&mut self, black_hole: bool) {
        self.link.black_hole = black_hole;
    }

    /// The link that this asks for, `round_trip_ns` being the delay of both directions together.
    fn link_config(&self, round_trip_ns: u64) -> LinkConfig {
        let mut config = self.link.clone();
        let probability = config.loss.probability();
        let two_states = matches!(config.loss, Loss::GilbertElliott { .. });
        if self.loss_burst > 0.0 && !two_states {
            config.loss = Loss::Bursts { probability, burst_mean: self.loss_burst };
        }
        config.queue_bytes_max = match self.queue {
            Queue::Bytes(bytes) => bytes,
            Queue::Bdp(factor) => {
                let product = config.rate_bps as f64 * round_trip_ns as f64 / 8e9;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "not negative; saturates"
                )]
                let bytes = (product * factor) as u64;
                bytes.max(BDP_QUEUE_BYTES_MIN)
            }
        };
        config
    }
}

/// The links that both directions ask for.
#[must_use]
pub fn link_configs(settings: &[Settings; 2]) -> [LinkConfig; 2] {
    let round_trip_ns: u64 = settings.iter().map(|each| each.link.delay_ns).sum();
    Direction::BOTH.map(|direction| settings[direction.index()].link_config(round_trip_ns))
}

fn switch(value: &str) -> Result<bool, UnitError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(units::error(value, "on or off")),
    }
}

/// `GOOD_TO_BAD/BAD_TO_GOOD/LOSS_GOOD/LOSS_BAD`.
fn states(value: &str) -> Result<Loss, UnitError> {
    let expected = "four shares such as 0.1%/10%/0/50%: good to bad, bad to good, loss in either";
    let shares: Result<Vec<f64>, UnitError> = value.split('/').map(units::probability).collect();
    match shares?.as_slice() {
        &[good_to_bad, bad_to_good, loss_good, loss_bad] => {
            Ok(Loss::GilbertElliott { good_to_bad, bad_to_good, loss_good, loss_bad })
        }
        _ => Err(units::error(value, expected)),
    }
}

/// `LENGTH/EVERY`, or `off`.
fn windows(value: &str) -> Result<Option<Windows>, UnitError> {
    let expected = "a length and a period such as 5s/60s, the longer one last, or off";
    if value == "off" {
        return Ok(None);
    }
    let (length, every) = value.split_once('/').ok_or_else(|| units::error(value, expected))?;
    let (length_ns, every_ns) = (units::duration_ns(length)?, units::duration_ns(every)?);
    if length_ns >= every_ns {
        return Err(units::error(value, expected));
    }
    Ok(Some(Windows { every_ns, length_ns }))
}

fn queue(value: &str) -> Result<Queue, UnitError> {
    if value.ends_with("bdp") {
        let expected = "a queue such as 1bdp, 0.5bdp or 256KiB";
        return units::scaled(value, &[("bdp", 1.0)], expected).map(Queue::Bdp);
    }
    units::bytes(value).map(Queue::Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in pairs {
            settings.set(key, value).unwrap();
        }
        settings
    }

    #[test]
    fn every_key_changes_its_own_field() {
        let settings = set(&[
            ("rate", "10mbit"),
            ("delay", "40ms"),
            ("jitter", "3ms"),
            ("jitter-reorder", "on"),
            ("loss", "0.5%"),
            ("loss-burst", "8"),
            ("duplicate", "1%"),
            ("corrupt", "2%"),
            ("reorder", "3%"),
            ("reorder-delay", "5ms"),
            ("queue", "1000"),
            ("mtu", "1400"),
            ("black-hole", "5s/60s"),
        ]);
        let expected = LinkConfig {
            rate_bps: 10_000_000,
            queue_bytes_max: 1000,
            delay_ns: 40_000_000,
            jitter_ns: 3_000_000,
            jitter_reorders: true,
            loss: Loss::Bursts { probability: 0.005, burst_mean: 8.0 },
            duplicate_probability: 0.01,
            corrupt_probability: 0.02,
            reorder_probability: 0.03,
            reorder_delay_ns: 5_000_000,
            mtu_bytes: 1400,
            up: true,
            black_hole: false,
            black_hole_windows: Some(Windows {
                every_ns: 60_000_000_000,
                length_ns: 5_000_000_000,
            }),
        };
        assert_eq!(link_configs(&[settings, Settings::default()])[0], expected);
    }

    #[test]
    fn two_states_of_loss_are_four_shares_and_windows_leave_room() {
        let settings = set(&[("loss-states", "0.1%/10%/0/50%"), ("black-hole", "off")]);
        let loss = link_configs(&[settings.clone(), settings])[0].loss;
        let expected = Loss::GilbertElliott {
            good_to_bad: 0.001,
            bad_to_good: 0.1,
            loss_good: 0.0,
            loss_bad: 0.5,
        };
        assert_eq!(loss, expected);
        for (key, value) in
            [("loss-states", "1%/2%/3%"), ("black-hole", "5s/5s"), ("black-hole", "5s")]
        {
            assert!(Settings::default().set(key, value).is_err(), "{value}");
        }
    }

    #[test]
    fn every_key_is_known() {
        for key in KEYS {
            let refused = Settings::default().set(key, "nonsense");
            assert!(matches!(refused, Err(SettingError::Value { .. })), "{key}: {refused:?}");
        }
        let unknown = Settings::default().set("speed", "1mbit");
        assert!(unknown.unwrap_err().to_string().contains("known are rate, delay"));
    }

    #[test]
    fn a_queue_in_bdp_follows_rate_and_both_delays() {
        let one = set(&[("rate", "200mbit"), ("delay", "30ms"), ("queue", "2bdp")]);
        let other = set(&[("rate", "10mbit"), ("delay", "50ms")]);
        let configs = link_configs(&[one, other]);
        assert_eq!(configs[0].queue_bytes_max, 2 * 200_000_000 / 8 * 80 / 1000);
        assert_eq!(configs[1].queue_bytes_max, 10_000_000 / 8 * 80 / 1000);
    }

    #[test]
    fn a_refused_value_changes_nothing() {
        let mut settings = set(&[("loss", "1%")]);
        let before = settings.clone();
        assert!(settings.set("loss", "200%").is_err());
        assert_eq!(settings, before);
    }
}
