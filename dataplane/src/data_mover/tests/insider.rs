//! A peer that has the right keys and bad intentions.

use proptest::prelude::*;

use super::super::MoverCounter as C;
use super::super::fuzz::{Carried, sealed};
use super::super::receiver::ACK_LEN_MAX;
use super::super::wire::{Acknowledgement, Arrivals, Bitmap, Floor, Limits, Parity, Piece};
use super::super::{Congestion, Down, State, Violation};
use super::harness::{MBIT, Side, World};
use crate::packet_driver::BufferKind;
use crate::time::MILLISECOND_NS;

/// Side 0 sends side 1 such a datagram.
fn send(world: &mut World, pieces: &[Piece], rest: &[u8], bytes: &[u8]) {
    let session = &mut world.sides[0].session;
    let carried = Carried::Pieces(pieces);
    let mut datagram = sealed(session, world.now, carried, rest, bytes).unwrap();
    world.sides[1].receive(world.now, &mut datagram);
}

/// Side 0 sends side 1 such a parity.
fn send_parity(world: &mut World, parity: &Parity) {
    let session = &mut world.sides[0].session;
    let bytes = vec![7; usize::from(parity.cell_len)];
    let carried = Carried::Parity(parity);
    let mut datagram = sealed(session, world.now, carried, &[], &bytes).unwrap();
    world.sides[1].receive(world.now, &mut datagram);
}

fn up(seed: u64) -> World {
    let mut world = World::sealed(0, seed);
    world.source(1, BufferKind::Stream, (3_000, 60_000), u64::MAX);
    world.run_ms(400);
    assert!(world.sides.iter().all(Side::is_up));
    world
}

fn acknowledgement(highest: u64, lowest_incomplete: u64, bitmap: &Bitmap<'_>) -> Vec<u8> {
    let ack = Acknowledgement {
        highest_sent: u64::MAX,
        highest_received: highest,
        backlogged: false,
        delivery_kbytes_per_s: u32::MAX,
        room_bytes: u32::MAX,
        delay_us: u32::MAX,
        clock_us: u32::MAX,
        arrivals: Arrivals { count: u32::MAX, sum_us: u64::MAX },
        lowest_incomplete,
        received: *bitmap,
        complete: Bitmap { base: lowest_incomplete, bytes: &[0xff; 32] },
    };
    let mut out = vec![0; 2_000];
    let len = ack.emit(&mut out).unwrap();
    out.truncate(len);
    out
}

/// The session of side 1 has ended for this reason, and another comes up when both keep to it.
fn ends(mut world: World, violation: Violation) {
    assert_eq!(world.sides[1].heard.downs, [Down::Broken(violation)]);
    assert_eq!(world.sides[1].session.report().ended, Some(Down::Broken(violation)));
    assert_eq!(
        (world.sides[1].get(C::DropViolation), world.sides[1].get(C::SessionsBroken)),
        (1, 1)
    );
    world.run_ms(4_000);
    assert_eq!(world.sides[1].session.state(), State::Connecting, "not spoken to at once");
    world.run_ms(12_000);
    assert!(world.sides.iter().all(Side::is_up), "{:?}", world.sides[1].heard.downs);
}

#[test]
fn acknowledging_what_was_never_sent_ends_the_session() {
    let mut world = up(1);
    let bitmap = Bitmap { base: 1 << 40, bytes: &[1] };
    let rest = acknowledgement(1 << 40, 0, &bitmap);
    send(&mut world, &[], &rest, &[]);
    ends(world, Violation::Acknowledgement);
    let mut world = up(2);
    let bitmap = Bitmap { base: 3, bytes: &[1] };
    let rest = acknowledgement(3, 1 << 40, &bitmap);
    send(&mut world, &[], &rest, &[]);
    ends(world, Violation::Acknowledgement);
}

#[test]
fn acknowledging_everything_before_it_came_ends_the_session() {
    let mut world = up(3);
    // Whatever is on its way is acknowledged, as fast as it leaves.
    for _ in 0..200 {
        world.run_ms(5);
        let highest = world.sides[1].session.sender.next_physical() - 1;
        let base = highest.saturating_sub(2_047).max(1);
        let rest = acknowledgement(highest, 0, &Bitmap { base, bytes: &[0xff; 256] });
        send(&mut world, &[], &rest, &[]);
        if !world.sides[1].is_up() {
            break;
        }
    }
    ends(world, Violation::Acknowledgement);
}

#[test]
fn a_malformed_datagram_under_its_own_keys_ends_the_session() {
    let mut world = up(4);
    send(&mut world, &[], &[2, 0, 9, 1], &[]);
    ends(world, Violation::Malformed);
    let mut world = up(5);
    let piece = Piece { buffer_len: 10, offset: 8, len: 2, ..Piece::NONE };
    send(&mut world, &[piece], &[], &[1, 2, 3]);
    ends(world, Violation::Malformed);
}

