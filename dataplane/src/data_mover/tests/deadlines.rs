//! Packets with a deadline: recovered only while useful, then given up, told and counted.

use super::harness::{Link, MBIT, World, config};
use crate::data_mover::MoverCounter::{
    BuffersAbandoned, BuffersCompleted, BuffersExpired, BuffersGivenUp, BuffersOut,
    PiecesRetransmitted,
};
use crate::data_mover::PeerConfig;
use crate::data_mover::wire::{DATA_BASE_LEN, Floor, HEADER_LEN};
use crate::packet_driver::BufferKind;
use crate::time::{MILLISECOND_NS, SECOND_NS};

const PERCENT: u64 = 10_000;
const COUNT: u64 = 3_000;

/// Sends packets with this deadline over 80 ms with this loss, one a millisecond, until all are
/// delivered or given up: nothing is left at either end, and all are accounted for.
fn world_of(loss: u64, deadline_ns: Option<u64>, seed: u64) -> World {
    // Parity would bring back some of what is given up here.
    let link = Link::new(200 * MBIT, 40 * MILLISECOND_NS, loss);
    let mut world = World::new(PeerConfig { fec: false, ..config(200 * MBIT) }, link, seed);
    world.source_every(0, BufferKind::Datagram, (60, 3_000), COUNT, MILLISECOND_NS);
    world.sides[0].sources[0].deadline_ns = deadline_ns;
    assert!(world.run_until_done(60_000));
    settled(&mut world);
    world
}

fn settled(world: &mut World) {
    world.run_ms(2_000);
    world.assert_clean();
    let [sender, receiver] = &world.sides;
    assert_eq!((receiver.heard.wrong, sender.get(BuffersOut)), (0, COUNT));
    let given_up = sender.get(BuffersAbandoned) + sender.get(BuffersExpired);
    assert_eq!(sender.get(BuffersOut), sender.get(BuffersCompleted) + given_up);
    assert_eq!(receiver.heard.buffers.len() as u64 + given_up, COUNT);
    assert!(receiver.heard.buffers.values().all(|count| *count == 1));
}

#[test]
fn with_time_enough_every_packet_arrives() {
    for loss in [PERCENT, 10 * PERCENT] {
        let world = world_of(loss, Some(10 * SECOND_NS), 1);
        assert!(world.sides[0].get(PiecesRetransmitted) > 0);
        assert_eq!(world.sides[1].heard.buffers.len() as u64, COUNT);
    }
}

#[test]
fn without_a_deadline_or_with_one_before_an_answer_nothing_is_sent_again() {
    for loss in [PERCENT, 10 * PERCENT] {
        // A loss is noticed after a round trip, and what is sent then takes half of one.
        for deadline_ns in [None, Some(0), Some(50 * MILLISECOND_NS), Some(115 * MILLISECOND_NS)] {
            let world = world_of(loss, deadline_ns, 2);
            let sender = &world.sides[0];
            assert_eq!(sender.get(PiecesRetransmitted), 0, "{deadline_ns:?}");
            let lost = sender.get(BuffersAbandoned);
            let expected = COUNT * loss / 1_000_000;
            if deadline_ns != Some(0) {
                assert!((expected / 2..expected * 4).contains(&lost), "{lost} {deadline_ns:?}");
                assert_eq!(sender.get(BuffersExpired), 0, "{deadline_ns:?}");
            }
        }
    }
}

#[test]
fn a_deadline_of_two_round_trips_mends_one_loss_and_not_two() {
    let world = world_of(10 * PERCENT, Some(190 * MILLISECOND_NS), 3);
    let sender = &world.sides[0];
    let abandoned = sender.get(BuffersAbandoned);
    // One of a hundred pieces is lost twice; buffers have up to three.
    assert!((10..150).contains(&abandoned), "{abandoned}");
    assert!(sender.get(PiecesRetransmitted) > 300);
}

#[test]
fn what_waits_beyond_its_deadline_does_not_take_the_link() {
    let link = Link::new(2 * MBIT, 40 * MILLISECOND_NS, PERCENT);
    let mut world = World::new(config(2 * MBIT), link, 4);
    // More than the link carries, and a queue of a second before it.
    world.source_every(0, BufferKind::Datagram, (60, 1_400), COUNT, MILLISECOND_NS);
    world.sides[0].sources[0].deadline_ns = Some(300 * MILLISECOND_NS);
    world.source_every(0, BufferKind::Stream, (60, 60), 100, 10 * MILLISECOND_NS);
    assert!(world.run_until_done(60_000));
    world.run_ms(2_000);
    world.assert_clean();
    let [sender, receiver] = &world.sides;
    let (expired, abandoned) = (sender.get(BuffersExpired), sender.get(BuffersAbandoned));
    assert!(expired > COUNT / 4, "{expired}");
    // What was on its way when it was given up may arrive all the same, if all of it does: then the
    // receiver has nothing to give up. Each is delivered or given up, once.
    let given_up = receiver.get(BuffersGivenUp);
    assert_eq!(receiver.heard.buffers.len() as u64 + given_up, COUNT + 100);
    assert!(given_up <= expired + abandoned, "{given_up} of {expired} and {abandoned}");
}

#[test]
fn of_a_packet_that_is_late_before_it_is_sent_only_that_is_told() {
    let mut world = World::wan(0, 5);
    world.run_ms(1_000);
    assert!(world.sides[0].is_up());
    world.source(0, BufferKind::Datagram, (500, 500), 1);
    world.sides[0].sources[0].deadline_ns = Some(0);
    world.feed(0);
    let sender = &mut world.sides[0];
    let floor_len = HEADER_LEN + DATA_BASE_LEN + Floor::BASE_LEN;
    assert_eq!(sender.session.transmit(world.now, &mut [0; 2_048]), Some(floor_len));
    assert_eq!((sender.get(BuffersOut), sender.get(BuffersExpired)), (1, 1));
}
