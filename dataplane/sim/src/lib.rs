//! A whole pair of tpo in one thread and virtual time, with hosts and a WAN.

pub mod check;
pub mod content;
pub mod faults;
pub mod host;
pub mod lan;
pub mod link;
pub mod pair;
pub mod run;
pub mod scripted;
