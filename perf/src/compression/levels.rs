//! What each level costs and leaves, by itself.

use dataplane::compression::{lz4, zstd};
use nix::time::{ClockId, clock_gettime};

use super::content::Content;

/// Lengths of blocks that are looked at: those of the slowest links, and of fast ones.
const LENS: [usize; 2] = [4 << 10, 64 << 10];
/// Bytes that are compressed for each figure, at most.
const BYTES_MAX: usize = 8 << 20;

/// What one way of compressing costs and leaves.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Cost {
    /// What is compressed.
    pub content: &'static str,
    /// Bytes of a block.
    pub block: usize,
    /// How.
    pub level: &'static str,
    /// Nanoseconds per byte.
    pub ns: f64,
    /// What is left of a byte.
    pub left: f64,
    /// Nanoseconds per byte to get it back.
    pub back_ns: f64,
}

/// From bytes, into room: how many.
type Job<'a> = dyn FnMut(&[u8], &mut [u8]) -> Option<usize> + 'a;
/// Name, how it packs, whether it is Zstandard.
type Way<'a> = (&'static str, Box<Job<'a>>, bool);

/// The costs of all levels for one content.
#[must_use]
pub fn costs(content: &Content) -> Vec<Cost> {
    let mut rows = Vec::new();
    for block in LENS {
        let mut state = [lz4::State::default(), lz4::State::default()];
        let mut packers = [(); 3].map(|()| zstd::Packer::default());
        let [fast, usual] = &mut state;
        let [one, three, six] = &mut packers;
        let ways: [Way<'_>; 5] = [
            ("lz4 fast", Box::new(|plain, packed| fast.compress(plain, packed, 8)), false),
            ("lz4", Box::new(|plain, packed| usual.compress(plain, packed, 1)), false),
            ("zstd 1", Box::new(|plain, packed| one.compress(plain, packed, 1)), true),
            ("zstd 3", Box::new(|plain, packed| three.compress(plain, packed, 3)), true),
            ("zstd 6", Box::new(|plain, packed| six.compress(plain, packed, 6)), true),
        ];
        for (level, mut pack, is_zstd) in ways {
            let mut unpacker = zstd::Unpacker::default();
            let mut unpack = |packed: &[u8], plain: &mut [u8]| {
                if is_zstd {
                    unpacker.decompress(packed, plain)
                } else {
                    lz4::decompress(packed, plain)
                }
            };
            rows.push(cost(content, block, level, &mut *pack, &mut unpack));
        }
    }
    rows
}

fn cost(
    content: &Content,
    block: usize,
    level: &'static str,
    pack: &mut Job<'_>,
    unpack: &mut Job<'_>,
) -> Cost {
    let (mut packed, mut plain) = (vec![0; 2 * block], vec![0; block]);
    let (mut plain_bytes, mut packed_bytes, mut ns, mut back_ns) = (0, 0, 0, 0);
    for data in content.bytes.chunks_exact(block).take(BYTES_MAX / block) {
        let began_ns = processor_ns();
        let len = pack(data, &mut packed).unwrap_or(block);
        let packed_ns = processor_ns();
        let _ = unpack(&packed[..len.min(2 * block)], &mut plain);
        back_ns += processor_ns() - packed_ns;
        ns += packed_ns - began_ns;
        plain_bytes += block;
        packed_bytes += len.min(block);
    }
    let per_byte = |ns: u64| ns as f64 / plain_bytes.max(1) as f64;
    Cost {
        content: content.name,
        block,
        level,
        ns: per_byte(ns),
        left: packed_bytes as f64 / plain_bytes.max(1) as f64,
        back_ns: per_byte(back_ns),
    }
}

/// What the processor spent on this thread so far.
pub(super) fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok();
    let ns = time.map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec());
    u64::try_from(ns).unwrap_or(0)
}
