//! What a pair is like: plain data, printed with the seed when a test fails.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use dataplane::compression::{Level, Mode};
use dataplane::data_mover::Congestion;
use dataplane::data_mover::security::{PeerKeys, PresharedKey, PrivateKey};
use dataplane::frame::MacAddr;
use dataplane::interceptor::{
    Fallback, Networks, Own, PortRange, Prefix, PrefixSet, Rule, RuleAction, RuleTable, SideConfig,
};
use dataplane::packet_driver::{Class, PeerIndex};
use dataplane::pipeline::appliance::{ApplianceConfig, Identity, Limits, PeerSettings};
use dataplane::pipeline::placement::Placement;
use dataplane::pipeline::reload::Reconfiguration;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};

use super::handover::Change;
use crate::content::Kind;
use crate::host::HostConfig;
use crate::link::{LinkConfig, Random};

/// Payload bytes of a segment that a port cuts: with all headers an IP packet.
const CUT_BYTES_MAX: u32 = 65_535 - 120;
/// UDP port of both data movers.
const PORT: u16 = 4980;
/// Length of the prefix of the one subnet that everything is in.
const SUBNET_V4: u8 = 16;
const SUBNET_V6: u8 = 64;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    /// 10.77.1.0/24 and fd77::1:0/112.
    A,
    /// 10.77.2.0/24 and fd77::2:0/112.
    B,
}

impl Site {
    /// Both, in order.
    pub const BOTH: [Site; 2] = [Site::A, Site::B];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Site {
        match self {
            Site::A => Site::B,
            Site::B => Site::A,
        }
    }

    /// 0 or 1.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Site::A => 0,
            Site::B => 1,
        }
    }

    fn number(self) -> u8 {
        match self {
            Site::A => 1,
            Site::B => 2,
        }
    }

    /// The address of this site with this last number, of either family.
    #[must_use]
    pub fn address(self, last: u8, v6: bool) -> IpAddr {
        if v6 {
            let number = self.number().into();
            Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, number, last.into()).into()
        } else {
            IpAddr::from([10, 77, self.number(), last])
        }
    }

    /// A MAC address of this site: `side` 0 for hosts, 1 for the appliance's LAN port, 2 for its
    /// WAN port.
    #[must_use]
    pub fn mac(self, side: u8, last: u8) -> [u8; 6] {
        [2, 0x77, self.number(), side, 0, last]
    }

    fn networks(self) -> Vec<Prefix> {
        let prefix = |v6, len| Prefix::of(self.address(0, v6), len);
        [prefix(false, 24), prefix(true, 112)].into_iter().flatten().collect()
    }

    fn side(self, number: u8) -> SideConfig {
        let own = |v6, len: u8| format!("{}/{len}", self.address(number, v6)).parse().ok();
        SideConfig {
            mac: MacAddr(self.mac(number, 0)),
            addresses: [own(false, SUBNET_V4), own(true, SUBNET_V6)]
                .into_iter()
                .flatten()
                .collect(),
            gateways: Vec::new(),
        }
    }

    /// Where the peer of this site sends to.
    #[must_use]
    pub fn endpoint(self, v6: bool) -> SocketAddr {
        SocketAddr::new(self.address(2, v6), PORT)
    }

    /// A host of this site: on both families, with `last` as the last number of its addresses.
    #[must_use]
    pub fn host(self, last: u8) -> HostConfig {
        HostConfig {
            mac: self.mac(0, last),
            addresses: vec![
                (self.address(last, false), SUBNET_V4),
                (self.address(last, true), SUBNET_V6),
            ],
            ..HostConfig::numbered(last)
        }
    }
}

/// Something that happens while the pair runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One direction of the WAN becomes like this: the one that leaves the site.
    Wan(Site, LinkConfig),
    /// All cables of a LAN become like this.
    Lan(Site, LinkConfig),
    /// The appliance is killed; nothing passes its site until it is started.
    Kill(Site),
    /// The appliance is started, with a larger incarnation.
    Start(Site),
    /// The appliance does nothing for this long, in nanoseconds; frames wait in its ports' queues.
    Pause(Site, u64),
    /// The appliance is configured anew while it runs.
    Reload(Site, Reload),
    /// The peer of a site is configured in another place (it has the first one at the start), or not
    /// at all: its present one, and the one it gets.
    Move(Site, Option<PeerIndex>, Option<PeerIndex>),
}

