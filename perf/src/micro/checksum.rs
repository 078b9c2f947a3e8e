//! The Internet checksum beside DPDK's.

use std::hint::black_box;

use dataplane::frame::checksum::checksum;
use dpdk_wrapper::baseline::raw_checksum;

use super::{Bench, MicroError, random_bytes};

/// Sums of one lap.
const LAP: usize = 256;

pub(super) fn run(bench: &mut Bench) -> Result<(), MicroError> {
    for (name, len) in [("checksum 1448 B", 1448usize), ("checksum 20 B", 20)] {
        let bytes = random_bytes(len);
        if checksum(&bytes) != !raw_checksum(&bytes).to_be() {
            return Err(MicroError::set_up(name, "the two sums differ"));
        }
        let mut ours = || {
            for _ in 0..LAP {
                black_box(checksum(black_box(&bytes)));
            }
        };
        let mut dpdk = || {
            for _ in 0..LAP {
                black_box(raw_checksum(black_box(&bytes)));
            }
        };
        bench.compare(name, LAP * len, &mut ours, &mut dpdk)?;
    }
    Ok(())
}
