//! The flow table's bulk lookup beside `rte_hash_lookup_bulk`, with the same keys.
//!
//! Ours finds a flow from either of its directions and says which; the baseline has the keys as
//! they were added, and need not ask. Both have the memory of 4 KiB pages (transparent huge pages are
//! for those who ask on this system), room for just as many flows as there are, and are asked for 64
//! keys at a time, in an order that has nothing to do with that of adding.

use std::hint::black_box;

use dataplane::frame::{FlowKey, ip::protocol};
use dataplane::interceptor::flow_table::BULK_MAX;
use dataplane::interceptor::{Decision, FlowHasher, FlowTable, Found, PassReason};
use dataplane::time::Time;
use dpdk_wrapper::Eal;
use dpdk_wrapper::baseline::Hash;

use super::measure::Work;
use super::{Bench, MicroError, Random};

/// A multiple of 16, for which `rte_hash` has a comparison of its own.
const KEY_LEN: usize = 48;
/// Bytes of a frame that is noted.
const FRAME_LEN: usize = 64;
/// Keys of one lap.
const LAP: usize = 4 * BULK_MAX;

pub(super) fn run(bench: &mut Bench) -> Result<(), MicroError> {
    let wants = |size: &str| {
        super::BENCHES.iter().any(|spec| spec.name.contains(size) && bench.wants(spec.name))
    };
    let sizes = [("10k", 10_000), ("1M", 1_000_000)].map(|(size, flows)| (wants(size), flows));
    for ((wanted, flows), names) in sizes.into_iter().zip([
        ["classify 10k hit", "classify 10k miss", "classify 10k miss/hit", "classify 10k noted"],
        ["classify 1M hit", "classify 1M miss", "classify 1M miss/hit", "classify 1M noted"],
    ]) {
        if !wanted || !names.iter().any(|name| bench.wants(name)) {
            continue;
        }
        let tables = Tables::new(bench.eal, flows)?;
        let [present, absent] = [&tables.present, &tables.absent];
        bench.compare(names[0], LAP, &mut tables.ours(present), &mut tables.dpdk(present))?;
        bench.compare(names[1], LAP, &mut tables.ours(absent), &mut tables.dpdk(absent))?;
        bench.compare(names[2], LAP, &mut tables.ours(absent), &mut tables.ours(present))?;
        let (mut ours, mut dpdk) = (tables.ours(present), tables.dpdk(present));
        (ours.noted, dpdk.notes) = (true, (0..flows).map(|_| Note::default()).collect());
        bench.compare(names[3], LAP, &mut ours, &mut dpdk)?;
    }
    Ok(())
}

/// Keys as each of the two takes them, in the order of asking.
struct Keys {
    ours: Vec<FlowKey>,
    dpdk: Vec<[u8; KEY_LEN]>,
}

struct Tables {
    table: FlowTable,
    hash: Hash<KEY_LEN>,
    present: Keys,
    absent: Keys,
}

impl Tables {
    fn new(eal: &Eal, flows: u32) -> Result<Self, MicroError> {
        let failed = |reason| MicroError::set_up("classify", reason);
        let mut table = FlowTable::new(flows as usize, FlowHasher::new([0x5eed, u64::from(flows)]));
        let mut hash = Hash::new(eal, &format!("classify{flows}"), flows)
            .map_err(|error| failed(error.to_string()))?;
        for n in 0..flows {
            let decision = Decision::pass(PassReason::NoRule);
            table
                .insert(&key(n), decision, Time::ZERO)
                .map_err(|error| failed(format!("flow {n}: {error:?}")))?;
            hash.add(&bytes(&key(n))).map_err(|error| failed(format!("flow {n}: {error}")))?;
        }
        let keys = |first: u32| {
            let mut ours: Vec<_> = (first..first + flows).map(key).collect();
            shuffle(&mut ours);
            Keys { dpdk: ours.iter().map(bytes).collect(), ours }
        };
        let tables = Tables { table, hash, present: keys(0), absent: keys(flows) };
        tables.check().map_err(failed)?;
        Ok(tables)
    }

