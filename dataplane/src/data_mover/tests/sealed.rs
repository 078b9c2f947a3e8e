//! Sessions whose datagrams are sealed.

use super::super::MoverCounter as C;
use super::super::security::{ExchangeCounter, KeyExchange, PeerKeys, PrivateKey, open};
use super::super::{
    CloseReason, DemuxCounter, Down, Incarnation, Mismatch, PeerConfig, Protection, Session, State,
};
use super::harness::{Link, MBIT, World, config, pool, private};
use crate::packet_driver::BufferKind;
use crate::time::MILLISECOND_NS;

const BULK: (usize, usize) = (60_000, 65_536);

#[test]
fn one_exchange_of_messages_sets_session_and_keys_up() {
    for seed in 1..3 {
        let mut world = World::sealed(0, seed);
        world.source(0, BufferKind::Stream, (1_000, 60_000), 50);
        world.source(1, BufferKind::Control, (20, 300), 50);
        assert!(world.run_until_done(5_000));
        world.assert_all_delivered(0);
        world.assert_all_delivered(1);
        world.assert_clean();
        // The second of the two has no AES instructions when the seed is odd.
        let expected = if seed == 2 { Protection::Aes256Gcm } else { Protection::ChaCha20Poly1305 };
        for side in &world.sides {
            assert_eq!(side.session.report().protection, Some(expected));
            assert_eq!((side.heard.ups.len(), side.get(C::DropForged)), (1, 0));
        }
        let rtt_ms = world.sides[0].session.report().rtt_ns / MILLISECOND_NS;
        assert_eq!(rtt_ms, 80);
    }
}

#[test]
fn comes_up_over_any_link_and_stays_up() {
    for seed in 0..100 {
        let link = Link::new(10 * MBIT, 40 * MILLISECOND_NS, 300_000);
        let config = PeerConfig { sealed: true, ..config(10 * MBIT) };
        let mut world = World::new(config, link, seed);
        world.links(|link| {
            link.duplicate = 50_000;
            link.jitter_ns = 50 * MILLISECOND_NS;
        });
        world.run_ms(10_000);
        for side in &world.sides {
            assert!(side.is_up(), "seed {seed}");
            assert_eq!(side.heard.ups.len(), 1, "seed {seed}: {:?}", side.heard.downs);
        }
    }
}

#[test]
fn fills_the_link() {
    for (loss, eta_min) in [(0, 0.98), (10_000, 0.98), (100_000, 0.95)] {
        let mut world = World::sealed(loss, 100 + loss);
        world.source(0, BufferKind::Stream, BULK, u64::MAX);
        world.run_ms(1_500);
        let eta = world.eta(loss, 3_000);
        let [a, b] = &world.sides;
        let acks = b.get(C::BytesOut) as f64 / a.get(C::BytesOut) as f64;
        println!("loss {loss}: eta {eta:.4} acks {acks:.5}");
        assert!(eta >= eta_min, "eta {eta}");
        assert!(acks < 0.01, "acknowledgements {acks}");
        assert_eq!(b.heard.wrong, 0);
    }
}

#[test]
fn keys_are_renewed_without_a_lost_piece() {
    let config = PeerConfig { sealed: true, ..config(5 * MBIT) };
    let link = Link::new(5 * MBIT, 40 * MILLISECOND_NS, 0);
    let mut world = World::new(config, link, 3);
    world.links(|link| link.jitter_ns = 5 * MILLISECOND_NS);
    for side in 0..2 {
        world.source(side, BufferKind::Stream, (500, 2_000), u64::MAX);
    }
    world.run_ms(400_000);
    let renewed: u64 = world.sides.iter().map(|side| side.get(C::KeysRenewed)).sum();
    assert!((3..=6).contains(&renewed), "{renewed}");
    for side in &world.sides {
        assert_eq!(side.heard.ups.len(), 1);
        // Jitter may look like loss, and something is sent again; but nothing that arrives is dropped.
        assert_eq!(side.get(C::DropEpoch) + side.get(C::DropForged), 0);
        assert!(side.get(C::DatagramsLost) * 500 <= side.get(C::DatagramsOut), "0.2 % at most");
        assert_eq!(side.heard.wrong, 0);
    }
}

