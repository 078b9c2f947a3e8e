//! Paths that do not carry datagrams of every length.

use super::super::congestion::Congestion;
use super::super::{MoverCounter as C, PathMtuState, PeerConfig};
use super::harness::{Link, MBIT, World, config};
use crate::packet_driver::BufferKind;
use crate::time::{MILLISECOND_NS, SECOND_NS};

const BULK: (usize, usize) = (60_000, 65_536);

fn auto() -> Congestion {
    Congestion::Auto { hint_bps: None, rate_bps_max: 200 * MBIT }
}

/// 200 Mb/s, 80 ms, both kinds of controllers; datagrams of up to 1,464 IP bytes.
fn worlds(seed: u64, loss: u64) -> Vec<World> {
    let link = Link::new(200 * MBIT, 40 * MILLISECOND_NS, loss);
    let fixed = config(200 * MBIT);
    let worlds = [fixed, PeerConfig { congestion: auto(), ..fixed }];
    worlds.map(|config| World::new(config, link, seed)).into_iter().collect()
}

fn path(world: &World, side: usize) -> (u64, PathMtuState) {
    world.sides[side].session.report().path_mtu
}

/// Bytes delivered to side 1 in the next milliseconds.
fn delivered(world: &mut World, ms: u64) -> u64 {
    let before = world.sides[1].heard.bytes;
    world.run_ms(ms);
    world.sides[1].heard.bytes - before
}

#[test]
fn a_path_that_carries_everything_costs_three_probes() {
    for mut world in worlds(1, 0) {
        world.run_ms(400);
        for side in 0..2 {
            assert_eq!(path(&world, side), (1_458, PathMtuState::Complete));
            assert_eq!(world.sides[side].get(C::PathProbes), 3);
        }
        world.source(0, BufferKind::Stream, BULK, u64::MAX);
        world.run_ms(20_000);
        for side in &world.sides {
            assert_eq!((side.get(C::PathProbes), side.get(C::PathProbesLost)), (3, 0));
            assert_eq!(side.get(C::BlackHoles), 0);
        }
    }
}

#[test]
fn a_smaller_path_is_found_in_few_round_trips_under_load_from_the_start() {
    for mtu in [1_228, 1_400, 1_450, 1_457] {
        for mut world in worlds(mtu, 10_000) {
            world.links(|link| link.mtu = mtu);
            world.source(0, BufferKind::Stream, BULK, u64::MAX);
            world.source_every(0, BufferKind::Datagram, (1_000, 1_410), 500, MILLISECOND_NS);
            world.run_ms(700);
            assert!(path(&world, 0).0 <= mtu, "{:?}", path(&world, 0));
            assert!(delivered(&mut world, 800) > 8_000_000);
            world.run_ms(10_000);
            let (found, state) = path(&world, 0);
            assert_eq!(state, PathMtuState::Complete, "{mtu}");
            assert!(found <= mtu && found + 40 > mtu, "{found} of {mtu}");
            let side = &world.sides[0];
            assert_eq!(side.get(C::BlackHoles), 1);
            // Nobody sends in the other direction, and it knows nevertheless.
            assert_eq!(path(&world, 1).0, found);
            assert!(world.sides[1].heard.downs.is_empty());
        }
    }
}

#[test]
fn a_path_that_does_not_carry_the_base_is_used_all_the_same() {
    for mut world in worlds(2, 0) {
        world.links(|link| link.mtu = 1_000);
        world.source(0, BufferKind::Stream, BULK, 100);
        assert!(world.run_until_done(20_000));
        world.run_ms(20_000);
        let (found, state) = path(&world, 0);
        assert_eq!(state, PathMtuState::Error);
        assert!((960..=1_000).contains(&found), "{found}");
        world.assert_all_delivered(0);
        world.assert_clean();
    }
}

#[test]
fn a_path_that_shrinks_in_mid_transfer_is_followed_down_and_up_again() {
    let raise_ns = 10 * SECOND_NS;
    for shrunk in 0..2 {
        for world in worlds(3, 0) {
            let config = PeerConfig { path_mtu_raise_ns: raise_ns, ..world.config };
            let mut world = World::new(config, world.sides[0].link, 3);
            world.source(0, BufferKind::Stream, BULK, u64::MAX);
            world.source(1, BufferKind::Stream, BULK, u64::MAX);
            let full = delivered(&mut world, 5_000);
            world.sides[shrunk].link.mtu = 1_400;
            world.run_ms(1_000);
            assert_eq!(world.sides[shrunk].get(C::BlackHoles), 1);
            assert!(path(&world, shrunk).0 <= 1_400);
            assert_eq!(path(&world, 1 - shrunk).0, 1_458, "the other direction is as before");
            let during = delivered(&mut world, 5_000);
            assert!(during > full * 8 / 10, "{during} of {full}");
            assert_eq!(path(&world, shrunk), (1_400, PathMtuState::Complete));
            world.sides[shrunk].link.mtu = 0;
            world.run_ms(raise_ns / MILLISECOND_NS);
            assert_eq!(path(&world, shrunk), (1_458, PathMtuState::Complete));
            for side in &mut world.sides {
                assert!(side.heard.downs.is_empty() && side.heard.wrong == 0);
                side.sources.clear();
            }
            assert!(world.run_until_done(5_000));
            world.assert_all_delivered(0);
            world.assert_all_delivered(1);
            world.assert_clean();
        }
    }
}

