//! The commands of a running tpo: one grammar, one executor, several front ends.
//!
//! A line becomes a [`Command`], the [`Executor`] carries it out on a [`Backend`], the answer is a
//! [`Reply`], which is written as text or as JSON. Lines come from the prompt, from a command file
//! and from `tpoctl`; all but the file's are [`Order`]s in one queue, which the control thread
//! serves.

mod backend;
mod command;
mod executor;
mod grammar;
mod orders;
mod parse;
mod prompt;
mod reply;
mod script;
mod table;
mod testpmd;
mod text;
mod view;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use backend::{Backend, CommandError, Reloaded};
pub use command::{
    Command, FLOWS_SHOWN_DEFAULT, FLOWS_SHOWN_MAX, FlowFilter, PortAction, PortView, Ports,
    Statistics,
};
pub(crate) use executor::help;
pub use executor::{Executor, LineError};
pub use orders::{Answer, Order, Orders, Source};
pub use parse::{LINE_LENGTH_MAX, ParseError, complete, parse};
pub use prompt::prompt;
pub use reply::{ConfigView, HelpEntry, Reply};
pub use script::{ScriptError, run_script};
pub use view::{
    CoreView, CounterView, DescriptorLimits, Direction, DropView, FlowView, Flows, LinkView,
    Parity, PeerState, PeerView, PipelineView, PortCounters, PortForwarding, PortInfo, PortStats,
    PortXstats, RuleView, StageView, Xstat,
};
