//! The packet interceptor: matches each IP packet against the look-up table, takes what matches,
//! lets the rest through untouched.

pub mod counter;
pub mod flow_hash;
pub mod flow_table;
#[cfg(test)]
mod flow_table_tests;
pub mod prefix;
pub mod reason;
pub mod table;
pub mod verdict;

pub use counter::InterceptorCounter;
