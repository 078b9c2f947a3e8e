//! Counters of the compression engine, both directions.

use super::level::Level;
use crate::counters;

counters! {
    /// Counters of compressing and decompressing whole buffers.
    pub enum CompressionCounter, "compression" {
        BuffersIn: In, "buffers_in", "buffers", "Buffers given to the engine.";
        BuffersLz4Fast: Out, "buffers_lz4_fast", "buffers", "Buffers that left smaller, by LZ4 in haste.";
        BuffersLz4: Out, "buffers_lz4", "buffers", "Buffers that left smaller, by LZ4.";
        BuffersZstd1: Out, "buffers_zstd_1", "buffers", "Buffers that left smaller, by Zstandard at level 1.";
        BuffersZstd3: Out, "buffers_zstd_3", "buffers", "Buffers that left smaller, by Zstandard at level 3.";
        BuffersZstd6: Out, "buffers_zstd_6", "buffers", "Buffers that left smaller, by Zstandard at level 6.";
        BuffersOff: Out, "buffers_off", "buffers",
            "Buffers passed on as they are because their rule or their peer's section turns compression off.";
        BuffersSmall: Out, "buffers_small", "buffers",
            "Buffers passed on as they are because they are too small to gain.";
        BuffersStored: Out, "buffers_stored", "buffers",
            "Buffers passed on untried because compressing does not pay: those before them did not shrink, or the core is slower than the WAN.";
        BuffersIncompressible: Out, "buffers_incompressible", "buffers",
            "Buffers tried and passed on as they are because they did not shrink.";
        BuffersNoMemory: Out, "buffers_no_memory", "buffers",
            "Buffers passed on as they are because the pool had no buffer for the result.";
        BytesIn: Info, "bytes_in", "bytes", "Bytes of buffers given to the engine.";
        BytesOut: Info, "bytes_out", "bytes", "Bytes of buffers that left the engine.";
        BytesAsIs: Info, "bytes_as_is", "bytes", "Bytes of buffers passed on as they are.";
        BytesByLz4Fast: Info, "bytes_by_lz4_fast", "bytes", "Bytes, before it, of buffers that LZ4 in haste made smaller.";
        BytesByLz4: Info, "bytes_by_lz4", "bytes", "Bytes, before it, of buffers that LZ4 made smaller.";
        BytesByZstd1: Info, "bytes_by_zstd_1", "bytes", "Bytes, before it, of buffers that Zstandard made smaller at level 1.";
        BytesByZstd3: Info, "bytes_by_zstd_3", "bytes", "Bytes, before it, of buffers that Zstandard made smaller at level 3.";
        BytesByZstd6: Info, "bytes_by_zstd_6", "bytes", "Bytes, before it, of buffers that Zstandard made smaller at level 6.";
    }
}

impl CompressionCounter {
    /// Where buffers that left at a level are counted, and their bytes before.
    #[must_use]
    pub fn of_level(level: Level) -> (Self, Self) {
        match level {
            Level::Stored => (Self::BuffersStored, Self::BytesAsIs),
            Level::Lz4Fast => (Self::BuffersLz4Fast, Self::BytesByLz4Fast),
            Level::Lz4 => (Self::BuffersLz4, Self::BytesByLz4),
            Level::Zstd1 => (Self::BuffersZstd1, Self::BytesByZstd1),
            Level::Zstd3 => (Self::BuffersZstd3, Self::BytesByZstd3),
            Level::Zstd6 => (Self::BuffersZstd6, Self::BytesByZstd6),
        }
    }
}

counters! {
    /// Counters of decompressing whole buffers.
    pub enum DecompressionCounter, "decompression" {
        BuffersIn: In, "buffers_in", "buffers", "Buffers from peers given to the engine.";
        BuffersDecompressed: Out, "buffers_decompressed", "buffers", "Buffers decompressed.";
        BuffersStored: Out, "buffers_stored", "buffers", "Buffers that were not compressed.";
        BuffersMalformed: Drop, "buffers_malformed", "buffers",
            "Buffers whose routing header is wrong or of a type or packing not known.";
        BuffersTooLong: Drop, "buffers_too_long", "buffers",
            "Buffers that announce more plain bytes than was agreed.";
        BuffersDamaged: Drop, "buffers_damaged", "buffers",
            "Buffers that do not decompress to the length they announce.";
        BuffersNoMemory: Info, "buffers_no_memory", "buffers",
            "Attempts that found the pool empty; the buffer is tried again later.";
        BytesIn: Info, "bytes_in", "bytes", "Bytes of buffers before decompression.";
        BytesOut: Info, "bytes_out", "bytes", "Bytes of buffers after decompression.";
    }
}
