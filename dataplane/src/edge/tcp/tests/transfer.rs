//! Megabytes through a pair of connections, over every kind of channel.

use super::channel::{Channel, Faults, pattern};
use super::support::config;
use crate::edge::tcp::{State, TcpConfig};
use crate::time::{SECOND_NS, Time};

/// What is printed is shown on failure and is enough to replay it.
fn channel(seed: u64, faults: Faults, bytes: [usize; 2], config: TcpConfig) -> Channel {
    println!("seed {seed} {faults:?} bytes {bytes:?}");
    let initial = [u32::MAX - 100_000, 7];
    let mut channel = Channel::new(seed, faults, initial, config.into());
    for (index, len) in bytes.into_iter().enumerate() {
        channel.ends[index].to_send = pattern(len, seed + index as u64);
    }
    channel
}

fn transfer(seed: u64, faults: Faults, bytes: [usize; 2]) -> Channel {
    let mut channel = channel(seed, faults, bytes, (*config()).clone());
    channel.finish();
    channel
}

#[test]
fn both_directions_arrive_whole_at_any_loss() {
    for loss_per_mille in [0, 1, 10, 50, 200] {
        for seed in 1..=4 {
            let faults = Faults { loss_per_mille, ..Faults::NONE };
            let bytes = if loss_per_mille < 100 { [2_000_000, 1_000_000] } else { [50_000; 2] };
            transfer(seed, faults, bytes);
        }
    }
}

#[test]
fn everything_at_once() {
    for seed in 1..=12 {
        let faults = Faults {
            delay_us: 10 + seed * 137,
            loss_per_mille: (seed * 7) % 60,
            duplicate_per_mille: 30,
            reorder_per_mille: 50,
            reorder_us: 10 + (seed % 4) * 500,
            ..Faults::NONE
        };
        transfer(seed, faults, [500_000, 300_000]);
    }
}

/// A connection that rests in every pause goes on as if it had not.
#[test]
fn at_rest_between_bursts() {
    for (seed, sack, timestamps) in [(1, true, true), (2, true, false), (3, false, false)] {
        // As soon as nothing is under way.
        let config = TcpConfig { sack, timestamps, idle_release_ns: 0, ..(*config()).clone() };
        let faults = Faults { loss_per_mille: 20, reorder_per_mille: 10, ..Faults::NONE };
        let mut channel = channel(seed, faults, [0, 0], config);
        for end in &mut channel.ends {
            end.fin_after_send = false;
        }
        for burst in 0..100u64 {
            let from = usize::from(burst % 3 == 0);
            let more = pattern(1 + channel.random.up_to(30_000), burst);
            channel.ends[from].to_send.extend(more);
            let all = channel.ends[from].to_send.len();
            let arrived = |channel: &Channel| channel.ends[1 - from].received.len() == all;
            assert!(channel.run(channel.now + 100 * SECOND_NS, arrived));
            channel.run(channel.now + SECOND_NS, |_| false);
        }
        for end in &mut channel.ends {
            assert!(end.rested >= 100, "{} times", end.rested);
            end.fin_after_send = true;
        }
        channel.finish();
    }
}

#[test]
fn without_sack_or_timestamps_too() {
    for (sack, timestamps) in [(false, false), (false, true), (true, false)] {
        for seed in 1..=4 {
            let config = TcpConfig { sack, timestamps, ..(*config()).clone() };
            let faults = Faults {
                loss_per_mille: 20,
                duplicate_per_mille: 10,
                reorder_per_mille: 10,
                reorder_us: 300,
                ..Faults::NONE
            };
            channel(seed, faults, [400_000, 200_000], config).finish();
        }
    }
}

#[test]
fn a_clean_channel_sees_no_retransmission() {
    let mut channel = channel(3, Faults::NONE, [3_000_000, 0], (*config()).clone());
    let mut totals = None;
    channel.run(Time::from_ns(60 * SECOND_NS), |channel| {
        if let Some(connection) = &channel.ends[0].connection {
            totals = Some(connection.report().totals);
        }
        channel.closed()
    });
    let totals = totals.unwrap();
    assert_eq!((totals.retransmitted_segments, totals.timeouts), (0, 0), "{totals:?}");
    assert_eq!(channel.ends[1].received.len(), 3_000_000);
}

#[test]
fn reordering_alone_is_not_taken_for_loss() {
    let faults = Faults { reorder_per_mille: 20, reorder_us: 40, ..Faults::NONE };
    let mut channel = channel(5, faults, [3_000_000, 0], (*config()).clone());
    let mut totals = None;
    channel.run(Time::from_ns(60 * SECOND_NS), |channel| {
        if let Some(connection) = &channel.ends[0].connection {
            totals = Some(connection.report().totals);
        }
        channel.closed()
    });
    let totals = totals.unwrap();
    assert!(totals.retransmitted_segments < 20, "{totals:?}");
    assert_eq!(totals.timeouts, 0);
}

