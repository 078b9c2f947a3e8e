//! Beginnings, ends, and what comes between.

use super::super::MoverCounter as C;
use super::super::wire::{
    DatagramHeader, DatagramKind, HEADER_LEN, SHORT_REACH, SUBFIELD_LEN, WIRE_VERSION,
};
use super::super::{CloseReason, Down, Incarnation, Mismatch, PeerConfig, Session, State};
use super::harness::{Link, MBIT, World, config, pool};
use crate::packet_driver::{BufferKind, Lane};
use crate::time::{MILLISECOND_NS, SECOND_NS};

#[test]
fn both_begin_at_once_and_agree_on_who_is_larger() {
    let mut world = World::wan(0, 1);
    world.run_ms(200);
    let ups: Vec<_> = world.sides.iter().map(|side| side.heard.ups.clone()).collect();
    assert_eq!((ups[0].len(), ups[1].len()), (1, 1));
    assert_eq!((ups[0][0].larger, ups[1][0].larger), (false, true));
    assert_eq!((ups[0][0].incarnation, ups[1][0].incarnation), (Incarnation(2), Incarnation(1)));
    assert!(!ups[0][0].restarted);
    for side in &world.sides {
        assert!(side.get(C::HellosOut) <= 3);
        let rtt_ms = side.session.report().rtt_ns / MILLISECOND_NS;
        assert_eq!(rtt_ms, 80);
    }
}

#[test]
fn comes_up_over_any_link_and_stays_up() {
    for seed in 0..100 {
        let link = Link::new(10 * MBIT, 40 * MILLISECOND_NS, 300_000);
        let mut world = World::new(config(10 * MBIT), link, seed);
        world.links(|link| {
            link.duplicate = 50_000;
            link.jitter_ns = 50 * MILLISECOND_NS;
        });
        world.run_ms(8_000);
        for side in &world.sides {
            assert!(side.is_up());
            assert_eq!(side.heard.ups.len(), 1, "seed {seed}: {:?}", side.heard.downs);
        }
    }
}

#[test]
fn an_idle_session_says_little() {
    let mut world = World::wan(0, 2);
    world.run_ms(60_000);
    for side in &world.sides {
        let out = side.get(C::DatagramsOut);
        assert!((50..150).contains(&out), "{out}");
        assert!(side.is_up());
    }
}

#[test]
fn everything_arrives_after_five_seconds_of_nothing() {
    let mut world = World::wan(1_000, 3);
    world.source(0, BufferKind::Stream, (10_000, 65_536), 1_000);
    world.source_every(1, BufferKind::Control, (20, 200), 100, 10 * MILLISECOND_NS);
    world.run_ms(600);
    world.links(|link| link.cut = true);
    let out = world.sides[0].get(C::DatagramsOut);
    world.run_ms(5_000);
    let into_the_void = world.sides[0].get(C::DatagramsOut) - out;
    assert!(into_the_void < 4_500, "two round trips and probes: {into_the_void}");
    world.links(|link| link.cut = false);
    let before = world.sides[1].heard.bytes;
    world.run_ms(1_000);
    assert!(world.sides[1].heard.bytes - before > 8_000_000, "back at full speed");
    assert!(world.run_until_done(20_000));
    world.assert_all_delivered(0);
    world.assert_all_delivered(1);
    world.assert_clean();
    assert!(world.sides.iter().all(|side| side.heard.downs.is_empty()));
}

#[test]
fn one_direction_can_be_dead() {
    for dead in 0..2 {
        let mut world = World::wan(0, 4);
        world.source(0, BufferKind::Stream, (10_000, 65_536), 500);
        world.run_ms(400);
        world.sides[dead].link.cut = true;
        world.run_ms(3_000);
        world.sides[dead].link.cut = false;
        assert!(world.run_until_done(20_000));
        world.assert_all_delivered(0);
        world.assert_clean();
    }
}

#[test]
fn a_dead_peer_is_noticed_and_a_new_session_follows() {
    let mut world = World::wan(0, 5);
    world.source(0, BufferKind::Stream, (10_000, 65_536), u64::MAX);
    world.run_ms(1_000);
    world.links(|link| link.cut = true);
    world.run_ms(11_500);
    for side in &mut world.sides {
        assert_eq!(side.heard.downs, [Down::Dead]);
        assert_eq!(side.session.state(), State::Connecting);
        side.heard.buffers.clear();
        side.sources.clear();
    }
    world.assert_clean();
    world.links(|link| link.cut = false);
    world.run_ms(2_000);
    for side in &world.sides {
        assert_eq!(side.heard.ups.len(), 2);
        assert!(!side.heard.ups[1].restarted);
    }
    world.sides[0].offered = 0;
    world.source(0, BufferKind::Stream, (10_000, 65_536), 50);
    assert!(world.run_until_done(5_000));
    world.assert_all_delivered(0);
}

