//! The wrapper on devices without hardware: null and ring ports, no hugepages.
//!
//! The EAL starts once in a process, so all tests share one. Each attaches a device of its own,
//! takes mbufs from a pool of its own, and ends with nothing left in use.

mod baseline;
mod bench;
mod checksums;
mod mbufs;
mod pools;
mod ports;
mod queues;
mod threads;
