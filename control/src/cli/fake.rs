//! An appliance for tests: answers from fixed data and notes what it was told.

use std::path::Path;

use super::backend::{Backend, CommandError, Reloaded};
use super::command::{FlowFilter, PortAction, Statistics};
use super::view::{
    CoreView, CounterView, DescriptorLimits, Direction, DropView, FlowView, Flows, LinkView,
    Parity, PeerState, PeerView, PipelineView, PortCounters, PortForwarding, PortInfo, RuleView,
    StageView, Xstat,
};
use crate::config::{Change, Config, ConfigWarnings, Size};
use crate::machine::Machine;

/// The appliance. Its ports look like net_null devices.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) forwarding: bool,
    pub(crate) ports: Vec<u16>,
    pub(crate) config: Option<Config>,
    /// What it was told to do, in order.
    pub(crate) log: Vec<String>,
}

impl Default for Fake {
    fn default() -> Self {
        let machine = Machine { cores: vec![0], memory: Size(8 << 30), hugepages_free: Size(0) };
        let text = include_str!("../config/tests/minimal.toml");
        let config = Config::parse(Path::new("minimal.toml"), text, &machine).unwrap().0;
        Fake { forwarding: false, ports: vec![0, 1], config: Some(config), log: Vec::new() }
    }
}

impl Backend for Fake {
    fn is_forwarding(&self) -> bool {
        self.forwarding
    }

    fn start(&mut self) -> Result<(), CommandError> {
        self.forwarding = true;
        self.log.push("start".into());
        Ok(())
    }

    fn stop(&mut self) -> Result<(), CommandError> {
        self.forwarding = false;
        self.log.push("stop".into());
        Ok(())
    }

    fn ports(&self) -> Vec<u16> {
        self.ports.clone()
    }

    fn port_info(&self, port: u16) -> Result<PortInfo, CommandError> {
        let limits = DescriptorLimits { min: 0, max: 65535, align: 1 };
        Ok(PortInfo {
            port,
            mac: [0x4e, 0x22, 0xcb, 0x1b, 0x4b, u8::try_from(port).unwrap_or(0xff)],
            device_name: format!("net_null{port}"),
            driver_name: "net_null".into(),
            devargs: Some(String::new()),
            link_up: true,
            link_speed_mbps: Some(10_000),
            full_duplex: true,
            mtu: 1500,
            promiscuous: true,
            all_multicast: true,
            max_mac_addrs: 1,
            vlan_offload: Some(0),
            reta_size: 128,
            rss_types: 0x2_003f_fffc,
            max_rx_pktlen: u32::MAX,
            rx_queues: 1,
            max_rx_queues: 1024,
            rxd: limits,
            tx_queues: 1,
            max_tx_queues: 1024,
            txd: limits,
            max_segs_per_packet: 65535,
            max_segs_per_mtu: 65535,
            error_handling: "none".into(),
            ..PortInfo::default()
        })
    }

    fn port_counters(&self, _: u16) -> Result<PortCounters, CommandError> {
        Ok(PortCounters { rx_packets: 12, rx_bytes: 768, ..PortCounters::default() })
    }

    fn port_xstats(&self, _: u16) -> Result<Vec<Xstat>, CommandError> {
        let names = [
            "rx_good_packets",
            "tx_good_packets",
            "rx_good_bytes",
            "tx_good_bytes",
            "rx_missed_errors",
            "rx_errors",
            "tx_errors",
            "rx_mbuf_allocation_errors",
            "rx_q0_packets",
            "rx_q0_bytes",
            "rx_q0_errors",
            "tx_q0_packets",
            "tx_q0_bytes",
        ];
        Ok(names.map(|name| Xstat { name: name.into(), value: 0 }).into())
    }

    fn port_action(&mut self, port: u16, action: PortAction) -> Result<(), CommandError> {
        if action == PortAction::Close {
            if self.forwarding {
                return Err(CommandError::Refused(format!(
                    "port {port} is forwarding: stop first"
                )));
            }
            self.ports.retain(|known| *known != port);
        }
        self.log.push(format!("{action:?} port {port}"));
        Ok(())
    }