#[test]
fn a_restarted_peer_is_known_by_its_incarnation() {
    for (seed, side) in [(6, 0), (7, 1)] {
        let mut world = World::wan(5_000, seed);
        world.source(0, BufferKind::Stream, (10_000, 65_536), u64::MAX);
        world.run_ms(1_000);
        world.restart(side, 3);
        world.run_ms(1_500);
        let other = &world.sides[1 - side].heard;
        assert_eq!(other.downs, [Down::Replaced]);
        assert_eq!(other.ups.len(), 2);
        assert!(other.ups[1].restarted);
        assert_eq!(other.ups[1].incarnation, Incarnation(3));
        assert!(!world.sides[side].heard.ups[1].restarted, "it knows nothing of before");
        let discarded = world.sides[1 - side].get(C::BuffersDiscarded);
        assert_eq!(discarded > 0, side == 1);
        for side in &world.sides {
            assert_eq!(side.heard.wrong, 0);
        }
    }
}

#[test]
fn datagrams_of_a_former_session_change_nothing() {
    let mut world = World::wan(0, 8);
    // Long in the network: they arrive when the restarted peer is up already.
    world.links(|link| link.jitter_ns = 400 * MILLISECOND_NS);
    world.source(0, BufferKind::Stream, (10_000, 65_536), u64::MAX);
    world.run_ms(3_000);
    world.restart(0, 3);
    world.sides[0].sources.clear();
    world.run_ms(100);
    world.links(|link| link.jitter_ns = 0);
    world.run_ms(2_000);
    assert!(world.sides[1].get(C::DropSession) > 0);
    world.sides[1].heard.buffers.clear();
    world.sides[0].offered = 0;
    world.source(0, BufferKind::Stream, (10_000, 65_536), 30);
    assert!(world.run_until_done(5_000));
    world.assert_all_delivered(0);
    world.assert_clean();
}

#[test]
fn an_old_hello_is_not_even_answered() {
    let mut world = World::wan(0, 11);
    let mut old = [0; 2_048];
    let len = world.sides[0].session.transmit(world.now, &mut old).unwrap();
    world.restart(0, 3);
    world.run_ms(1_000);
    let side = &mut world.sides[1];
    let before = (side.get(C::HellosOut), side.session.state());
    side.session.receive(world.now, &mut old[..len], &mut side.heard);
    assert_eq!(side.get(C::DropStaleHello), 1);
    world.run_ms(1_000);
    let side = &world.sides[1];
    assert_eq!((side.get(C::HellosOut), side.session.state()), before);
    assert!(side.heard.downs.is_empty());
}

#[test]
fn a_datagram_that_comes_twice_is_taken_once() {
    let mut world = World::wan(0, 12);
    world.links(|link| link.duplicate = 500_000);
    world.source(0, BufferKind::Stream, (1_000, 9_000), 200);
    assert!(world.run_until_done(5_000));
    world.assert_all_delivered(0);
    let [a, b] = &world.sides;
    assert!(b.get(C::DropDuplicate) > 300, "{}", b.get(C::DropDuplicate));
    assert_eq!((b.get(C::PiecesDuplicate), a.get(C::DatagramsLost)), (0, 0));
    world.assert_clean();
}

#[test]
fn a_close_is_told_and_leaves_nothing() {
    let mut world = World::wan(200_000, 9);
    world.source(0, BufferKind::Stream, (10_000, 65_536), u64::MAX);
    world.source(1, BufferKind::Stream, (10_000, 65_536), u64::MAX);
    world.run_ms(1_000);
    let now = world.now;
    world.sides[0].session.close(now, CloseReason::Stopping);
    world.run_ms(500);
    assert_eq!(world.sides[1].heard.downs, [Down::Closed(CloseReason::Stopping)]);
    assert_eq!(world.sides[0].session.state(), State::Closed);
    assert_eq!(world.sides[1].session.state(), State::Connecting);
    assert!(!world.sides[0].session.can_take(BufferKind::Control, Lane::BULK));
    world.assert_clean();
}

#[test]
fn ends_that_do_not_agree_say_so_and_stay_apart() {
    let mut world = World::wan(0, 10);
    let other = PeerConfig { digest: 77, ..config(200 * MBIT) };
    world.sides[1].session = Session::new(other, Incarnation(2), pool(200 * MBIT), 99);
    world.run_ms(3_000);
    let expected = [77, 0].map(|theirs| State::Mismatch(Mismatch::Digest { theirs }));
    assert_eq!(world.sides.each_ref().map(|side| side.session.state()), expected);
    assert!(world.sides[0].get(C::HellosOut) < 10);
    // The operator repairs it.
    world.sides[1].session = Session::new(config(200 * MBIT), Incarnation(3), pool(200 * MBIT), 98);
    world.run_ms(2_000);
    assert!(world.sides.iter().all(|side| side.is_up()));
}

