//! Configuration, start-up, worker threads, CLI and statistics of `tpo` and `tpoctl`.

pub mod appliance;
pub mod args;
pub mod cli;
pub mod config;
pub mod ctl;
pub mod eal_args;
mod idle;
pub mod io;
pub mod keys;
pub mod machine;
pub mod run;
pub mod serve;
pub mod socket;
pub mod stats;
pub mod worker;
