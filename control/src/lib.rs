//! Configuration, start-up, worker threads, CLI and statistics of `tpo` and `tpoctl`.

pub mod cli;
pub mod config;
pub mod io;
pub mod machine;
pub mod socket;
pub mod stats;
