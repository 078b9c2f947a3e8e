//! The matrix: two data movers and the link model in virtual time, over many links.
//!
//! - [`cell`]: what a link is like, and which links the matrix has
//! - [`wire`]: datagrams by their heads only, for payload is carried by length
//! - [`run`]: one cell from the first datagram to its figures
//! - [`verdict`]: the bars, and what bounds a cell that cannot reach them
//! - [`output`]: the CSV file and the heat map

pub mod cell;
pub mod output;
pub mod run;
pub mod verdict;
mod wire;
