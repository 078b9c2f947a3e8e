//! The packet interceptor: matches each IP packet against the look-up table, takes what matches,
//! lets the rest through untouched.
//!
//! In: bursts of frames from the LAN and the WAN side, the state of the peers, the time. Out: one
//! [`Action`] per frame; the flow table that remembers decisions; where frames to a host or a
//! peer have to go on their link. Never: a change to a frame that goes on, a frame without a
//! counter, the split connection itself.

pub mod admission;
pub mod classify;
#[cfg(test)]
mod classify_tests;
pub mod counter;
pub mod flow_hash;
pub mod flow_table;
#[cfg(test)]
mod flow_table_tests;
mod fragments;
pub mod neighbours;
pub mod own;
pub mod prefix;
pub mod reason;
pub mod route;
pub mod table;
pub mod verdict;

pub use admission::{Fallback, PeerStatus};
pub use classify::{Action, Config, Interceptor};
pub use counter::InterceptorCounter;
pub use flow_hash::FlowHasher;
pub use flow_table::{
    Direction, FlowHandle, FlowReader, FlowTable, FlowView, Found, InsertError, Timeouts,
};
pub use own::{Own, SideConfig};
pub use prefix::{InterfaceAddress, ParsePrefixError, Prefix, PrefixSet};
pub use reason::{DropReason, PassReason, RefuseReason};
pub use route::{Outcome, Route};
pub use table::{DscpSet, Networks, PortRange, Rule, RuleAction, RuleId, RuleTable};
pub use verdict::{Decision, Verdict};

pub use crate::frame::Side;
