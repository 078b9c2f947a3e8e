//! Mbufs: bytes in, bytes out, in one segment and in several.

use dpdk_wrapper::mbuf::{
    ChecksumStatus, IpVersion, L4Protocol, NoRoom, TooShort, TxOffload, TxOffloadError,
};
use dpdk_wrapper::{Burst, Mbuf, Mempool, MempoolConfig};

use crate::bench::{burst_of, bytes, content, numbered, pool};

/// A packet of the given parts, one segment each.
fn chained(pool: &Mempool, parts: &[&[u8]]) -> Mbuf {
    let mut parts = parts.iter().map(|part| pool.alloc_copy(part).unwrap());
    let mut head = parts.next().unwrap();
    parts.for_each(|part| head.chain(part).unwrap());
    head
}

#[test]
fn a_fresh_mbuf_is_empty_with_headroom() {
    let pool = pool();
    let mbuf = pool.alloc().unwrap();
    assert_eq!((mbuf.pkt_len(), mbuf.data_len(), mbuf.segment_count()), (0, 0, 1));
    assert_eq!(mbuf.headroom(), usize::from(MempoolConfig::HEADROOM));
    assert_eq!(mbuf.tailroom(), 2048);
    assert_eq!(pool.in_use(), 1);
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn grows_and_shrinks_at_both_ends() {
    let pool = pool();
    let mut mbuf = pool.alloc_copy(b"payload").unwrap();
    mbuf.prepend(4).unwrap().copy_from_slice(b"head");
    mbuf.append(4).unwrap().copy_from_slice(b"tail");
    assert_eq!(mbuf.data(), b"headpayloadtail");
    assert_eq!((mbuf.headroom(), mbuf.tailroom()), (124, 2048 - 11));
    mbuf.data_mut()[0] = b'H';
    mbuf.adj(1).unwrap();
    mbuf.trim(3).unwrap();
    assert_eq!(mbuf.data(), b"eadpayloadt");
    mbuf.truncate(100);
    assert_eq!(mbuf.pkt_len(), 11, "longer than it is: unchanged");
    mbuf.truncate(3);
    assert_eq!(mbuf.data(), b"ead");
    mbuf.truncate(0);
    assert_eq!((mbuf.pkt_len(), mbuf.data().len()), (0, 0));
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let pool = pool();
    let mut mbuf = pool.alloc_copy(b"abc").unwrap();
    assert_eq!(mbuf.append(2046).unwrap_err(), NoRoom { wanted: 2046, available: 2045 });
    // Beyond 16 bits, where a cast would make it fit.
    assert_eq!(mbuf.append(65_536 + 1).unwrap_err().wanted, 65_537);
    assert_eq!(mbuf.prepend(129).unwrap_err(), NoRoom { wanted: 129, available: 128 });
    assert_eq!(mbuf.adj(4).unwrap_err(), TooShort { wanted: 4, available: 3 });
    assert_eq!(mbuf.adj(65_536).unwrap_err(), TooShort { wanted: 65_536, available: 3 });
    assert_eq!(mbuf.trim(4).unwrap_err(), TooShort { wanted: 4, available: 3 });
    assert_eq!(mbuf.data(), b"abc");
    assert!(pool.alloc_copy(&[0; 2049]).is_none());
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_chain_reads_as_one_packet() {
    let pool = pool();
    let mut mbuf = chained(&pool, &[b"one", b"", b"three"]);
    assert_eq!((mbuf.pkt_len(), mbuf.data_len(), mbuf.segment_count()), (8, 3, 3));
    assert!(!mbuf.is_contiguous());
    assert_eq!(mbuf.data(), b"one");
    assert_eq!(mbuf.segments().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
    assert_eq!((mbuf.segment(2), mbuf.segment(3)), (&b"three"[..], &b""[..]));
    mbuf.append(1).unwrap().copy_from_slice(b"!");
    mbuf.prepend(1).unwrap().copy_from_slice(b">");
    for segment in mbuf.segments_mut() {
        segment.make_ascii_uppercase();
    }
    assert_eq!(bytes(&mbuf), b">ONETHREE!");
    assert_eq!(mbuf.adj(5).unwrap_err(), TooShort { wanted: 5, available: 4 });
    mbuf.adj(4).unwrap();
    assert_eq!((mbuf.data_len(), bytes(&mbuf)), (0, b"THREE!".to_vec()));
    assert_eq!(pool.in_use(), 3);
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn shortening_a_chain_frees_the_segments_behind() {
    let parts: [&[u8]; 4] = [b"0123", b"", b"456", b"789"];
    let whole = b"0123456789";
    for keep in 0..=whole.len() {
        let pool = pool();
        let mut mbuf = chained(&pool, &parts);
        mbuf.trim(whole.len() - keep).unwrap();
        assert_eq!(bytes(&mbuf), &whole[..keep]);
        assert_eq!(mbuf.pkt_len(), keep);
        let segments = match keep {
            0..=4 => 1,
            5..=7 => 3,
            _ => 4,
        };
        assert_eq!((mbuf.segment_count(), pool.in_use() as usize), (segments, segments));
        // The chain is sound: it can grow at its new end.
        mbuf.append(1).unwrap()[0] = b'$';
        assert_eq!(bytes(&mbuf).last(), Some(&b'$'));
        drop(mbuf);
        assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn linearize_moves_everything_into_the_first_segment() {
    let pool = pool();
    let (a, b, c) = (content(100), content(200), content(300));
    let mut mbuf = chained(&pool, &[&a, &b, &c]);
    mbuf.linearize().unwrap();
    assert_eq!((mbuf.segment_count(), mbuf.data()), (1, &[a, b, c].concat()[..]));
    assert_eq!(pool.in_use(), 1);

    let long = vec![1; 2000];
    let mut mbuf = chained(&pool, &[&long, &long]);
    assert_eq!(mbuf.linearize().unwrap_err(), NoRoom { wanted: 2000, available: 48 });
    assert_eq!((mbuf.segment_count(), mbuf.pkt_len()), (2, 4000));
}

#[test]
fn a_copy_is_independent_of_its_source() {
    let (pool, other) = (pool(), pool());
    let mut mbuf = chained(&pool, &[b"one", b"two"]);
    let copy = mbuf.copy(&other).unwrap();
    mbuf.data_mut().fill(0);
    drop(mbuf);
    assert_eq!(bytes(&copy), b"onetwo");
    assert_eq!((pool.in_use(), other.in_use()), (0, 1));
}

#[test]
fn transmit_requests_are_kept_with_the_mbuf() {
    let pool = pool();
    let mut mbuf = numbered(&pool, 1);
    assert_eq!(mbuf.tx_flags(), 0);
    let mut offload = TxOffload::new(IpVersion::V4, 14, 20);
    offload.ip_checksum = true;
    offload.l4_checksum = Some(L4Protocol::Tcp);
    offload.l4_len = 20;
    offload.segment_size = 1460;
    mbuf.set_tx_offload(&offload).unwrap();
    assert_eq!(mbuf.tx_flags(), 1 << 55 | 1 << 54 | 1 << 52 | 1 << 50);
    assert_eq!(mbuf.segment_size(), 1460);

    offload.l3_len = 512;
    let error = mbuf.set_tx_offload(&offload).unwrap_err();
    assert_eq!(error, TxOffloadError::HeaderTooLong { l2_len: 14, l3_len: 512 });
    offload.l3_len = 40;
    offload.l4_checksum = None;
    let error = mbuf.set_tx_offload(&offload).unwrap_err();
    assert_eq!(error, TxOffloadError::SegmentationWithoutProtocol);
    assert_eq!(mbuf.segment_size(), 1460, "a refused request changes nothing");

    mbuf.clear_tx_offload();
    assert_eq!((mbuf.tx_flags(), mbuf.segment_size()), (0, 0));
    // A pool gives mbufs out without the traces of their last use.
    mbuf.set_tx_offload(&TxOffload::new(IpVersion::V6, 14, 40)).unwrap();
    drop(mbuf);
    let mbuf = pool.alloc().unwrap();
    assert_eq!((mbuf.tx_flags(), mbuf.rss_hash()), (0, None));
    assert_eq!(mbuf.rx_checksums().l4, ChecksumStatus::Unknown);
}

#[test]
fn a_burst_owns_what_it_holds() {
    let pool = pool();
    let mut burst = burst_of(&pool, 0..32);
    assert!(burst.is_full() && burst.room() == 0);
    let extra = numbered(&pool, 32);
    let extra = burst.push(extra).unwrap_err();
    assert_eq!((extra.data(), pool.in_use()), (&content(32)[..], 33));
    drop(extra);

    assert_eq!(burst.pop().unwrap().data(), content(31));
    burst.truncate(20);
    assert_eq!((burst.len(), pool.in_use()), (20, 20));
    let mut few: Burst<8> = Burst::new();
    assert_eq!(few.append(&mut burst), 8);
    assert_eq!((few[7].data(), burst[0].data()), (&content(7)[..], &content(8)[..]));

    let mut drain = burst.drain();
    assert_eq!(drain.len(), 12);
    assert_eq!(drain.next().unwrap().data(), content(8));
    drop(drain);
    assert_eq!((burst.len(), pool.in_use()), (0, 8));
    drop(few);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_burst_frees_each_mbuf_to_its_own_pool() {
    let (a, b) = (pool(), pool());
    let mut burst: Burst = Burst::new();
    for number in 0..8 {
        burst.push(numbered(if number % 2 == 0 { &a } else { &b }, number)).unwrap();
    }
    burst.push(chained(&a, &[b"in", b"two"])).unwrap();
    assert_eq!((a.in_use(), b.in_use()), (6, 4));
    drop(burst);
    assert_eq!((a.available(), b.available()), (a.count(), b.count()));
}