    fn set_promiscuous(&mut self, port: u16, on: bool) -> Result<(), CommandError> {
        self.log.push(format!("promiscuous port {port} {on}"));
        Ok(())
    }

    fn forwarding(&self) -> Vec<PortForwarding> {
        let ports = self.ports.iter();
        ports
            .map(|&port| PortForwarding { port, rx_packets: 6272, ..PortForwarding::default() })
            .collect()
    }

    fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    fn peers(&self) -> Vec<PeerView> {
        let peers = self.config.iter().flat_map(|config| &config.peers);
        peers
            .map(|peer| PeerView {
                name: peer.name.clone(),
                endpoint: peer.endpoint,
                found: None,
                encryption: "none".into(),
                public_key: None,
                last_end: None,
                warning: None,
                state: PeerState::Up,
                state_seconds: 192,
                configuration_agrees: Some(true),
                rtt_us: Some(80_100),
                rate_bps: 200_000_000,
                controller: "auto".into(),
                controller_phase: Some("cruise".into()),
                random_loss: 0.005,
                path_mtu: Some(1_500),
                path_mtu_state: Some("complete".into()),
                path_probes: 3,
                path_probes_lost: 0,
                black_holes: 0,
                flows: 12,
                datagrams_sent: 20_000,
                datagrams_lost: 104,
                fec: "auto".into(),
                parity: Parity { sent: 60, received: 40, useless: 31, pieces_restored: 9 },
                to_peer: Direction { lan_bytes: 190, wan_bytes: 100 },
                from_peer: Direction::default(),
            })
            .collect()
    }

    fn flows(&self, filter: &FlowFilter) -> Flows {
        let flow = FlowView {
            protocol: "tcp".into(),
            source: [10, 77, 1, 5].into(),
            source_port: 50_000,
            destination: [10, 77, 2, 9].into(),
            destination_port: 443,
            vlan: 0,
            verdict: "optimize".into(),
            peer: Some("site-b".into()),
            rule: Some(0),
            state: "established".into(),
            packets: 10,
            bytes: 9_000,
            idle_seconds: 2,
        };
        Flows { total: 3, matched: 2, flows: vec![flow; filter.limit.min(2)] }
    }

    fn rules(&self) -> Vec<RuleView> {
        vec![RuleView { index: 0, name: None, rule: "any: optimize".into(), flows: 3 }]
    }

    fn drops(&self) -> Vec<DropView> {
        let drop = |name, count| DropView {
            stage: "interceptor",
            name,
            unit: "frames",
            count,
            help: "Shorter than its headers.",
        };
        vec![drop("too_short", 2), drop("never_seen", 0)]
    }

    fn counters(&self) -> Vec<CounterView> {
        vec![CounterView {
            stage: "interceptor",
            name: "too_short",
            unit: "frames",
            kind: "drop",
            value: 2,
            help: "Shorter than its headers.",
        }]
    }

    fn cores(&self) -> Vec<CoreView> {
        vec![CoreView {
            core: 0,
            stages: vec!["port".into(), "edge".into()],
            turns_per_second: 1_000_000,
            busy_percent: 12.34,
            busy_ns: 56_789,
        }]
    }

    fn pipeline(&self) -> PipelineView {
        PipelineView {
            stages: vec![StageView { name: "port".into(), core: 0 }],
            links: vec![LinkView {
                from: "port".into(),
                to: "edge".into(),
                kind: "ring".into(),
                length: 3,
                capacity: 1024,
            }],
        }
    }

    fn clear(&mut self, statistics: Statistics) -> Result<(), CommandError> {
        self.log.push(format!("clear {statistics:?}"));
        Ok(())
    }

    fn reload(&mut self, file: Option<&Path>) -> Result<Reloaded, CommandError> {
        self.log.push(format!("reload {file:?}"));
        match file {
            None => {
                let changes = vec![Change::Rules, Change::Peer { name: "site-b".into() }];
                Ok(Reloaded { changes, warnings: ConfigWarnings::default() })
            }
            Some(file) => {
                let machine =
                    Machine { cores: vec![0], memory: Size(8 << 30), hugepages_free: Size(0) };
                let (_, warnings) = Config::load(file, &machine)?;
                Ok(Reloaded { changes: Vec::new(), warnings })
            }
        }
    }
}
