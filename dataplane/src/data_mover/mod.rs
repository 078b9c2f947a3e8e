//! The data mover: carries buffers between two TPOs over UDP.

pub mod wire;
