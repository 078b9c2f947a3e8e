//! Peers that a reload takes out and adds, step by step on all workers.
//!
//! In: places that are left and taken, the new configuration. Out: workers that follow it. Never: a
//! step before all workers have done the one before ([`dataplane::pipeline::reload`] says why); a
//! table laid out or given back on a worker.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use dataplane::data_mover::Session;
use dataplane::edge::peers::Forgetting;
use dataplane::packet_driver::PeerIndex;
use dataplane::pipeline::appliance::PeerSettings;
use dataplane::pipeline::newcomer::Newcomer;
use dataplane::pipeline::reload::Reconfiguration;
use dataplane::time::MILLISECOND_NS;

use super::convert;
use super::places::{PlaceChanges, Places};
use super::running::{Running, incarnation, secret};
use crate::config::Config;
use crate::keys::Keys;
use crate::worker::Progress;

/// What a step may take: workers that are behind need a while, and one that does not do it at all
/// does not hold up the commands for ever.
const STEP_MAX: Duration = Duration::from_secs(5);
/// What telling a peer that its session is closed may take, in nanoseconds: it is told three times within 40 ms.
const CLOSE_NS: u64 = 300 * MILLISECOND_NS;

/// Peers could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Randomness.
    #[error("the system refused randomness: {0}; nothing was changed")]
    System(#[from] std::io::Error),
    /// A worker does not do what it is asked to do.
    #[error(
        "a worker did not {0} within {seconds} s: rules and parameters are those of the new \
         configuration, peers that it adds may be down; restart tpo",
        seconds = STEP_MAX.as_secs()
    )]
    Stuck(&'static str),
}

impl Running {
    /// New rules, networks, peers' parameters and limits in time; open flows keep their rule. Peers
    /// that leave are told so, their flows end; peers that come begin to set up their sessions.
    ///
    /// # Errors
    /// What was refused.
    pub fn reconfigure(
        &mut self,
        config: &Config,
        keys: Option<&Keys>,
        places: &Places,
        changes: &PlaceChanges,
    ) -> Result<(), HandoverError> {
        let rules = Arc::new(convert::rules(config, places));
        let settings = convert::peers(config, keys);
        let peers: Arc<[(PeerIndex, PeerSettings)]> = places.iter().zip(settings).collect();
        let newcomers = self.newcomers(changes, &peers)?;
        self.rules = Arc::clone(&rules);
        let limits = convert::limits(&config.limits, 0);
        let new = Arc::new(Reconfiguration { rules, peers: Arc::clone(&peers), limits });
        let has_left = self.let_go(&changes.left);
        let is_ready = has_left.is_ok() && self.welcome(changes, &peers);
        let followed = self.all(Instant::now() + STEP_MAX, || {
            let new = Arc::clone(&new);
            Box::new(move |_, worker| {
                worker.reconfigure(&new);
                Progress::Done
            })
        });
        has_left?;
        match is_ready && followed {
            true => self.join(newcomers),
            false => Err(HandoverError::Stuck("follow the new configuration")),
        }
    }

    /// What the peers that come bring along.
    fn newcomers(
        &mut self,
        changes: &PlaceChanges,
        peers: &[(PeerIndex, PeerSettings)],
    ) -> Result<Vec<Newcomer>, HandoverError> {
        let mut newcomers = Vec::new();
        for (peer, place) in &changes.joined {
            let Some((_, settings)) = peers.get(*peer) else { continue };
            let [seed, ..] = secret()?;
            // Also where the clock was set back: a peer must take it for a later start.
            self.incarnation = incarnation().max(self.incarnation.saturating_add(1));
            let names = (self.incarnation, seed);
            newcomers.push(self.maker.make(*place, settings, peers.len(), names));
        }
        Ok(newcomers)
    }

    /// Peers leave these places.
    fn let_go(&self, left: &[PeerIndex]) -> Result<(), HandoverError> {
        if left.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + STEP_MAX;
        let left_by: Arc<[PeerIndex]> = left.into();
        let told = self.all(deadline, || {
            let left = Arc::clone(&left_by);
            Box::new(move |_, worker| {
                worker.leave(&left);
                Progress::Done
            })
        });
        let forgotten = told
            && left.iter().all(|peer| {
                let peer = *peer;
                self.all(deadline, || {
                    let mut done = Forgetting::default();
                    Box::new(move |now, worker| match worker.forget(now, peer, &mut done) {
                        true => Progress::Done,
                        false => Progress::Again,
                    })
                })
            });
        if !forgotten {
            return Err(HandoverError::Stuck("let go of a peer"));
        }
        for peer in left {
            self.part(*peer)?;
            if let Some(exchange) = &self.key_exchange
                && !exchange.change_peer(*peer, None, deadline)
            {
                return Err(HandoverError::Stuck("forget the keys of a peer"));
            }
        }
        Ok(())
    }

    /// Takes the session of a peer out, when it was told that it is closed, or had its time to be.
    fn part(&self, peer: PeerIndex) -> Result<(), HandoverError> {
        let (parted, waiting) = mpsc::channel::<Box<Session>>();
        let mut told_until = None;
        let done = self.transmitter(Instant::now() + STEP_MAX, move |now, worker| {
            let told_until = *told_until.get_or_insert(now + CLOSE_NS);
            let Some(session) = worker.part(peer, now >= told_until) else {
                return Progress::Again;
            };
            let _ = parted.send(Box::new(session));
            Progress::Done
        });
        // Its tables are given back here, not there.
        drop(waiting.try_recv());
        if done { Ok(()) } else { Err(HandoverError::Stuck("close a session")) }
    }

    /// The places of peers that come are laid out; says whether they are.
    fn welcome(&self, changes: &PlaceChanges, peers: &[(PeerIndex, PeerSettings)]) -> bool {
        let joined = changes.joined.iter();
        let joined = joined.filter_map(|(peer, _)| peers.get(*peer).cloned());
        let joined: Arc<[(PeerIndex, PeerSettings)]> = joined.collect();
        let deadline = Instant::now() + STEP_MAX;
        let known = joined.iter().all(|(place, settings)| {
            let exchange = self.key_exchange.as_ref();
            exchange.is_none_or(|e| e.change_peer(*place, settings.keys.clone(), deadline))
        });
        known
            && self.all(deadline, || {
                let joined = Arc::clone(&joined);
                Box::new(move |_, worker| {
                    joined.iter().for_each(|(place, settings)| worker.welcome(*place, settings));
                    Progress::Done
                })
            })
    }

    /// The sessions of peers that come begin to be set up.
    fn join(&self, newcomers: Vec<Newcomer>) -> Result<(), HandoverError> {
        let deadline = Instant::now() + STEP_MAX;
        for newcomer in newcomers {
            let mut waiting = Some(Box::new(newcomer));
            let joined = self.transmitter(deadline, move |_, worker| {
                waiting = waiting.take().and_then(|newcomer| worker.join(newcomer).err());
                if waiting.is_none() { Progress::Done } else { Progress::Again }
            });
            if !joined {
                return Err(HandoverError::Stuck("take a peer in"));
            }
        }
        Ok(())
    }
}