/// What a new configuration changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// See [`PairConfig::rate_bps`].
    pub rate_bps: u64,
    /// See [`PairConfig::auto`].
    pub auto: bool,
    /// See [`PairConfig::fallback`].
    pub fallback: Fallback,
    /// See [`PairConfig::compress`].
    pub compress: bool,
}

/// What a pair is like.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// Fixes everything that is random.
    pub seed: u64,
    /// Which core runs which stage, for both appliances.
    pub placement: Placement,
    /// The same for that of site B, where it is another one.
    pub placement_b: Option<Placement>,
    /// Whether now and then one worker stands still while the others go on, as threads do that share
    /// cores.
    pub uneven: bool,
    /// The WAN from A and from B, at the start.
    pub wan: [LinkConfig; 2],
    /// Rate that both data movers send at, in bits of IP packets per second.
    pub rate_bps: u64,
    /// Whether they find it by measuring; then `rate_bps` is the most.
    pub auto: bool,
    /// What becomes of new flows while the peer cannot take them.
    pub fallback: Fallback,
    /// Silence after which a peer is lost, in nanoseconds.
    pub dead_after_ns: u64,
    /// Whether the data movers speak IPv6.
    pub wan_v6: bool,
    /// Whether the rule lets data be compressed.
    pub compress: bool,
    /// Whether parity is sent where a loss would cost a round trip.
    pub fec: bool,
    /// How what the rule lets be compressed is.
    pub compression: Mode,
    /// What a byte costs at each level of compression, in picoseconds.
    pub compress_ps: [u64; Level::COUNT],
    /// What the hosts of a [`Run`](crate::run::Run) send.
    pub content: Kind,
    /// What the rule does, between the networks of the two sites.
    pub action: RuleAction,
    /// Class of flows to servers on these ports; all others are in the default class.
    pub classes: Vec<(u16, Class)>,
    /// What both must agree on, as each has it: no session comes up when they differ.
    pub digests: [u64; 2],
    /// Whether each encrypts; no session comes up when they differ.
    pub encrypted: [bool; 2],
    /// Limits of both appliances.
    pub limits: Limits,
    /// What happens at which time, in nanoseconds, in order of time.
    pub events: Vec<(u64, Event)>,
}

impl Default for PairConfig {
    /// 200 Mb/s, 80 ms there and back, no faults.
    fn default() -> Self {
        let wan = LinkConfig {
            rate_bps: 200_000_000,
            queue_bytes_max: 500_000,
            delay_ns: 40 * MILLISECOND_NS,
            ..LinkConfig::default()
        };
        PairConfig {
            seed: 1,
            placement: Placement::single(0),
            placement_b: None,
            uneven: false,
            wan: [wan.clone(), wan],
            rate_bps: 200_000_000,
            auto: false,
            fallback: Fallback::Pass,
            dead_after_ns: 10 * SECOND_NS,
            wan_v6: false,
            compress: true,
            fec: true,
            compression: Mode::Auto,
            compress_ps: [0; Level::COUNT],
            content: Kind::Noise,
            action: RuleAction::Optimize,
            classes: Vec::new(),
            digests: [0, 0],
            encrypted: [true, true],
            limits: Limits {
                flows: 1024,
                connections: 256,
                half_open: 128,
                neighbours: 256,
                frames: 8192,
                buffer_bytes: 128 << 20,
                ..Limits::default()
            },
            events: Vec::new(),
        }
    }
}

impl PairConfig {
    /// The private key of a site.
    fn key(&self, site: Site) -> PrivateKey {
        let mut random = Random::for_purpose(self.seed, 1 << 48 | u64::from(site.number()));
        let mut bytes = [0; 32];
        random.fill(&mut bytes);
        PrivateKey::new(bytes)
    }

    fn congestion(&self) -> Congestion {
        let rate_bps = self.rate_bps;
        if self.auto {
            Congestion::Auto { hint_bps: None, rate_bps_max: rate_bps }
        } else {
            Congestion::Fixed { rate_bps }
        }
    }

    /// Both directions of the WAN changed alike.
    #[must_use]
    pub fn with_wan(mut self, change: impl Fn(&mut LinkConfig)) -> Self {
        self.wan.iter_mut().for_each(change);
        self
    }

    /// The same with what a reload changes.
    #[must_use]
    pub fn reloaded(&self, reload: &Reload) -> Self {
        let Reload { rate_bps, auto, fallback, compress } = *reload;
        PairConfig { rate_bps, auto, fallback, compress, ..self.clone() }
    }

