//! Sessions whose datagrams are sealed.

use proptest::prelude::*;

use super::super::MoverCounter as C;
use super::super::wire::{DatagramHeader, DatagramKind, HEADER_LEN, TAG_LEN};
use super::super::{CloseReason, Down, Incarnation, Mismatch, PeerConfig, Protection, State};
use super::harness::{Link, MBIT, World, config, sealed};
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
        assert_eq!(side.get(C::DropEpoch) + side.get(C::DropForged), 0);
        assert_eq!(side.get(C::BytesRetransmitted), 0);
        assert_eq!(side.heard.wrong, 0);
    }
}
