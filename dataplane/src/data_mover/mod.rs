//! The data mover: carries buffers between two TPOs over UDP.
//!
//! In: buffers with their kind, datagrams from the peer, the time. Out: datagrams, buffers as they
//! complete (in any order), events of the session, when to be called next. Never: a socket, a
//! clock, an allocation once a session is made, a look into a buffer.
//!
//! There are two number spaces. A *logical* number is the place of a buffer in the order of
//! buffers and stays with it. A *physical* number is one transmission and is never used twice, so
//! an acknowledgement is never ambiguous. What is lost is cut anew under a new physical number.

mod agreement;
mod config;
pub mod congestion;
mod counters;
mod demux;
mod fec;
mod flags;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod handshake;
mod lanes;
mod one_way;
mod outbound;
mod pacing;
mod path_mtu;
mod path_probe;
mod reassembly;
mod receive;
mod received;
mod receiver;
mod recovery;
mod rng;
mod rtt;
pub mod security;
mod sender;
mod sent;
mod session;
mod timers;
mod transmit;
mod twin;
#[expect(clippy::disallowed_methods, reason = "writes headers, never payload")]
pub mod wire;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fec::fuzz_parity;

#[cfg(test)]
mod tests;

pub use config::{PeerConfig, SEGMENT_SIZE_LIMIT, SEGMENT_SIZE_MIN};
pub use congestion::{Congestion, Mark};
pub use counters::MoverCounter;
pub use demux::{DemuxCounter, Sessions, Source};
pub use handshake::Mismatch;
pub use path_mtu::PathMtuState;
pub use sender::Violation;
pub use session::{Down, Incarnation, Protection, Report, Session, Sink, State, Up};
pub use wire::CloseReason;