#[test]
fn pieces_that_contradict_each_other_end_the_session() {
    let mut world = up(6);
    let first = Piece { logical: 100, buffer_len: 1_000, len: 4, ..Piece::NONE };
    send(&mut world, &[first], &[], &[1; 4]);
    let other = Piece { buffer_len: 999, offset: 10, ..first };
    send(&mut world, &[other], &[], &[1; 4]);
    ends(world, Violation::Contradiction);
}

const PARITY: Parity = Parity {
    logical: 100,
    kind: BufferKind::Stream,
    buffer_len: 1_000,
    boundary: 500,
    cells: 2,
    parities: 2,
    index: 0,
    cell_len: 500,
};

#[test]
fn parity_that_no_peer_writes_ends_the_session() {
    for (seed, wrong) in [
        (20, Parity { cells: 3, ..PARITY }),
        (21, Parity { index: 2, ..PARITY }),
        (22, Parity { cell_len: 501, ..PARITY }),
    ] {
        let mut world = up(seed);
        send_parity(&mut world, &wrong);
        ends(world, Violation::Malformed);
    }
    // Over a buffer that is another.
    let mut world = up(24);
    let piece = Piece { logical: 100, buffer_len: 1_000, len: 500, ..Piece::NONE };
    send(&mut world, &[piece], &[], &[7; 500]);
    send_parity(&mut world, &Parity { buffer_len: 999, ..PARITY });
    ends(world, Violation::Contradiction);
}

#[test]
fn a_piece_that_comes_after_its_parity_brings_the_one_that_never_comes() {
    let mut world = up(27);
    world.sides[1].sources.clear();
    world.run_ms(1_000);
    let piece = Piece { logical: 100, buffer_len: 1_000, len: 500, ..Piece::NONE };
    send_parity(&mut world, &Parity { parities: 1, ..PARITY });
    assert_eq!(world.sides[1].get(C::PiecesRestored), 0);
    send(&mut world, &[piece], &[], &[7; 500]);
    assert_eq!(world.sides[1].get(C::PiecesRestored), 1);
    assert!(world.sides[1].is_up());
}

#[test]
fn parity_over_what_the_peer_has_given_up_is_let_go() {
    let mut world = up(26);
    world.sides[1].sources.clear();
    world.run_ms(1_000);
    let before = world.sides[1].get(C::ParityUseless);
    send_parity(&mut world, &PARITY);
    assert_eq!(world.sides[1].get(C::ParityUseless), before, "it waits for its cells");
    let mut floor = vec![0; Floor::BASE_LEN];
    Floor::emit(1, 101, std::iter::empty(), &mut floor).unwrap();
    send(&mut world, &[], &floor, &[]);
    assert_eq!(world.sides[1].get(C::ParityUseless), before + 1);
    assert!(world.sides[1].is_up());
}

#[test]
fn parity_without_end_takes_no_memory_and_little_work() {
    let mut world = up(25);
    world.sides[1].sources.clear();
    world.run_ms(1_000);
    let before = world.sides[1].pool.in_use_bytes();
    for i in 0..20_000 {
        let logical = 200 + i / 2 % 1_000;
        let index = u8::try_from(i % 2).unwrap();
        let of = Parity { buffer_len: 60_000, boundary: 500, cells: 64, logical, ..PARITY };
        send_parity(&mut world, &Parity { index, ..of });
    }
    let side = &world.sides[1];
    assert_eq!(side.pool.in_use_bytes(), before);
    assert!(side.is_up() && side.get(C::PiecesRestored) == 0);
    // What makes up whole buffers by parity alone is restored for one datagram in eight.
    for i in 0..20_000 {
        let (logical, index) = (2_000 + i / 2, u8::try_from(i % 2).unwrap());
        send_parity(&mut world, &Parity { logical, index, ..PARITY });
    }
    let restored = world.sides[1].get(C::PiecesRestored);
    assert!(restored <= 2 * (20_000 / 8 + 64), "{restored}");
    assert!(world.sides[1].is_up());
}

/// Where the sum of the times of arriving is in an acknowledgement.
const SUM_AT: std::ops::Range<usize> = 40..48;

/// What it acknowledges is true; when it came is not, by so much the one time and not the next.
#[test]
fn times_at_which_nothing_can_have_come_are_not_believed() {
    for (seed, bits) in (30..).zip([30, 53, 58, 60, 63]) {
        let mut world = up(seed);
        let auto = Congestion::Auto { hint_bps: None, rate_bps_max: 200 * MBIT };
        world.sides[1].session.reconfigure(auto, u64::MAX, u64::MAX);
        world.sides[0].link.cut = true;
        for turn in 0..200 {
            world.run_ms(5);
            let mut rest = vec![0; ACK_LEN_MAX];
            let liar = &mut world.sides[0].session;
            let highest = liar.sender.next_physical();
            let len = liar.receiver.acknowledge(world.now, highest, &mut rest).unwrap();
            rest.truncate(len);
            let sum: [u8; 8] = rest[SUM_AT].try_into().unwrap();
            let lie = u64::from_be_bytes(sum).wrapping_add((turn % 2) << bits);
            rest[SUM_AT].copy_from_slice(&lie.to_be_bytes());
            send(&mut world, &[], &rest, &[]);
        }
        assert!(world.sides[1].is_up(), "{:?}", world.sides[1].heard.downs);
        assert!(world.sides[0].heard.bytes > 500_000, "{}", world.sides[0].heard.bytes);
    }
}

