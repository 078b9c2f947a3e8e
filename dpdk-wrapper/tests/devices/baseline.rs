//! What others are measured against does what it says.

use dpdk_wrapper::baseline::{Hash, HashError, RingError, raw_checksum, ring};

use crate::bench::eal;

fn key(n: u64) -> [u8; 48] {
    let mut key = [0; 48];
    key[..8].copy_from_slice(&n.to_le_bytes());
    key
}

#[test]
fn a_hash_finds_its_keys_and_no_others() {
    let mut hash = Hash::<48>::new(eal(), "finds", 1024).unwrap();
    let keys: Vec<_> = (0..600).map(key).collect();
    let added: Vec<_> = keys.iter().map(|key| hash.add(key).unwrap()).collect();
    assert_eq!(hash.add(&keys[7]).unwrap(), added[7]);
    let strangers: Vec<_> = (600..632).map(key).collect();
    let mixed: Vec<_> = keys[100..132].iter().chain(&strangers).collect();
    let mut positions = [0; 64];
    hash.lookup_bulk(&mixed, &mut positions);
    for (n, position) in positions.into_iter().enumerate() {
        let expected = (n < 32).then(|| added[100 + n]);
        assert_eq!(u32::try_from(position).ok(), expected, "{n}");
    }
    // More keys than there is room for answers.
    let mut few = [i32::MIN; 3];
    hash.lookup_bulk(&mixed, &mut few);
    assert_eq!(few, positions[..3]);
    hash.lookup_bulk(&[], &mut few);
    hash.lookup_bulk(&mixed, &mut []);
}

#[test]
fn a_hash_that_cannot_be_made_says_why() {
    let name = Hash::<16>::new(eal(), &"n".repeat(40), 8).unwrap_err();
    assert!(matches!(name, HashError::BadName(_)), "{name}");
    let entries = Hash::<16>::new(eal(), "too large", u32::MAX).unwrap_err();
    assert!(matches!(entries, HashError::Failed { .. }), "{entries}");
    let mut full = Hash::<16>::new(eal(), "full", 8).unwrap();
    let refused = (0..64u8).find_map(|n| full.add(&[n; 16]).err()).unwrap();
    assert!(matches!(refused, HashError::NoPlace(_)), "{refused}");
}

#[test]
fn a_ring_keeps_the_order_across_threads() {
    const ITEMS: usize = 100_000;
    let (mut producer, mut consumer) = ring(eal(), "order", 64).unwrap();
    let sender = std::thread::spawn(move || {
        let items: Vec<_> = (0..ITEMS).collect();
        let mut rest = items.as_slice();
        while !rest.is_empty() {
            let sent = producer.enqueue(&rest[..rest.len().min(48)]);
            rest = &rest[sent..];
            if sent == 0 {
                std::thread::yield_now();
            }
        }
        // The ring holds 63, and gives back what is beyond.
        assert!(producer.enqueue(&[0; 64]) <= 63);
    });
    let mut next = 0;
    let mut into = [0; 32];
    while next < ITEMS {
        let count = consumer.dequeue(&mut into);
        for item in into[..count].iter().take(ITEMS - next) {
            assert_eq!(*item, next);
            next += 1;
        }
        if count == 0 {
            std::thread::yield_now();
        }
    }
    sender.join().unwrap();
}

#[test]
fn a_ring_that_cannot_be_made_says_why() {
    let size = ring(eal(), "odd size", 33).unwrap_err();
    assert!(matches!(size, RingError::Failed { count: 33, .. }), "{size}");
    let name = ring(eal(), "", 32).unwrap_err();
    assert!(matches!(name, RingError::BadName(_)), "{name}");
}

#[test]
fn the_raw_checksum_is_the_sum_of_words() {
    // RFC 1071, section 3.
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(raw_checksum(&bytes).to_be(), 0xddf2);
    assert_eq!(raw_checksum(&[]), 0);
}

#[test]
fn dpdk_tells_its_version() {
    assert!(eal().version().starts_with("DPDK "), "{}", eal().version());
}
