//! Edges: the local end of each intercepted flow.
//!
//! In: frames that the interceptor took, messages from the far side. Out: messages for the far
//! side, frames to hosts. Never: a look-up rule, a buffer, an address of the WAN.

pub mod config;
pub mod counters;
pub mod credit;
pub mod table;
pub mod tcp;
pub mod timers;

pub use config::EdgeConfig;
pub use counters::EdgeCounter;