#[test]
fn buffers_that_are_never_finished_take_no_more_than_their_share() {
    let mut world = up(7);
    world.sides[1].sources.clear();
    world.run_ms(1_000);
    let limit = world.config.reassembly_bytes_max as usize;
    for logical in 0..30_000 {
        let kind = if logical % 3 == 0 { BufferKind::Datagram } else { BufferKind::Stream };
        let piece = Piece { logical, kind, buffer_len: 65_536, offset: 5, len: 2 };
        send(&mut world, &[piece], &[], &[1, 2]);
    }
    let side = &world.sides[1];
    assert!(side.pool.in_use_bytes() <= limit, "{}", side.pool.in_use_bytes());
    assert!(side.get(C::DropRefused) > 20_000 && side.heard.downs.is_empty());
    // Control still comes through, and so does what the other direction sends.
    world.source(1, BufferKind::Stream, (3_000, 9_000), 20);
    let piece =
        Piece { logical: 8_000, kind: BufferKind::Control, buffer_len: 2, offset: 0, len: 2 };
    let before = world.sides[1].heard.controls;
    send(&mut world, &[piece], &[], &[1, 2]);
    assert_eq!(world.sides[1].heard.controls, before + 1);
    world.run_ms(2_000);
    let [a, b] = &world.sides;
    assert_eq!(b.get(C::BuffersOut), b.get(C::BuffersCompleted) + b.get(C::BuffersDiscarded));
    assert!(a.heard.wrong == 0 && b.is_up());
}

#[test]
fn absurd_limits_are_no_more_than_permission() {
    for value in [0, 1, u32::MAX] {
        let mut world = World::sealed(0, 8);
        world.sides[0].session.us.limits = Limits {
            buffer_len_max: value,
            buffers_max: value,
            reassembly_bytes_max: value,
            numbers_max: value,
        };
        world.source(1, BufferKind::Control, (1, 1), 0);
        world.run_ms(1_000);
        assert!(world.sides.iter().all(Side::is_up));
        if value == u32::MAX {
            world.source(1, BufferKind::Stream, (3_000, 60_000), 500);
            assert!(world.run_until_done(10_000));
            world.assert_all_delivered(1);
        }
        world.assert_clean();
    }
}

#[test]
fn a_number_far_ahead_ends_the_session_and_one_a_little_ahead_does_not() {
    let mut world = up(9);
    for _ in 0..5_000 {
        let now = world.now;
        assert!(world.sides[0].session.sender.make_room(now));
        world.sides[0].session.sender.skip(now);
    }
    world.run_ms(500);
    assert!(world.sides.iter().all(|side| side.is_up() && side.heard.downs.is_empty()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever it writes: no panic, bounded memory, and if the session ends, for a named reason.
    #[test]
    fn random_content_under_the_right_keys(
        list in proptest::collection::vec(
            (1_u8..20, proptest::collection::vec(any::<u8>(), 0..80), any::<(u64, u32, u32, u16, u8)>()),
            0..40,
        ),
    ) {
        let mut world = up(10);
        for (kind, body, (logical, buffer_len, offset, len, how)) in &list {
            let mut rest = vec![*kind];
            rest.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
            rest.extend_from_slice(body);
            let piece = Piece {
                logical: logical % (1 << (how % 40)),
                kind: [BufferKind::Control, BufferKind::Stream, BufferKind::Datagram][usize::from(how % 3)],
                buffer_len: buffer_len % 70_000,
                offset: offset % 70_000,
                len: len % 100,
            };
            let pieces = if how % 4 == 0 { vec![] } else { vec![piece] };
            let bytes = vec![7; pieces.iter().map(|p| usize::from(p.len)).sum()];
            if !world.sides.iter().all(Side::is_up) {
                break;
            }
            let now = world.now;
            let session = &mut world.sides[0].session;
            let mut datagram = sealed(session, now, Carried::Pieces(&pieces), &rest, &bytes).unwrap();
            world.sides[1].receive(now, &mut datagram);
            world.now = world.now + MILLISECOND_NS;
            let mut out = [0; 2_048];
            let side = &mut world.sides[1];
            while side.session.transmit(world.now, &mut out).is_some() {}
            side.session.on_timeout(world.now, &mut side.heard);
            let _ = side.session.next_timeout();
            prop_assert!(side.pool.in_use_bytes() <= side.pool.capacity_bytes());
        }
        let side = &world.sides[1];
        let named = side.heard.downs.iter().all(|down| matches!(down, Down::Broken(_) | Down::Closed(_)));
        prop_assert!(named, "{:?}", side.heard.downs);
    }
}
