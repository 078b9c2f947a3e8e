//! The stages of tpo, as state machines.
//!
//! In: frames, the time, configuration snapshots. Out: frames, and when to be called next.
//! Never: DPDK, sockets, a clock, threads, locks, sleeping.
//!
//! Imports run one way: [`frame`] < [`interceptor`], [`packet_driver`] < [`edge`],
//! [`compression`], [`data_mover`] < [`pipeline`]. Payload is copied by [`copy`] and nowhere else.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod compression;
pub mod copy;
pub mod counters;
pub mod data_mover;
pub mod edge;
pub mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod interceptor;
pub mod link;
pub mod packet_driver;
pub mod pipeline;
mod prefetch;
pub mod time;