#[test]
fn keys_are_renewed_although_the_ends_were_told_otherwise_meanwhile() {
    let mut world = World::sealed(10_000, 4);
    world.run_ms(1_000);
    world.sides[0].session.set_digest(7);
    world.run_ms(700_000);
    for side in &world.sides {
        assert_eq!(
            (side.heard.ups.len(), side.heard.downs.len()),
            (1, 0),
            "{:?}",
            side.heard.downs
        );
        assert_eq!(side.session.report().agrees, Some(false));
    }
    assert!(world.sides.iter().map(|side| side.get(C::KeysRenewed)).sum::<u64>() >= 5);
}

/// A sealed pair in the middle of a transfer, and datagrams of side 0 that are still on their way.
fn captured(seed: u64) -> (World, Vec<Vec<u8>>) {
    let mut world = World::sealed(0, seed);
    world.source_every(0, BufferKind::Stream, (3_000, 3_000), 400, 5 * MILLISECOND_NS);
    world.source_every(1, BufferKind::Stream, (100, 100), 400, 5 * MILLISECOND_NS);
    world.run_ms(350);
    let datagrams = world.capture();
    assert!(datagrams.len() > 10);
    (world, datagrams)
}

#[test]
fn what_does_not_authenticate_changes_nothing_but_a_counter() {
    let (mut world, datagrams) = captured(1);
    let side = &mut world.sides[1];
    let state = |side: &super::harness::Side| {
        (side.session.report(), side.pool.in_use_bytes(), side.heard.bytes)
    };
    let (before, next) = (state(side), side.session.next_timeout());
    let mut count = 0;
    for datagram in &datagrams {
        for bit in 0..datagram.len() * 8 {
            // Every bit of headers and tag, some of the pieces.
            if (400..datagram.len() * 8 - 128).contains(&bit) && bit % 61 != 0 {
                continue;
            }
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            side.session.receive(world.now, &mut flipped, &mut side.heard);
            count += 1;
        }
        for len in 0..datagram.len() {
            side.session.receive(world.now, &mut datagram[..len].to_vec(), &mut side.heard);
            count += 1;
        }
    }
    assert_eq!(state(side), before);
    assert_eq!(side.session.next_timeout(), next);
    let dropped = [C::DropForged, C::DropMalformed, C::DropEpoch, C::DropSession, C::DropVersion];
    let dropped = dropped.into_iter().chain([C::DropClear, C::DropDuplicate]);
    assert_eq!(dropped.map(|counter| side.get(counter)).sum::<u64>(), count);
    assert!(side.get(C::DropForged) > count / 2);
    // The same datagrams, whole, are taken: nothing had changed.
    for datagram in &datagrams {
        side.session.receive(world.now, &mut datagram.clone(), &mut side.heard);
    }
    assert!(side.heard.bytes > before.2);
}

#[test]
fn corruption_on_the_way_stops_nothing_and_delivers_nothing_wrong() {
    for seed in 0..20 {
        let mut world = World::sealed(10_000, seed);
        world.links(|link| link.corrupt = 20_000);
        world.source(0, BufferKind::Stream, (3_000, 60_000), 100);
        world.source(1, BufferKind::Control, (20, 300), 100);
        assert!(world.run_until_done(20_000), "seed {seed}");
        for side in 0..2 {
            world.assert_all_delivered(side);
            assert!(world.sides[side].heard.downs.is_empty());
        }
        world.assert_clean();
    }
}

#[test]
fn what_is_replayed_is_dropped_however_old() {
    let (mut world, datagrams) = captured(2);
    let side = &mut world.sides[1];
    for datagram in &datagrams {
        assert!(side.session.receive(world.now, &mut datagram.clone(), &mut side.heard));
    }
    let before = (side.session.report(), side.heard.bytes);
    for datagram in &datagrams {
        assert!(!side.session.receive(world.now, &mut datagram.clone(), &mut side.heard));
    }
    assert_eq!((side.session.report(), side.heard.bytes), before);
    assert_eq!(side.get(C::DropDuplicate), datagrams.len() as u64);
    // When the keys are gone, so is what was recorded under them.
    world.restart(1, 3);
    world.links(|link| link.cut = false);
    world.run_ms(2_000);
    let side = &mut world.sides[1];
    let before = side.heard.bytes;
    for datagram in &datagrams {
        assert!(!side.session.receive(world.now, &mut datagram.clone(), &mut side.heard));
    }
    assert_eq!(side.heard.bytes, before);
}

