//! Edges: the local end of each intercepted flow.

pub mod credit;
pub mod table;
pub mod timers;
