//! The packet interceptor: matches each IP packet against the look-up table, takes what matches,
//! lets the rest through untouched.
//!
//! In: bursts of frames from the LAN and the WAN side, the state of the peers, the time. Out: one
//! [`Action`] per frame; the flow table that remembers decisions; where frames to a host or a
//! peer have to go on their link. Never: a change to a frame that goes on, a frame without a
//! counter, the split connection itself.

pub mod action;
pub mod admission;
mod bridge;
pub mod classify;
pub mod counter;
mod flow_entry;
pub mod flow_hash;
mod flow_index;
pub mod flow_map;
pub mod flow_table;
#[cfg(test)]
mod flow_table_tests;
mod flows;
mod fragments;
mod lan;
pub mod neighbours;
pub mod own;
pub mod owner;
mod passing;
pub mod prefix;
pub mod reason;
pub mod reassembly;
pub mod route;
pub mod stations;
pub mod table;
#[cfg(test)]
mod tests;
pub mod verdict;

pub use action::Action;
pub use admission::{Fallback, PeerStatus};
pub use classify::{Config, Interceptor};
pub use counter::InterceptorCounter;
pub use flow_hash::FlowHasher;
pub(crate) use flow_index::FlowIndex;
pub use flow_map::FlowMap;
pub use flow_table::{
    Direction, FlowHandle, FlowReader, FlowTable, FlowView, Found, InsertError, Timeouts,
};
pub use own::{Own, SideConfig};
pub use owner::Owners;
pub use prefix::{InterfaceAddress, ParsePrefixError, Prefix, PrefixSet};
pub use reason::{DropReason, PassReason, RefuseReason};
pub use reassembly::{Reassembly, ReassemblyCounter};
pub use route::{Outcome, Route};
pub use stations::Sighting;
pub use table::{DscpSet, Networks, PortRange, Rule, RuleAction, RuleId, RuleTable};
pub use verdict::{Decision, Verdict};

pub use crate::frame::Side;
