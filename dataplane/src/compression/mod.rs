//! The compression engine: whole buffers, in and out.
//!
//! In: buffers of the packet driver, or complete buffers from the data mover. Out: the same
//! buffers, compressed or plain. Never: state from one buffer to the next; each can be
//! decompressed on its own.

mod counters;
pub mod engine;
pub mod lz4;

pub use counters::{CompressionCounter, DecompressionCounter};
pub use engine::{Compressor, DecompressError, Decompressor};
