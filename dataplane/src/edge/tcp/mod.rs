//! The TCP of the split connection: the local end that faces one LAN host in the name of the far
//! one.
//!
//! In: parsed segments with their frames; bytes and events from the far side; the time. Out:
//! bytes in order and events for the far side; segments for the host. Never: an address, a
//! message, a clock, a buffer of its own for what the host sends.
//!
//! | file | what is in it |
//! |---|---|
//! | `segment` | the header and its options, as bytes and as a struct |
//! | `sequence` | 32-bit sequence numbers and 64-bit positions |
//! | `interface` | traits, states, dispositions, reports |
//! | `connection` | the connection: constructors, state, its end |
//! | `far_side`, `inspect` | what the far side does to it, what can be asked of it |
//! | `incoming`, `outgoing`, `timeout` | segments from the host, segments to it, timers |
//! | `receiver` | order, SACK blocks, the window we offer |
//! | `sender`, `send_queue`, `scoreboard` | what the host has acknowledged, what waits, what is in flight |
//! | `kept` | what of that was copied out of the buffers it came in |
//! | `queue` | the memory of the queues of all connections |
//! | `rack`, `rtt`, `congestion` | loss detection, timeout, congestion window |
//! | `resting` | what is kept of an idle connection |
//! | `time_wait` | connections that are over |
//! | `isn`, `siphash` | initial numbers that cannot be guessed |

mod config;
mod congestion;
mod connection;
mod far_side;
mod incoming;
mod inspect;
mod interface;
#[expect(clippy::disallowed_methods, reason = "hashes addresses")]
mod isn;
mod kept;
mod outgoing;
mod queue;
mod rack;
mod receiver;
mod resting;
mod rtt;
mod scoreboard;
#[expect(clippy::disallowed_methods, reason = "writes headers, never payload")]
pub mod segment;
mod send_queue;
mod sender;
mod sequence;
mod siphash;
pub mod time_wait;
mod timeout;
mod timer;

#[cfg(test)]
mod tests;

pub use config::{MSS_DEFAULT_V4, MSS_DEFAULT_V6, MSS_MIN, TcpConfig};
pub use connection::{Connection, QueueReserves};
pub use interface::{
    Disposition, Emit, Finished, HostParameters, Report, State, Totals, Transmitted, Upward,
};
pub use isn::{InitialNumberSource, InitialNumbers};
pub use resting::Resting;
pub use segment::{Flags, Options, SackBlock, SackBlocks, Segment, SegmentError, Timestamps};
pub use send_queue::{DeliverError, Payload};
pub use siphash::siphash;
pub use time_wait::{TimeWait, TimeWaitTable, TimeWaitVerdict};
