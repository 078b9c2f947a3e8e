//! `fixed`: random loss is borne, a smaller capacity is found out and left again.

use super::super::{Mark, MoverCounter as C};
use super::harness::{MBIT, World};
use crate::packet_driver::BufferKind;

const BULK: (usize, usize) = (60_000, 65_536);

#[test]
fn random_loss_that_begins_is_tested_once_and_borne() {
    let mut world = World::wan(0, 31);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(3_000);
    world.links(|link| link.loss = 50_000);
    let mut tested = false;
    for _ in 0..3_000 {
        world.run_ms(1);
        let phase = world.sides[0].session.report().phase;
        tested |= phase == Mark::Test;
        assert_ne!(phase, Mark::Lowered);
    }
    assert!(tested);
    assert_eq!(world.sides[0].session.report().rate_bps, 200 * MBIT);
    let eta = world.eta(50_000, 3_000);
    assert!(eta >= 0.97, "{eta}");
}

#[test]
fn losses_in_bursts_are_borne() {
    for (loss, seed) in [(10_000, 33), (100_000, 34), (200_000, 35)] {
        let mut world = World::wan(loss, seed);
        world.links(|link| link.loss_burst = 8);
        world.source(0, BufferKind::Stream, BULK, u64::MAX);
        world.run_ms(6_000);
        let eta = world.eta(loss, 8_000);
        println!("loss {loss} in bursts of 8: eta {eta}");
        assert!(eta >= 0.9, "{eta} at {loss}");
    }
}

#[test]
fn a_smaller_capacity_is_stepped_down_to_and_left_again() {
    let mut world = World::wan(1_000, 32);
    world.source(0, BufferKind::Stream, BULK, u64::MAX);
    world.run_ms(3_000);
    world.links(|link| (link.rate_bps, link.queue_bytes) = (80 * MBIT, 200_000));
    world.run_ms(3_000);
    let report = world.sides[0].session.report();
    assert!(matches!(report.phase, Mark::Lowered | Mark::Raise), "{report:?}");
    assert!(report.capacity_bps < 92 * MBIT, "{report:?}");
    // It does not feed the loss it causes.
    let (sent, lost) = (world.sides[0].get(C::DatagramsOut), world.sides[0].get(C::DatagramsLost));
    world.run_ms(4_000);
    let sent = (world.sides[0].get(C::DatagramsOut) - sent) as f64;
    let share = (world.sides[0].get(C::DatagramsLost) - lost) as f64 / sent;
    assert!(share < 0.05, "{share}");
    world.links(|link| (link.rate_bps, link.queue_bytes) = (200 * MBIT, 2_500_000));
    world.run_ms(20_000);
    let report = world.sides[0].session.report();
    assert_eq!(report.capacity_bps, 200 * MBIT, "{report:?}");
}
