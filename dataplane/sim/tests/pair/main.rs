//! A pair of appliances with hosts and a WAN, in virtual time: what the hosts may see, and what
//! is left behind.

mod counted;
mod ends;
mod faults;
mod memory;
mod outages;
mod packets;
mod repeatable;
mod sharing;
mod support;
mod throughput;
mod transfers;
