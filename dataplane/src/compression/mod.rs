//! The compression engine: whole buffers, in and out.
//!
//! In: buffers of the packet driver, or complete buffers from the data mover; what the WAN takes and
//! what the core can give. Out: the same buffers, compressed or plain. Never: content of one buffer
//! in the next; each can be decompressed on its own.

pub mod choice;
mod counters;
pub mod engine;
pub mod level;
pub(crate) mod load;
pub mod lz4;
pub mod zstd;

pub use counters::{CompressionCounter, DecompressionCounter};
pub use engine::{Compressor, DecompressError, Decompressor, Surroundings};
pub use level::{Level, Mode};