#[test]
fn replayed_handshakes_bring_nothing_and_harm_nothing() {
    let mut world = World::sealed(0, 3);
    let mut recorded = Vec::new();
    for incarnation in 3..6 {
        // The first initiation of each start, as it leaves.
        world.restart(0, incarnation);
        world.sides[0].exchange_keys(world.now);
        let mut out = [0; 2_048];
        let len = world.sides[0].session.transmit(world.now, &mut out).unwrap();
        recorded.push(out[..len].to_vec());
        world.sides[1].receive(world.now, &mut out[..len]);
        world.run_ms(1_000);
        assert!(world.sides.iter().all(|side| side.is_up()));
    }
    let ups = world.sides[1].heard.ups.len();
    world.source(0, BufferKind::Stream, (3_000, 9_000), 200);
    for _ in 0..100 {
        for datagram in &recorded {
            world.sides[1].receive(world.now, &mut datagram.clone());
        }
        world.run_ms(20);
    }
    assert!(world.run_until_done(5_000));
    let side = &world.sides[1];
    assert_eq!(side.heard.ups.len(), ups, "no other session");
    assert!(side.get(C::DropStaleHello) > 50, "{}", side.get(C::DropStaleHello));
    assert_eq!(side.get(C::DropEpoch), 0);
    assert!(side.is_up() && world.sides[0].is_up());
}

#[test]
fn a_restarted_peer_is_known_by_its_incarnation() {
    for (seed, side) in [(6, 0), (7, 1)] {
        let mut world = World::sealed(5_000, seed);
        world.source(0, BufferKind::Stream, (10_000, 65_536), u64::MAX);
        world.run_ms(1_000);
        world.restart(side, 3);
        world.run_ms(1_500);
        let other = &world.sides[1 - side].heard;
        assert_eq!(other.downs, [Down::Replaced]);
        assert!(other.ups.len() == 2 && other.ups[1].restarted);
        assert_eq!(other.ups[1].incarnation, Incarnation(3));
        assert!(world.sides.iter().all(|side| side.heard.wrong == 0 && side.is_up()));
    }
}

#[test]
fn a_peer_whose_clock_was_set_back_is_taken_when_its_old_session_is_dead() {
    let mut world = World::sealed(0, 8);
    world.restart(0, 1_000);
    world.run_ms(1_000);
    assert!(world.sides.iter().all(|side| side.is_up()));
    world.restart(0, 5);
    world.run_ms(9_000);
    assert!(world.sides[1].get(C::DropStaleHello) > 3);
    world.run_ms(8_000);
    assert!(world.sides.iter().all(|side| side.is_up()));
    assert_eq!(world.sides[1].heard.downs, [Down::Dead]);
    assert_eq!(world.sides[1].heard.ups.last().unwrap().incarnation, Incarnation(5));
}

#[test]
fn a_close_is_told_under_the_keys() {
    let mut world = World::sealed(200_000, 9);
    world.source(0, BufferKind::Stream, (10_000, 65_536), u64::MAX);
    world.run_ms(3_000);
    let now = world.now;
    world.sides[0].session.close(now, CloseReason::Stopping);
    world.run_ms(500);
    assert_eq!(world.sides[1].heard.downs, [Down::Closed(CloseReason::Stopping)]);
    world.assert_clean();
}

#[test]
fn ends_that_do_not_agree_say_so_on_both_sides() {
    let mut world = World::sealed(0, 10);
    let digest = 77;
    world.sides[1].session.set_digest(digest);
    world.run_ms(3_000);
    let expected = [77, 0].map(|theirs| State::Mismatch(Mismatch::Digest { theirs }));
    assert_eq!(world.sides.each_ref().map(|side| side.session.state()), expected);
    world.sides[1].session.set_digest(0);
    world.run_ms(3_000);
    assert!(world.sides.iter().all(|side| side.is_up()));
}