/// Both ends are told, whichever is reconfigured, whatever is lost; nothing ends.
#[test]
fn ends_that_are_told_otherwise_while_a_session_is_up_say_so_at_once() {
    for seed in 0..10 {
        for mut world in [World::wan(200_000, seed), World::sealed(200_000, seed)] {
            world.run_ms(1_000);
            let agrees =
                |world: &World| world.sides.each_ref().map(|side| side.session.report().agrees);
            assert_eq!(agrees(&world), [Some(true); 2]);
            let side = usize::try_from(seed % 2).unwrap();
            world.sides[side].session.set_digest(7);
            assert_eq!(world.sides[side].session.report().agrees, Some(false));
            world.run_ms(8_000);
            assert_eq!(agrees(&world), [Some(false); 2], "seed {seed}");
            // The other end follows.
            world.sides[1 - side].session.set_digest(7);
            world.run_ms(8_000);
            assert_eq!(agrees(&world), [Some(true); 2], "seed {seed}");
            // And a while later there is nothing to say any more.
            let before = world.sides.each_ref().map(|side| side.get(C::DatagramsOut));
            world.run_ms(10_000);
            let after = world.sides.each_ref().map(|side| side.get(C::DatagramsOut));
            assert!(before.iter().zip(after).all(|(before, after)| after - before < 50));
            assert!(world.sides.iter().all(|side| side.heard.downs.is_empty()));
        }
    }
}

/// A machine that was suspended, or that was moved to another host.
#[test]
fn a_clock_that_jumps_ends_a_session_at_most() {
    const MINUTE: u64 = 60 * SECOND_NS;
    for (seed, jump_ns) in (0..).zip([SECOND_NS, 30 * SECOND_NS, 5 * MINUTE, 1_000_000 * MINUTE]) {
        for sealed in [false, true] {
            let link = Link::new(5 * MBIT, 40 * MILLISECOND_NS, 10_000);
            let config = PeerConfig { sealed, ..config(5 * MBIT) };
            let mut world = World::new(config, link, seed);
            let side = usize::try_from(seed % 2).unwrap();
            world.source(0, BufferKind::Stream, (3_000, 30_000), u64::MAX);
            world.source(1, BufferKind::Stream, (3_000, 30_000), u64::MAX);
            world.run_ms(1_000);
            // One clock, then both; then the first is back where it was.
            world.sides[side].ahead_ns = 2 * jump_ns;
            world.run_ms(3_000);
            world.sides[1 - side].ahead_ns = jump_ns;
            world.run_ms(3_000);
            world.sides[side].ahead_ns = jump_ns.min(20 * SECOND_NS) + jump_ns;
            world.run_ms(40_000);
            assert!(world.sides.iter().all(|side| side.is_up()), "{jump_ns}");
            for side in &mut world.sides {
                assert_eq!(side.heard.wrong, 0);
                let ends = &side.heard.downs;
                let named =
                    |down: &Down| matches!(down, Down::Dead | Down::Replaced | Down::Expired);
                assert!(ends.len() <= 6 && ends.iter().all(named), "{jump_ns}: {ends:?}");
                side.sources.clear();
            }
            assert!(world.run_until_done(20_000), "{jump_ns}");
            world.assert_clean();
        }
    }
}

#[test]
fn a_peer_of_another_version_is_shown_with_the_versions_it_speaks() {
    let mut world = World::wan(0, 13);
    let mut bytes = [0; 2_048];
    let len = world.sides[0].session.transmit(world.now, &mut bytes).unwrap();
    // Versions are behind ids, incarnations and flags.
    let at = HEADER_LEN + SUBFIELD_LEN + 29;
    assert_eq!(bytes[at..at + 2], [WIRE_VERSION; 2]);
    bytes[at..at + 2].copy_from_slice(&[4, 5]);
    let side = &mut world.sides[1];
    side.session.receive(world.now, &mut bytes[..len], &mut side.heard);
    let mismatch = Mismatch::Version { min: 4, max: 5 };
    assert_eq!(side.session.state(), State::Mismatch(mismatch));
    assert_eq!(side.get(C::DropMismatch), 1);
    // After its update it is as any other.
    world.run_ms(2_000);
    assert!(world.sides.iter().all(|side| side.is_up()));
}