    /// Which core runs which stage at a site.
    #[must_use]
    pub fn placement_of(&self, site: Site) -> &Placement {
        let of_b = self.placement_b.as_ref().filter(|_| site == Site::B);
        of_b.unwrap_or(&self.placement)
    }

    /// Rules and networks of a site whose peer has this place, or is not there.
    fn rules(&self, site: Site, place: Option<PeerIndex>) -> RuleTable {
        let peer = site.other();
        let to_peer = Rule {
            name: "to-peer".to_owned(),
            source: site.networks().into_iter().collect(),
            destination: peer.networks().into_iter().collect(),
            action: self.action,
            compress: self.compress,
            ..Rule::default()
        };
        let of_class = |(port, class): &(u16, Class)| Rule {
            name: format!("class-{}", class.0),
            destination_ports: vec![PortRange { first: *port, last: *port }],
            class: *class,
            ..to_peer.clone()
        };
        let mut rules: Vec<Rule> = self.classes.iter().map(of_class).collect();
        rules.push(to_peer);
        let mut peers = Vec::new();
        if let Some(PeerIndex(place)) = place {
            peers.resize_with(usize::from(place), PrefixSet::default);
            peers.push(peer.networks().into_iter().collect());
        }
        let networks = Networks { local: site.networks().into_iter().collect(), peers };
        RuleTable::new(rules, networks)
    }

    /// What a site knows of its peer.
    fn peer(&self, site: Site) -> PeerSettings {
        let peer = site.other();
        PeerSettings {
            digest: self.digests[site.index()],
            keys: self.encrypted[site.index()].then(|| PeerKeys {
                public: self.key(peer).public(),
                // With and without.
                psk: self.seed.is_multiple_of(2).then(|| PresharedKey::new([7; 32])),
            }),
            endpoint: peer.endpoint(self.wan_v6),
            congestion: self.congestion(),
            fallback: self.fallback,
            dead_after_ns: self.dead_after_ns,
            keepalive_ns: SECOND_NS.min(self.dead_after_ns / 4),
            fec: self.fec,
            compression: self.compression,
        }
    }

    /// What a reload brings to the appliance of a site, whose peer has this place.
    #[must_use]
    pub fn reconfiguration(&self, site: Site, place: Option<PeerIndex>) -> Reconfiguration {
        Reconfiguration {
            rules: Arc::new(self.rules(site, place)),
            peers: place.map(|place| (place, self.peer(site))).into_iter().collect(),
            limits: self.limits,
        }
    }

    /// The peer of a site leaves one place, and comes to another, at this time.
    #[must_use]
    pub fn change(
        &self,
        site: Site,
        (from, to): (Option<PeerIndex>, Option<PeerIndex>),
        now_ns: u64,
    ) -> Change {
        let mut random = Random::for_purpose(self.seed, now_ns);
        // Later than any start.
        let names = (1 << 40 | now_ns << 1 | site.index() as u64, random.next_u64());
        Change {
            leave: from.into_iter().collect(),
            join: to.map(|to| (to, self.peer(site), names)).into_iter().collect(),
            new: self.reconfiguration(site, to),
        }
    }

    /// What the appliance of a site is made from, the `incarnation`th time it is started.
    #[must_use]
    pub fn appliance(&self, site: Site, incarnation: u64) -> ApplianceConfig {
        let purpose = u64::from(site.number()) << 32 | incarnation;
        let mut random = Random::for_purpose(self.seed, purpose);
        let encrypted = self.encrypted[site.index()];
        ApplianceConfig {
            placement: self.placement_of(site).clone(),
            own: Own { lan: site.side(1), wan: site.side(2), port: PORT },
            rules: Arc::new(self.rules(site, Some(PeerIndex(0)))),
            peers: vec![self.peer(site)],
            // One of two pairs has AES instructions at both ends.
            identity: encrypted.then(|| Identity {
                key: self.key(site),
                aes: self.seed % 4 < 2 || site == Site::A,
            }),
            limits: self.limits,
            lan_mtu: 1500,
            // One of the two leaves checksums to its ports, and large segments to that of its LAN.
            device_checksums: [site == Site::A; 2],
            cut_bytes_max: if site == Site::A { CUT_BYTES_MAX } else { 0 },
            secret: std::array::from_fn(|_| random.next_u64()),
            // Two ends never have the same one.
            incarnation: 2 * incarnation + u64::from(site == Site::B),
        }
    }
}
