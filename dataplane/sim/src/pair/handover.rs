//! Places of peers that change hands while an appliance runs, as the control thread does it.
//!
//! In: who leaves, who comes, the configuration afterwards. Out: steps, carried out on all workers one
//! after the other. Never: a step before all workers have done the one before.

use std::collections::VecDeque;

use dataplane::data_mover::security::{KeyExchange, PeerKeys};
use dataplane::edge::peers::Forgetting;
use dataplane::frame::heap::HeapFrame;
use dataplane::packet_driver::PeerIndex;
use dataplane::pipeline::appliance::PeerSettings;
use dataplane::pipeline::newcomer::{Newcomer, NewcomerMaker};
use dataplane::pipeline::reload::Reconfiguration;
use dataplane::pipeline::worker::Worker;
use dataplane::time::Time;

/// Peers that leave and come in one reload.
#[derive(Clone, Debug)]
pub struct Change {
    /// Who leaves.
    pub leave: Vec<PeerIndex>,
    /// Who comes, with an incarnation and a seed.
    pub join: Vec<(PeerIndex, PeerSettings, (u64, u64))>,
    /// The configuration afterwards.
    pub new: Reconfiguration,
}

enum Step {
    Leave(PeerIndex),
    Forget(PeerIndex, Vec<Forgetting>),
    Part(PeerIndex),
    Keys(PeerIndex, Option<PeerKeys>),
    Welcome(PeerIndex, Box<PeerSettings>),
    Reload(Reconfiguration),
    Join(Option<Box<Newcomer>>),
}

/// Steps still to be done.
#[derive(Default)]
pub(super) struct Handover(VecDeque<Step>);

impl Handover {
    /// The steps of a change come behind those there are.
    pub(super) fn add(&mut self, change: &Change, maker: &NewcomerMaker, workers: usize) {
        let Change { leave, join, new } = change;
        let steps = &mut self.0;
        steps.extend(leave.iter().map(|peer| Step::Leave(*peer)));
        for peer in leave {
            steps.push_back(Step::Forget(*peer, vec![Forgetting::default(); workers]));
            steps.push_back(Step::Part(*peer));
            steps.push_back(Step::Keys(*peer, None));
        }
        for (peer, settings, _) in join {
            steps.push_back(Step::Keys(*peer, settings.keys.clone()));
            steps.push_back(Step::Welcome(*peer, Box::new(settings.clone())));
        }
        steps.push_back(Step::Reload(new.clone()));
        for (peer, settings, names) in join {
            let newcomer = maker.make(*peer, settings, new.peers.len(), *names);
            steps.push_back(Step::Join(Some(Box::new(newcomer))));
        }
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// Does what can be done of the next step now; whether it is done.
    pub(super) fn go_on(
        &mut self,
        now: Time,
        workers: &mut [Worker<HeapFrame>],
        exchange: Option<&mut KeyExchange>,
    ) -> bool {
        let Some(step) = self.0.front_mut() else { return false };
        let done = match step {
            Step::Leave(peer) => {
                workers.iter_mut().for_each(|worker| worker.leave(&[*peer]));
                true
            }
            Step::Forget(peer, done) => workers
                .iter_mut()
                .zip(done)
                .fold(true, |all, (worker, done)| worker.forget(now, *peer, done) & all),
            Step::Part(peer) => {
                workers.iter_mut().any(|worker| worker.part(*peer, false).is_some())
            }
            Step::Keys(peer, keys) => {
                if let Some(exchange) = exchange {
                    exchange.change_peer(*peer, keys.clone());
                }
                true
            }
            Step::Welcome(peer, settings) => {
                workers.iter_mut().for_each(|worker| worker.welcome(*peer, settings));
                true
            }
            Step::Reload(new) => {
                workers.iter_mut().for_each(|worker| worker.reconfigure(new));
                true
            }
            Step::Join(newcomer) => {
                for worker in workers.iter_mut().filter(|worker| worker.transmit.is_some()) {
                    if let Some(peer) = newcomer.take() {
                        *newcomer = worker.join(peer).err();
                    }
                }
                newcomer.is_none()
            }
        };
        if done {
            self.0.pop_front();
        }
        done
    }
}
