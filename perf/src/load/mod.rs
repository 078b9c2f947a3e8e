//! The load generator: hosts with a TCP stack (smoltcp) on two LANs, clients on one, servers on the
//! other, whatever is between them.
//!
//! In: two ports, what is to be carried: streams, requests, or connections that come and go. Out: how
//! much arrived, every byte compared, how long each request took since it was meant to be sent, and
//! what should not have happened. Never: a figure of bytes that differ from those that were sent.
//!
//! | file | what is in it |
//! |---|---|
//! | `packet` | Ethernet, ARP and checksums around the stack's packets |
//! | `link` | what a port must offer |
//! | `stack` | one connection with a stack of its own |
//! | `connection` | what either end of a connection has sent, received and compared |
//! | `hosts` | all hosts of one LAN: whose frame it is, who has something to do |
//! | `client`, `server` | what either side does with its connections |
//! | `generator` | both LANs, from the first question for a neighbour to the last connection closed |
//! | `report` | what came of it |
//! | `device` | a DPDK port |
//!
//! Each connection has a stack of its own, because the stack looks at all of its sockets for each
//! packet: so thousands of them cost no more than one.

mod client;
mod connection;
pub mod device;
pub mod generator;
mod hosts;
mod link;
mod packet;
pub mod report;
mod server;
mod stack;
#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

pub use link::{Link, Wire};

/// What connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Clients send as fast as it goes, servers compare.
    Bulk,
    /// Requests and answers on connections that stay open.
    Request,
    /// Each connection is opened, asked on once, and closed.
    Connect,
}

/// What is to be carried.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// What connections do.
    pub kind: Kind,
    /// Connections; of those that come and go, how many are under way at a time, at most.
    pub connections: usize,
    /// Requests a second, of all connections together, or new connections a second; 0 for the next
    /// as soon as one has ended.
    pub rate: u64,
    /// Bytes of a request.
    pub request_bytes: u64,
    /// Bytes of its answer.
    pub answer_bytes: u64,
    /// Whether the content can be compressed, to about half.
    pub text: bool,
}

/// What hosts are like.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the longest IP packet, as the stack tells its peers.
    pub mtu: u16,
    /// Bytes of the longest IP packet that a host hands over all the same, as one with segmentation
    /// offload does.
    pub large: Option<NonZeroU16>,
    /// Bytes of each buffer of a connection, send and receive.
    pub buffer_bytes: usize,
}

const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;
