//! A whole pair of tpo in one thread and virtual time, with hosts and a WAN.

pub mod link;
