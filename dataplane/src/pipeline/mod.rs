//! The pipeline: the stages in their order, the links between them, which core runs which, and
//! one turn of the loop.
//!
//! In: frames of two ports (through [`PortIo`]), the time, commands of the control thread.
//! Out: frames, counters, and when the next turn is needed. Never: a clock, a sleep, a thread.
//!
//! ```text
//!            +--frames--> edge --messages--> aggregate --buffers--> compress --packed--+
//!   port ----+              ^                                                          v
//!    ^  ^    +--datagrams---|---------------------------------------------------> transmit
//!    |  +----edge frames----+ <--messages-- decompress <---------arrived---------------+
//!    +----------------------------------datagrams--------------------------------------+
//! ```
//!
//! compress and decompress may run several times; what they make comes in the order of what they
//! were given. edge may run several times too, each with flows of its own ([`crate::frame::Shard`]).

pub mod aggregate;
pub mod appliance;
pub mod compress;
pub mod decompress;
pub mod frame_budget;
pub mod links;
pub mod newcomer;
pub mod placement;
pub mod port;
pub mod reload;
pub mod stop;
pub mod transmit;
#[cfg(test)]
mod transmit_tests;
pub mod worker;

pub use links::{LinkLayout, Links, layout};
pub use placement::{Placement, PlacementError, StageAt, StageKind};
