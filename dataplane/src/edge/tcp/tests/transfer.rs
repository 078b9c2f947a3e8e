//! Megabytes through a pair of connections, over every kind of channel.

use super::channel::{Channel, Faults, pattern};

/// Printed on failure, and enough to replay it.
fn transfer(seed: u64, faults: Faults, bytes: [usize; 2], initial: [u32; 2]) -> Channel {
    println!("seed {seed} faults {faults:?} bytes {bytes:?} initial {initial:?}");
    let mut channel = Channel::new(seed, faults, initial);
    for (index, len) in bytes.into_iter().enumerate() {
        channel.ends[index].to_send = pattern(len, seed + index as u64);
    }
    channel.finish();
    channel
}

const LOSSES_PER_MILLE: [u64; 4] = [0, 1, 10, 50];

#[test]
fn both_directions_arrive_whole_at_any_loss() {
    for loss_per_mille in LOSSES_PER_MILLE {
        for seed in 1..=4 {
            let faults = Faults { loss_per_mille, ..Faults::NONE };
            transfer(seed, faults, [2_000_000, 1_000_000], [7, u32::MAX - 500_000]);
        }
    }
}
