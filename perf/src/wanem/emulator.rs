//! The WAN as a state machine: both directions, their settings, and what happened.
//!
//! In: what arrived at a port, commands, the time. Out: what is due at the other port, and when to
//! ask again. Never: a device, a clock, a socket.

use dataplane::time::Time;
use dataplane_sim::link::{Delivery, Link};
use hdrhistogram::Histogram;
use serde_json::Value;

use super::Direction;
use super::command::{Command, CommandError};
use super::report;
use super::settings::{Settings, link_configs};

/// Lateness is recorded up to here; more counts as this.
const LATENESS_NS_MAX: u64 = 10_000_000_000;
const LATENESS_DIGITS: u8 = 2;

/// Both directions of the WAN, carrying packets of type `T`.
#[derive(Debug)]
pub struct Emulator<T> {
    settings: [Settings; 2],
    ways: [Way<T>; 2],
}

/// One direction.
#[derive(Debug)]
pub struct Way<T> {
    /// What it does to packets.
    pub link: Link<T>,
    /// How long after they were due packets were handed to the port, in nanoseconds: the
    /// emulator's own error.
    pub lateness_ns: Histogram<u64>,
}

impl<T> Emulator<T> {
    /// Both directions empty; each holds at most `packets_max` packets.
    ///
    #[must_use]
    pub fn new(settings: [Settings; 2], packets_max: usize, seed: u64) -> Self {
        let configs = link_configs(&settings);
        let ways = Direction::BOTH.map(|direction| {
            let seed = seed.wrapping_mul(2).wrapping_add(direction as u64);
            let config = configs[direction.index()].clone();
            Way {
                link: Link::new(config, packets_max, seed),
                lateness_ns: Histogram::new_with_max(LATENESS_NS_MAX, LATENESS_DIGITS)
                    .expect("the bounds are constants that fit"),
            }
        });
        Emulator { settings, ways }
    }

    /// A packet came in.
    pub fn arrive(&mut self, direction: Direction, now: Time, ip_len: u64, packet: T) {
        self.ways[direction.index()].link.push(now, ip_len, packet);
    }

    /// The next packet that is due.
    pub fn depart(&mut self, direction: Direction, now: Time) -> Option<Delivery<T>> {
        let way = &mut self.ways[direction.index()];
        let delivery = way.link.pop(now)?;
        way.lateness_ns.saturating_record(now.since_ns(delivery.at));
        Some(delivery)
    }

    /// When the next packet may be due, in either direction.
    #[must_use]
    pub fn next_time(&self) -> Time {
        let [one, other] = &self.ways;
        one.link.next_time().min(other.link.next_time())
    }

    /// Does what a command asks for; the answer as JSON.
    ///
    /// # Errors
    ///
    /// [`CommandError`]; then nothing has changed.
    pub fn command(&mut self, now: Time, command: &Command) -> Result<Value, CommandError> {
        if *command == Command::Stats {
            return Ok(report::stats(&self.ways));
        }
        command.change(&mut self.settings)?;
        for (way, config) in self.ways.iter_mut().zip(link_configs(&self.settings)) {
            if config != *way.link.config() {
                way.link.set_config(now, config);
            }
        }
        Ok(report::done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emulator(pairs: &[(&str, &str)]) -> Emulator<u32> {
        let mut settings = Settings::default();
        for (key, value) in pairs {
            settings.set(key, value).unwrap();
        }
        Emulator::new([settings.clone(), settings], 1000, 1)
    }

    fn command(emulator: &mut Emulator<u32>, now: Time, line: &str) -> Value {
        emulator.command(now, &Command::parse(line).unwrap()).unwrap()
    }

    #[test]
    fn directions_are_apart_and_the_earlier_one_is_waited_for() {
        let mut emulator = emulator(&[("delay", "10ms")]);
        command(&mut emulator, Time::ZERO, "set b-to-a delay 5ms");
        emulator.arrive(Direction::AToB, Time::ZERO, 100, 1);
        emulator.arrive(Direction::BToA, Time::ZERO, 100, 2);
        assert_eq!(emulator.next_time(), Time::from_ms(5));
        let back = emulator.depart(Direction::BToA, Time::from_ms(5));
        assert_eq!(back.map(|delivery| delivery.item), Some(2));
        assert_eq!(emulator.depart(Direction::AToB, Time::from_ms(5)), None);
        assert_eq!(emulator.next_time(), Time::from_ms(10));
    }

    #[test]
    fn faults_differ_between_directions() {
        let mut emulator = emulator(&[("loss", "50%")]);
        let survivors = Direction::BOTH.map(|direction| {
            for packet in 0..100 {
                emulator.arrive(direction, Time::ZERO, 100, packet);
            }
            let out = std::iter::from_fn(|| emulator.depart(direction, Time::ZERO));
            out.map(|delivery| delivery.item).collect::<Vec<_>>()
        });
        assert_ne!(survivors[0], survivors[1]);
    }

    #[test]
    fn statistics_count_everything_and_say_whether_it_adds_up() {
        let mut emulator = emulator(&[("delay", "10ms")]);
        for packet in 0..3 {
            emulator.arrive(Direction::AToB, Time::ZERO, 1000, packet);
        }
        let late = Time::from_ms(10) + 5_000;
        assert!(emulator.depart(Direction::AToB, late).is_some());
        command(&mut emulator, late, "set a-to-b mtu 500");
        emulator.arrive(Direction::AToB, late, 501, 9);
        let stats = command(&mut emulator, late, "stats");
        let way = &stats["a_to_b"];
        assert_eq!(way["counters"]["packets_in"], 4);
        assert_eq!(way["counters"]["bytes_out"], 1000);
        assert_eq!(way["counters"]["drop_oversize_bytes"], 501);
        assert_eq!(way["held"]["packets"], 2);
        assert_eq!(way["config"]["mtu_bytes"], 500);
        assert_eq!(way["lateness_us"]["p50"].as_f64().map(f64::round), Some(5.0));
        assert_eq!(stats["b_to_a"]["counters"]["packets_in"], 0);
        assert_eq!(stats["adds_up"], true);
    }

    #[test]
    fn a_cut_holds_for_the_direction_it_names() {
        let mut emulator = emulator(&[]);
        command(&mut emulator, Time::ZERO, "down a-to-b");
        for direction in Direction::BOTH {
            emulator.arrive(direction, Time::ZERO, 100, 1);
        }
        assert_eq!(emulator.depart(Direction::AToB, Time::ZERO), None);
        assert!(emulator.depart(Direction::BToA, Time::ZERO).is_some());
    }
}
