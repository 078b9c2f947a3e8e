//! Two sessions over a bad link in virtual time.

mod auto;
mod deadlines;
mod fec;
mod fixed;
mod harness;
mod hostile;
mod insider;
mod lifecycle;
mod neighbours;
mod network;
mod path_cuts;
mod path_mtu;
mod sealed;
mod sharing;
mod throughput;
mod twins;