#[test]
fn one_direction_ends_long_before_the_other() {
    for first in 0..2 {
        let mut channel =
            channel(9, Faults { loss_per_mille: 10, ..Faults::NONE }, [0; 2], (*config()).clone());
        let second = 1 - first;
        channel.ends[second].fin_after_send = false;
        channel.ends[first].to_send = pattern(10_000, 1);
        let ended = |c: &Channel| c.ends[first].fin_acknowledged;
        assert!(channel.run(Time::from_ns(60 * SECOND_NS), ended));
        for hour in 1..4 {
            let more = pattern(100_000, hour);
            channel.ends[second].to_send.extend_from_slice(&more);
            let until = channel.now + 3600 * SECOND_NS;
            assert!(!channel.run(until, |channel| channel.closed()));
            assert_eq!(channel.ends[first].received.len(), channel.ends[second].to_send.len());
            assert_eq!(channel.ends[first].state(), State::FinWait2);
            assert_eq!(channel.ends[second].state(), State::CloseWait);
        }
        channel.ends[second].fin_after_send = true;
        channel.finish();
    }
}

#[test]
fn both_ends_close_at_once() {
    for seed in 1..=20 {
        let mut channel = channel(
            seed,
            Faults { loss_per_mille: 100, ..Faults::NONE },
            [0; 2],
            (*config()).clone(),
        );
        for end in &mut channel.ends {
            end.fin_after_send = false;
        }
        assert!(channel.run(Time::from_ns(60 * SECOND_NS), |channel| {
            channel.ends.iter().all(|end| end.state() == State::Established)
        }));
        for end in &mut channel.ends {
            end.fin_after_send = true;
        }
        channel.finish();
    }
}

#[test]
fn a_reader_that_stops_for_a_minute_loses_nothing() {
    for loss_per_mille in [0, 50] {
        let faults = Faults { loss_per_mille, ..Faults::NONE };
        let mut channel = channel(4, faults, [400_000, 0], (*config()).clone());
        channel.ends[1].window = 20_000;
        channel.ends[1].reading = false;
        assert!(!channel.run(Time::from_ns(60 * SECOND_NS), |channel| channel.closed()));
        assert_eq!(channel.ends[1].received.len(), 20_000);
        // Only the other direction has ended.
        assert_eq!(channel.ends[0].state(), State::CloseWait);
        channel.ends[1].reading = true;
        channel.finish();
    }
}

#[test]
fn streams_of_more_than_four_gibibytes() {
    for (skip, seed) in [((1_u64 << 32) - 300_000, 1), ((3 << 32) - 100_000, 2), (1 << 31, 3)] {
        let faults =
            Faults { loss_per_mille: 10, reorder_per_mille: 10, reorder_us: 200, ..Faults::NONE };
        let mut channel = channel(seed, faults, [0; 2], (*config()).clone());
        for end in &mut channel.ends {
            end.fin_after_send = false;
        }
        assert!(channel.run(Time::from_ns(60 * SECOND_NS), |channel| {
            channel.ends.iter().all(|end| end.state() == State::Established)
        }));
        let until = channel.now + SECOND_NS;
        channel.run(until, |_| false);
        for (index, end) in channel.ends.iter_mut().enumerate() {
            end.connection.as_mut().unwrap().skip(skip, skip);
            end.base = skip;
            end.to_send = pattern(1_000_000, index as u64);
            end.fin_after_send = true;
        }
        channel.finish();
    }
}

/// Goodput in Mb/s of virtual time, one direction.
fn goodput_mbps(faults: Faults, bytes: usize, seed: u64) -> u64 {
    let mut channel = channel(seed, faults, [bytes, 0], (*config()).clone());
    channel.finish();
    // TIME-WAIT is not part of it: the last byte is.
    bytes as u64 * 8 * 1000 / channel.last_byte_at.as_ns()
}

#[test]
fn a_lossy_lan_still_carries_hundreds_of_megabits() {
    for (delay_us, mbps_min) in [(50, 2000), (100, 1000), (500, 250)] {
        let faults = Faults { delay_us, loss_per_mille: 10, byte_ps: 800, ..Faults::NONE };
        let mut mbps: Vec<u64> =
            (1..=3).map(|seed| goodput_mbps(faults, 8_000_000, seed)).collect();
        mbps.sort_unstable();
        println!("delay {delay_us} us: {mbps:?} Mb/s");
        assert!(mbps[1] >= mbps_min, "{mbps:?} Mb/s at {delay_us} us each way");
    }
}

#[test]
fn a_clean_lan_is_filled() {
    let faults = Faults { delay_us: 100, byte_ps: 8000, ..Faults::NONE };
    let mbps = goodput_mbps(faults, 8_000_000, 1);
    assert!(mbps >= 850, "{mbps} Mb/s of 1000");
}