    /// Both find all that is there, and nothing else.
    fn check(&self) -> Result<(), String> {
        for (keys, expected) in [(&self.present, true), (&self.absent, false)] {
            for (ours, dpdk) in keys.ours.chunks(BULK_MAX).zip(keys.dpdk.chunks(BULK_MAX)) {
                let mut found = [None; BULK_MAX];
                let mut positions = [0; BULK_MAX];
                self.table.lookup_bulk(ours, &mut found);
                let dpdk: Vec<_> = dpdk.iter().collect();
                self.hash.lookup_bulk(&dpdk, &mut positions);
                let both = found.iter().zip(positions).take(ours.len());
                for (found, position) in both {
                    if found.is_some() != expected || (position >= 0) != expected {
                        return Err(format!("{found:?} and {position}, not {expected}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn ours<'a>(&'a self, keys: &'a Keys) -> Ours<'a> {
        let found = [None; BULK_MAX];
        Ours { table: &self.table, laps: Laps::of(&keys.ours), found, noted: false }
    }

    fn dpdk<'a>(&'a self, keys: &'a Keys) -> Dpdk<'a> {
        let positions = [0; BULK_MAX];
        Dpdk { hash: &self.hash, laps: Laps::of(&keys.dpdk), positions, notes: Vec::new() }
    }
}

/// Keys lap by lap, each brought near as those of frames are that were just parsed.
struct Laps<'a, K> {
    all: &'a [K],
    at: usize,
    near: Vec<K>,
}

impl<'a, K: Copy> Laps<'a, K> {
    fn of(all: &'a [K]) -> Self {
        Laps { all, at: 0, near: Vec::with_capacity(LAP) }
    }

    fn bring_next(&mut self) {
        if self.at + LAP > self.all.len() {
            self.at = 0;
        }
        self.near.clear();
        self.near.extend(self.all.iter().skip(self.at).take(LAP));
        self.at += LAP;
    }
}

struct Ours<'a> {
    table: &'a FlowTable,
    laps: Laps<'a, FlowKey>,
    found: [Option<Found>; BULK_MAX],
    /// Whether each packet is noted, too.
    noted: bool,
}

impl Work for Ours<'_> {
    fn prepare(&mut self) {
        self.laps.bring_next();
    }

    fn run(&mut self) {
        for keys in self.laps.near.chunks_exact(BULK_MAX) {
            self.table.lookup_bulk(black_box(keys), &mut self.found);
            black_box(&self.found);
            if self.noted {
                self.table.prefetch_notes(&self.found);
                for found in self.found.iter().flatten() {
                    self.table.touch(*found, FRAME_LEN, Time::from_ns(1));
                }
            }
        }
    }
}

/// What is noted of a flow's packets, as an application of `rte_hash` would keep it: by position.
#[derive(Default)]
#[repr(align(64))]
struct Note {
    frames: u64,
    bytes: u64,
    last_seen: u64,
}

struct Dpdk<'a> {
    hash: &'a Hash<KEY_LEN>,
    laps: Laps<'a, [u8; KEY_LEN]>,
    positions: [i32; BULK_MAX],
    /// Of each flow, if packets are noted.
    notes: Vec<Note>,
}

impl Work for Dpdk<'_> {
    fn prepare(&mut self) {
        self.laps.bring_next();
    }

    fn run(&mut self) {
        for keys in self.laps.near.chunks_exact(BULK_MAX) {
            let mut pointers = [&keys[0]; BULK_MAX];
            pointers.iter_mut().zip(keys).for_each(|(pointer, key)| *pointer = key);
            self.hash.lookup_bulk(black_box(&pointers), &mut self.positions);
            black_box(&self.positions);
            if self.notes.is_empty() {
                continue;
            }
            for position in &self.positions {
                let index = usize::try_from(*position).unwrap_or(usize::MAX);
                if let Some(note) = self.notes.get_mut(index) {
                    note.frames += 1;
                    note.bytes += FRAME_LEN as u64;
                    note.last_seen = 1;
                }
            }
        }
    }
}

/// Any order, the same every time (Fisher and Yates).
pub(crate) fn shuffle<T>(items: &mut [T]) {
    let mut random = Random::default();
    for last in (1..items.len()).rev() {
        let other = usize::try_from(random.next() % (last as u64 + 1)).unwrap_or(0);
        items.swap(last, other);
    }
}

/// The key of a flow's first packet: half of the flows have the larger address first.
pub(crate) fn key(n: u32) -> FlowKey {
    let client = std::net::Ipv4Addr::from(0x0a00_0000 | n >> 4);
    let server =
        std::net::Ipv4Addr::from(if n.is_multiple_of(2) { 0xc0a8_0001 } else { 0x0101_0101 });
    let port = 40_000 + u16::try_from(n & 0xf).unwrap_or(0);
    FlowKey::new(client.into(), server.into(), port, 443, protocol::TCP, 0)
}

/// The same, as bytes.
fn bytes(key: &FlowKey) -> [u8; KEY_LEN] {
    let mut bytes = [0; KEY_LEN];
    bytes[..16].copy_from_slice(&key.source_bits().to_be_bytes());
    bytes[16..32].copy_from_slice(&key.destination_bits().to_be_bytes());
    bytes[32..34].copy_from_slice(&key.source_port.to_be_bytes());
    bytes[34..36].copy_from_slice(&key.destination_port.to_be_bytes());
    bytes[36..38].copy_from_slice(&key.vlan.to_be_bytes());
    bytes[38] = key.protocol;
    bytes
}
