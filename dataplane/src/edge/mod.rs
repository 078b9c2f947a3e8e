//! Edges: the local end of each intercepted flow.
//!
//! In: frames that the interceptor took, messages from the far side. Out: messages for the far
//! side, frames to hosts. Never: a look-up rule, a buffer, an address of the WAN.
//!
//! | file | what is in it |
//! |---|---|
//! | `stage` | the stage: its tables, one turn |
//! | `frames`, `outbound` | frames of both sides; segments of hosts, and the first SYN |
//! | `inbound` | messages from the far side |
//! | `settle` | what follows from a connection's events; into and out of the tables |
//! | `packet_mode`, `mirror` | UDP, ICMP and the rest as whole packets; how their hosts were last seen |
//! | `places` | how much of the packet driver each peer may have |
//! | `sessions` | sessions that begin and end, and the restart procedure |
//! | `peers` | peers that a reload adds and takes out |
//! | `paths` | link addresses, and what is done every millisecond |
//! | `flow`, `flow_ids`, `table`, `timers`, `credit` | one flow; its name; all flows; deadlines; grants |
//! | `standby` | whole connections, and what is kept of idle ones |
//! | `memory` | copies for slow hosts, grants, credit given back |
//! | `held_frames` | segments behind gaps, of all connections together |
//! | `tcp`, `writer` | the connection to a host, and its segments as frames |

pub mod config;
pub mod counters;
pub mod credit;
pub mod flow;
mod flow_ids;
mod frames;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod held_frames;
mod inbound;
mod memory;
mod mirror;
mod outbound;
pub(crate) mod packet_mode;
mod paths;
pub mod peers;
mod places;
mod sessions;
mod settle;
pub mod stage;
pub mod standby;
pub mod table;
pub mod tcp;
#[cfg(test)]
mod tests;
pub mod timers;
mod writer;

pub use config::EdgeConfig;
pub use counters::{EdgeCounter, LanCounter};
pub use stage::EdgeStage;
