//! Counters of the compression engine, both directions.

use crate::counters;

counters! {
    /// Counters of compressing and decompressing whole buffers.
    pub enum CompressionCounter, "compression" {
        BuffersIn: In, "buffers_in", "buffers", "Buffers given to the engine.";
        BuffersCompressed: Out, "buffers_compressed", "buffers", "Buffers that left smaller.";
        BuffersOff: Out, "buffers_off", "buffers",
            "Buffers passed on as they are because their rule turns compression off.";
        BuffersSmall: Out, "buffers_small", "buffers",
            "Buffers passed on as they are because they are too small to gain.";
        BuffersSkipped: Out, "buffers_skipped", "buffers",
            "Buffers passed on untried because those before them did not shrink.";
        BuffersIncompressible: Out, "buffers_incompressible", "buffers",
            "Buffers tried and passed on as they are because they did not shrink.";
        BuffersNoMemory: Out, "buffers_no_memory", "buffers",
            "Buffers passed on as they are because the pool had no buffer for the result.";
        BytesIn: Info, "bytes_in", "bytes", "Bytes of buffers given to the engine.";
        BytesOut: Info, "bytes_out", "bytes", "Bytes of buffers that left the engine.";
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
