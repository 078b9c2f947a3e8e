//! A new configuration while the workers run, and peers that it adds and takes out.
//!
//! In: plain data, sessions made on another thread, steps. Out: stages that follow it. Never: a
//! frame lost, more than a bounded part of a step in one call.
//!
//! A peer has a place: its index, in every table. The order in which it changes hands:
//!
//! | step | where | what |
//! |---|---|---|
//! | [`Worker::leave`] | data mover | the session is closed, the stages behind are told so in order |
//! | [`Worker::forget`] | edges | hosts are reset, flows forgotten, a portion at a time |
//! | [`Worker::part`] | data mover | the peer has been told: its session is taken out |
//! | `KeyExchange::change_peer` | keys | who leaves is a stranger, who comes is known |
//! | [`Worker::welcome`] | edges, aggregation, compression | the place is laid out for who comes |
//! | [`Worker::reconfigure`] | all | rules name who comes |
//! | [`Worker::join`] | data mover | the session of who comes is set up |
//!
//! Each begins when all workers have done the one before, so nothing that is on its way to or from
//! who leaves finds who comes: buffers on their way out are of a session that is over, those on
//! their way in are before the word that it is.

use std::sync::Arc;

use super::appliance::{Limits, PeerSettings};
use super::newcomer::Newcomer;
use super::worker::Worker;
use crate::data_mover::Session;
use crate::edge::peers::Forgetting;
use crate::frame::Frame;
use crate::interceptor::RuleTable;
use crate::packet_driver::PeerIndex;
use crate::time::Time;

/// What a reload brings to every stage.
#[derive(Clone, Debug)]
pub struct Reconfiguration {
    /// Rules and networks.
    pub rules: Arc<RuleTable>,
    /// All peers that there are, with their places.
    pub peers: Arc<[(PeerIndex, PeerSettings)]>,
    /// Limits, of which those in time can change.
    pub limits: Limits,
}

impl<F: Frame> Worker<F> {
    /// Rules, peers' parameters and limits in time follow the new configuration; open flows keep
    /// their rule.
    pub fn reconfigure(&mut self, new: &Reconfiguration) {
        let Reconfiguration { rules, peers, limits } = new;
        if let Some(edge) = &mut self.edge {
            let fallbacks = peers.iter().map(|(index, peer)| (*index, peer.fallback));
            edge.reconfigure(Arc::clone(rules), fallbacks, limits.fin_timeout_ns);
        }
        if let Some(aggregate) = &mut self.aggregate {
            let deadlines_ns = limits.packet_deadlines_ns;
            aggregate.reconfigure(limits.backlog_ns, limits.flush_deadline_ns, deadlines_ns);
        }
        if let Some(compress) = &mut self.compress {
            compress.reconfigure(peers.iter().map(|(index, peer)| (*index, peer.compression)));
        }
        if let Some(transmit) = &mut self.transmit {
            transmit.reconfigure(peers.iter().map(|(index, peer)| (*index, peer)));
        }
    }

    /// These peers leave.
    pub fn leave(&mut self, peers: &[PeerIndex]) {
        if let Some(transmit) = &mut self.transmit {
            peers.iter().for_each(|peer| transmit.leave(*peer));
        }
    }

    /// Forgets a peer that leaves; says whether that is done. To be called again after some turns
    /// until it is, with the same `done`.
    pub fn forget(&mut self, now: Time, peer: PeerIndex, done: &mut Forgetting) -> bool {
        self.edge.as_mut().is_none_or(|edge| edge.forget_peer(now, peer, done))
    }

    /// Takes the session of a peer that leaves out, once that peer was told so; `at_once`: whatever
    /// it was told. The session is for another thread to drop.
    pub fn part(&mut self, peer: PeerIndex, at_once: bool) -> Option<Session> {
        let transmit = self.transmit.as_mut()?;
        if at_once { transmit.take_out(peer) } else { transmit.part(peer) }
    }

    /// This peer comes to a place where nobody is.
    pub fn welcome(&mut self, peer: PeerIndex, settings: &PeerSettings) {
        let address = settings.endpoint.ip();
        if let Some(edge) = &mut self.edge {
            edge.welcome(peer, address, settings.fallback);
        }
        if let Some(aggregate) = &mut self.aggregate {
            aggregate.welcome(peer, address);
        }
        if let Some(compress) = &mut self.compress {
            compress.welcome(peer);
        }
    }

    /// The session of a peer begins to be set up; it comes back while its place is not free.
    ///
    /// # Errors
    /// The same peer, to be brought again after some turns.
    pub fn join(&mut self, newcomer: Box<Newcomer>) -> Result<(), Box<Newcomer>> {
        match &mut self.transmit {
            Some(transmit) => transmit.join(newcomer),
            None => Err(newcomer),
        }
    }
}
