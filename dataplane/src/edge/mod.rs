//! Edges: the local end of each intercepted flow.

pub mod tcp;
