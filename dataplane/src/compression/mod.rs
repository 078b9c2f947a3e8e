//! The compression engine: whole buffers, in and out.