#[test]
fn nothing_is_lost_over_a_thousand_bad_links() {
    for seed in 0..1_000 {
        let link = Link {
            loss: (seed * 7_919) % 200_000,
            duplicate: (seed * 104_729) % 100_000,
            jitter_ns: (seed * 1_299_709) % (60 * MILLISECOND_NS),
            ..Link::new(10 * MBIT, (seed * 31) % 100 * MILLISECOND_NS, 0)
        };
        let mut config = config(10 * MBIT);
        config.segment_size_max = 512 + u16::try_from(seed % 3).unwrap() * 444;
        config.buffers_max = 256;
        let mut world = World::new(config, link, seed);
        world.source(0, BufferKind::Stream, (1_000, 20_000), 10);
        world.source(0, BufferKind::Control, (20, 300), 10);
        world.source(1, BufferKind::Stream, (8, 3_000), 10);
        assert!(world.run_until_done(60_000), "seed {seed}");
        world.assert_all_delivered(0);
        world.assert_all_delivered(1);
        world.assert_clean();
    }
}

/// One trouble, drawn from the seed.
fn trouble(world: &mut World, incarnation: &mut u64) {
    let side = usize::try_from(world.random(2)).unwrap();
    match world.random(8) {
        0 | 1 => {
            let cut = !world.sides[side].link.cut;
            world.sides[side].link.cut = cut;
        }
        2 => world.sides[side].link.loss = world.random(500_000),
        3 => world.sides[side].link.jitter_ns = world.random(200 * MILLISECOND_NS) + 1,
        4 => {
            *incarnation += 1;
            world.restart(side, *incarnation);
        }
        5 => world.sides[side].link.delay_ns = world.random(200 * MILLISECOND_NS),
        6 => world.sides[side].session.set_backlogged((*incarnation).is_multiple_of(2)),
        _ => world.sides[side].link.duplicate = world.random(300_000),
    }
    let ms = world.random(4_000);
    world.run_ms(ms);
}

#[test]
fn any_series_of_troubles_ends_well() {
    for seed in 5_000..5_100 {
        let link = Link::new(5 * MBIT, 20 * MILLISECOND_NS, 10_000);
        let config = PeerConfig { dead_after_ns: 3_000 * MILLISECOND_NS, ..config(5 * MBIT) };
        let mut world = World::new(config, link, seed);
        let mut incarnation = 2;
        for side in 0..2 {
            world.source_every(side, BufferKind::Stream, (8, 9_000), u64::MAX, 7 * MILLISECOND_NS);
            world.source_every(side, BufferKind::Datagram, (8, 900), u64::MAX, 9 * MILLISECOND_NS);
        }
        for _ in 0..12 {
            trouble(&mut world, &mut incarnation);
        }
        world.links(|own| *own = link);
        world.links(|own| own.loss = 0);
        for side in &mut world.sides {
            side.sources.clear();
            side.session.set_backlogged(false);
        }
        world.run_ms(8_000);
        assert!(world.sides.iter().all(|side| side.is_up()), "seed {seed}");
        let marks = [world.sides[0].offered, world.sides[1].offered];
        world.source(0, BufferKind::Stream, (8, 9_000), 20);
        world.source(1, BufferKind::Control, (8, 90), 20);
        assert!(world.run_until_done(8_000), "seed {seed}");
        for (side, mark) in marks.into_iter().enumerate() {
            let heard = &world.sides[1 - side].heard;
            assert_eq!(heard.wrong, 0, "seed {seed}");
            assert!(heard.buffers.values().all(|count| *count == 1), "seed {seed}");
            assert_eq!(heard.buffers.range(mark..).count(), 20, "seed {seed}");
        }
        world.assert_clean();
    }
}

#[test]
fn numbers_far_from_what_the_peer_has_told_are_not_sent_in_the_short_form() {
    let mut world = World::sealed(0, 40);
    world.run_ms(1_000);
    world.source(0, BufferKind::Stream, (60_000, 60_000), 100);
    let kinds = |datagrams: Vec<Vec<u8>>| -> Vec<_> {
        datagrams.iter().map(|bytes| DatagramHeader::parse(bytes).unwrap().0.kind).collect()
    };
    let pieces = |kinds: &[DatagramKind], kind| kinds.iter().filter(|each| **each == kind).count();
    let near = kinds(world.capture());
    assert!(pieces(&near, DatagramKind::Piece) > 50, "{near:?}");
    // None of these arrives, and so nothing is told of them.
    let (now, sender) = (world.now, &mut world.sides[0].session.sender);
    for _ in 0..SHORT_REACH {
        assert!(sender.make_room(now));
        sender.skip(now);
    }
    world.source(0, BufferKind::Control, (1_000, 1_000), 100);
    let far = kinds(world.capture());
    assert!(far.len() > 50 && pieces(&far, DatagramKind::Session) == far.len(), "{far:?}");
}
