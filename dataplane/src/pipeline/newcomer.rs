//! What a peer that comes while the workers run brings along, made on another thread.
//!
//! In: its settings. Out: a session with all its tables, and how frames to it are addressed. Never:
//! anything of a worker touched.

use std::net::SocketAddr;

use super::appliance::{ApplianceConfig, Limits, PeerSettings, places_of};
use super::transmit::PeerPath;
use super::transmit::peers::share_of_reassembly;
use crate::counters::Counters;
use crate::data_mover::security::PublicKey;
use crate::data_mover::{Incarnation, MoverCounter, PeerConfig, Session};
use crate::frame::Side;
use crate::interceptor::Own;
use crate::packet_driver::{BufferPool, PeerIndex, ReceiveMemory};

/// A peer about to come.
#[derive(Debug)]
pub struct Newcomer {
    /// Its place.
    pub peer: PeerIndex,
    /// How frames to it are addressed.
    pub path: PeerPath,
    /// Its session.
    pub session: Session,
}

/// Makes what peers bring along.
#[derive(Clone, Debug)]
pub struct NewcomerMaker {
    own: Own,
    limits: Limits,
    device_checksums: bool,
    /// Our public key, and whether our processor has instructions for AES.
    identity: Option<(PublicKey, bool)>,
    arrivals: BufferPool,
    reassembly_bytes: usize,
    /// Counters of each place, whoever has it.
    counters: Vec<Counters<MoverCounter>>,
}

impl NewcomerMaker {
    pub(super) fn new(config: &ApplianceConfig, memory: &ReceiveMemory) -> Self {
        NewcomerMaker {
            own: config.own.clone(),
            limits: config.limits,
            device_checksums: config.device_checksums[Side::Wan.index()],
            identity: config.identity.as_ref().map(|own| (own.key.public(), own.aes)),
            arrivals: memory.arrivals.clone(),
            reassembly_bytes: memory.reassembly_bytes(),
            counters: (0..places_of(config)).map(|_| Counters::default()).collect(),
        }
    }

    /// The counters of each place.
    pub(super) fn counters(&self) -> &[Counters<MoverCounter>] {
        &self.counters
    }

    /// What the peer with these settings brings along to its place, as one of `peers`. `seed` is
    /// random, `incarnation` larger than that of any session with it before.
    #[must_use]
    pub fn make(
        &self,
        peer: PeerIndex,
        settings: &PeerSettings,
        peers: usize,
        (incarnation, seed): (u64, u64),
    ) -> Newcomer {
        let limits = &self.limits;
        let mut mover = PeerConfig::new(peer, settings.congestion.rate_bps_max());
        mover.congestion = settings.congestion;
        // What is on its way is in a buffer until it has arrived.
        let in_buffers = limits.buffer_bytes / usize::from(limits.segment_size_max).max(1);
        mover.transmissions_max = u32::try_from(in_buffers).unwrap_or(u32::MAX);
        mover.segment_size_max = limits.segment_size_max;
        mover.ip_overhead_bytes = if settings.endpoint.is_ipv4() { 28 } else { 48 };
        mover.dead_after_ns = settings.dead_after_ns;
        mover.keepalive_ns = settings.keepalive_ns;
        mover.fec = settings.fec;
        mover.buffer_len_max = u32::try_from(limits.buffer_size_max).unwrap_or(u32::MAX);
        mover.reassembly_bytes_max = share_of_reassembly(self.reassembly_bytes, peers);
        mover.digest = settings.digest;
        let counters = self.counters.get(usize::from(peer.0)).cloned().unwrap_or_default();
        let incarnation = Incarnation(incarnation);
        let mut session =
            Session::counting(mover, incarnation, self.arrivals.clone(), seed, counters);
        if let (Some((own, aes)), Some(keys)) = (&self.identity, &settings.keys) {
            session.secure(own, &keys.public, *aes);
        }
        Newcomer { peer, path: self.path(settings), session }
    }

    fn path(&self, settings: &PeerSettings) -> PeerPath {
        let (wan, endpoint) = (&self.own.wan, settings.endpoint);
        let source = wan.source_for(endpoint.ip()).unwrap_or(endpoint.ip());
        PeerPath {
            source: SocketAddr::new(source, self.own.port),
            destination: endpoint,
            mac: wan.mac,
            vlan: 0,
            device_checksums: self.device_checksums,
        }
    }
}
