//! A pair of appliances with hosts and a WAN, in virtual time: what the hosts may see, and what
//! is left behind.

mod compression;
mod counted;
mod ends;
mod faults;
mod latency;
mod memory;
mod messages;
mod outages;
mod packets;
mod peers;
mod repeatable;
mod restarts;
mod sharing;
mod stops;
mod support;
mod throughput;
mod transfers;
