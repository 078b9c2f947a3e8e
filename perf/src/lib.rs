//! Reproducible performance runs: what the programs of this package share.

pub mod apart;
mod bulk;
pub mod compression;
pub mod connections;
pub mod frames;
pub mod hiccups;
pub mod instructions;
pub mod load;
pub mod matrix;
pub mod micro;
mod open_loop;
pub mod optimized;
pub mod program;
pub mod units;
pub mod wanem;