#[test]
fn long_paths_are_found_where_the_operator_allows_them() {
    for (mtu, expected) in [(0, 8_548), (9_000, 8_548), (4_352, 4_352), (1_500, 1_500)] {
        let config =
            PeerConfig { segment_size_max: 8_500, congestion: auto(), ..config(200 * MBIT) };
        let mut world = World::new(config, Link::new(200 * MBIT, 5 * MILLISECOND_NS, 0), 4);
        world.links(|link| link.mtu = mtu);
        world.source(0, BufferKind::Stream, BULK, u64::MAX);
        world.run_ms(200);
        assert!(path(&world, 0).0 >= 1_500, "an ordinary packet from the start");
        world.run_ms(8_000);
        let (found, state) = path(&world, 0);
        assert_eq!(state, PathMtuState::Complete);
        assert!(found <= expected && found + 40 > expected, "{found} of {expected}");
        assert_eq!(world.sides[0].get(C::BlackHoles), 0);
        world.sides[0].sources.clear();
        assert!(world.run_until_done(5_000));
        world.assert_all_delivered(0);
    }
}

#[test]
fn random_loss_is_no_black_hole() {
    for seed in 0..3 {
        for mut world in worlds(100 + seed, 200_000) {
            world.source(0, BufferKind::Stream, BULK, u64::MAX);
            world.source_every(1, BufferKind::Stream, (100, 3_000), u64::MAX, 7 * MILLISECOND_NS);
            let mut lowered = 0;
            for _ in 0..100 {
                world.run_ms(100);
                lowered += (0..2).filter(|side| path(&world, *side).0 < 1_458).count();
            }
            assert!(lowered <= 5, "seed {seed}: {lowered} of 200");
        }
    }
}

#[test]
fn a_black_hole_for_everything_is_no_matter_of_length() {
    for seed in 0..5 {
        for mut world in worlds(200 + seed, 10_000 * (seed % 5)) {
            world.source(0, BufferKind::Stream, BULK, u64::MAX);
            world.source(1, BufferKind::Stream, (100, 3_000), u64::MAX);
            world.run_ms(2_000);
            world.links(|link| link.cut = true);
            world.run_ms(5_000);
            assert_eq!(path(&world, 0).0, 1_458);
            world.links(|link| link.cut = false);
            let complete = (1_458, PathMtuState::Complete);
            let latest = world.now + 1_500 * MILLISECOND_NS;
            while (0..2).any(|side| path(&world, side) != complete) && world.now < latest {
                world.run_ms(10);
                let shorter = (0..2).find(|side| path(&world, *side).0 != 1_458);
                assert_eq!(shorter, None, "seed {seed}");
            }
            for side in 0..2 {
                assert_eq!(path(&world, side), complete, "seed {seed}");
                assert_eq!(world.sides[side].get(C::BlackHoles), 0, "seed {seed}");
            }
        }
    }
}

/// The same transfer with a search that loses many probes, and with none.
#[test]
fn probes_that_are_lost_do_not_move_the_controller() {
    for congestion in [auto(), Congestion::Fixed { rate_bps: 50 * MBIT }] {
        let sent = [1_436, 8_500].map(|segment_size_max| {
            let base = PeerConfig {
                congestion,
                path_mtu_raise_ns: SECOND_NS,
                segment_size_max,
                ..config(200 * MBIT)
            };
            let mut world = World::new(base, Link::new(50 * MBIT, 20 * MILLISECOND_NS, 0), 5);
            world.links(|link| link.mtu = 1_500);
            world.source(0, BufferKind::Stream, BULK, u64::MAX);
            world.run_ms(3_000);
            let lost = world.sides[0].get(C::DatagramsLost);
            let bytes = delivered(&mut world, 10_000);
            let side = &world.sides[0];
            let probes = side.get(C::PathProbesLost);
            assert_eq!(probes > 50, segment_size_max > 1_436, "{probes}");
            (bytes, side.get(C::DatagramsLost) - lost, side.session.report().random_loss_ppm)
        });
        println!("{congestion:?}: without and with lost probes {sent:?}");
        let [without, with] = sent;
        assert!(with.0 > without.0 * 96 / 100, "{with:?} {without:?}");
        assert_eq!((with.1, with.2), (without.1, without.2));
    }
}

#[test]
fn an_idle_session_finds_the_path_too() {
    let mut world = World::wan(0, 6);
    world.links(|link| link.mtu = 1_420);
    world.run_ms(20_000);
    for side in 0..2 {
        assert_eq!(path(&world, side), (1_420, PathMtuState::Complete));
        let probes = world.sides[side].get(C::PathProbes);
        assert!(probes < 60, "{probes}");
    }
}

#[test]
fn rare_long_buffers_find_a_shrunken_path_too() {
    let mut world = World::wan(0, 7);
    world.source_every(0, BufferKind::Stream, (1_300, 1_400), 10, 400 * MILLISECOND_NS);
    world.run_ms(1_000);
    world.links(|link| link.mtu = 1_280);
    assert!(world.run_until_done(8_000));
    world.assert_all_delivered(0);
    assert_eq!(world.sides[0].get(C::BlackHoles), 1);
    world.assert_clean();
}

#[test]
fn a_sealed_session_is_probed_alike() {
    let mut world = World::sealed(10_000, 8);
    world.links(|link| link.mtu = 1_420);
    world.source(0, BufferKind::Stream, BULK, 400);
    assert!(world.run_until_done(20_000));
    world.run_ms(5_000);
    assert_eq!(path(&world, 0), (1_420, PathMtuState::Complete));
    world.assert_all_delivered(0);
    world.assert_clean();
}