#[test]
fn encryption_at_one_end_only_is_counted_at_both_and_brings_no_session() {
    let mut world = World::sealed(0, 11);
    world.config.sealed = false;
    world.restart(1, 3);
    world.run_ms(5_000);
    for side in &world.sides {
        assert_eq!(side.session.state(), State::Connecting);
        assert!(side.heard.ups.is_empty());
    }
    assert!(world.sides[0].get(C::DropClear) > 2);
    assert!(world.sides[1].get(C::DropSealed) > 2);
}

#[test]
fn a_flood_of_initiations_has_to_come_back_with_a_cookie_and_peers_do() {
    let mut world = World::sealed(0, 12);
    world.run_ms(300);
    assert!(world.sides.iter().all(|side| side.is_up()));
    // Somebody who knows the public key of side 1 sends it initiations, 20,000 a second.
    let flood = |world: &mut World, ms: u64, seed: u64| {
        let (mut session, mut keys) = stranger(seed);
        let mut initiation = Vec::new();
        for _ in 0..ms {
            if let Some(request) = session.key_request(world.now) {
                keys.0.ask(request);
            }
            keys.1.turn();
            while let Some(reply) = keys.0.reply() {
                let mut sink = super::harness::Heard::default();
                super::super::demux::settle(&mut keys.0, &mut session, world.now, reply, &mut sink);
            }
            let mut out = [0; 2_048];
            initiation =
                session.transmit(world.now, &mut out).map_or(initiation, |len| out[..len].to_vec());
            for _ in 0..20 {
                world.sides[1].receive(world.now, &mut initiation.clone());
            }
            world.run_ms(1);
        }
    };
    flood(&mut world, 500, 1);
    let count = |world: &World, what| world.sides[1].demux.iter().filter(|c| **c == what).count();
    assert!(count(&world, DemuxCounter::DropCookie) > 9_000);
    assert!(count(&world, DemuxCounter::DatagramsExchange) < 100);
    assert!(world.sides.iter().all(|side| side.is_up() && side.heard.downs.is_empty()));
    // A peer that begins anew in the middle of it comes in with a cookie.
    world.restart(0, 9);
    flood(&mut world, 4_000, 2);
    assert!(world.sides[0].demux.contains(&DemuxCounter::CookiesTaken));
    assert!(world.sides.iter().all(|side| side.is_up()));
}

/// A session of one who has no key that side 1 knows, but knows its public key.
fn stranger(seed: u64) -> (Session, (super::super::security::Guard, KeyExchange)) {
    let own = PrivateKey::new([9; 32]);
    let to = private(1).public();
    let config = PeerConfig { sealed: true, ..config(200 * MBIT) };
    let mut session = Session::new(config, Incarnation(50), pool(MBIT), seed);
    session.secure(&own.public(), &to, true);
    let entropy = |bytes: &mut [u8]| {
        bytes.fill(0x42);
        true
    };
    let peers = vec![Some(PeerKeys { public: to, psk: None })];
    (session, open(own, peers, [7; 4], Box::new(entropy)))
}

#[test]
fn who_is_not_a_peer_is_answered_with_nothing() {
    let mut world = World::sealed(0, 13);
    let (mut session, mut keys) = stranger(1);
    keys.0.ask(session.key_request(world.now).unwrap());
    keys.1.turn();
    let mut sink = super::harness::Heard::default();
    let reply = keys.0.reply().unwrap();
    super::super::demux::settle(&mut keys.0, &mut session, world.now, reply, &mut sink);
    let mut out = [0; 2_048];
    let len = session.transmit(world.now, &mut out).unwrap();
    let side = &mut world.sides[1];
    side.receive(world.now, &mut out[..len].to_vec());
    // Who does not even know the public key comes no further than the MAC.
    out[len - 40] ^= 1;
    out[len - 70] ^= 1;
    side.receive(world.now, &mut out[..len]);
    assert_eq!(side.demux, [DemuxCounter::DatagramsExchange, DemuxCounter::DropForged]);
    side.exchange_keys(world.now);
    let (guard, exchange) = side.keys.as_mut().unwrap();
    assert_eq!(exchange.counters().get(ExchangeCounter::DropUnknown), 1);
    assert!(guard.outgoing().is_none());
    assert_eq!(side.session.state(), State::Connecting);
}
