//! Whole files: what is read, and every error of a broken one with its line.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::machine::Machine;

mod odd;
mod reload;

const COMPLETE: &str = include_str!("tests/complete.toml");
const MINIMAL: &str = include_str!("tests/minimal.toml");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");

fn machine() -> Machine {
    Machine { cores: vec![0, 1, 2, 3], memory: Size(8 << 30), hugepages_free: Size(0) }
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(Path::new("site.toml"), text, &machine()).map(|(config, _)| config)
}

/// The warnings about a file without errors, one per line: `line: message`.
fn warnings(text: &str) -> String {
    let (_, found) = Config::parse(Path::new("site.toml"), text, &machine()).unwrap();
    let lines = found.warnings.iter();
    lines.map(|odd| format!("{}: {}\n", odd.line.unwrap_or(0), odd.message)).collect()
}

/// The errors of a file, one per line: `line: message`.
fn errors(text: &str) -> String {
    let errors = parse(text).expect_err("the file has errors").errors;
    let lines =
        errors.iter().map(|error| format!("{}: {}\n", error.line.unwrap_or(0), error.message));
    lines.collect()
}

/// The complete file with one line replaced by others.
fn with(line: &str, replacement: &str) -> String {
    assert_eq!(COMPLETE.matches(line).count(), 1, "{line} must be in the complete file once");
    COMPLETE.replacen(line, replacement, 1)
}

fn assert_error(line: &str, replacement: &str, expected: &str) {
    let found = errors(&with(line, replacement));
    assert!(found.contains(expected), "{replacement}\n  gave: {found}  expected: {expected}");
}

#[test]
fn every_value_of_a_complete_file_arrives() {
    let config = parse(COMPLETE).unwrap();
    assert_eq!(config.name, "site-a");
    assert_eq!(config.control_socket, Path::new("/run/tpo/a.sock"));
    assert_eq!(config.lan.port.device.to_string(), "net_af_xdp0,iface=lan0");
    assert_eq!(config.lan.port.mtu, 1500);
    assert_eq!(config.wan.udp_port, 4981);
    assert_eq!(config.wan.port.gateways, [IpAddr::from([10, 77, 1, 253])]);
    let peer = &config.peers[1];
    assert_eq!(peer.name, "site-c");
    assert_eq!(peer.endpoint, "[fd77::3:2]:4980".parse().unwrap());
    assert_eq!(peer.rate, PeerRate::Fixed(Rate(1_500_000_000)));
    assert_eq!(peer.fallback, Fallback::Refuse);
    assert_eq!(peer.dead_after, Duration::from_secs(20));
    assert_eq!(peer.keepalive, Duration::from_millis(500));
    let rule = &config.rules[0];
    assert_eq!(rule.name.as_deref(), Some("replication"));
    assert_eq!(rule.protocol, Protocol::TCP);
    assert_eq!(rule.source, [Prefix::parse("10.77.1.0/24").unwrap()]);
    assert_eq!(rule.source_ports, [PortRange { first: 1024, last: 65535 }]);
    assert_eq!(
        rule.destination_ports,
        [PortRange { first: 80, last: 80 }, PortRange { first: 8000, last: 8100 }]
    );
    assert_eq!((&rule.dscp[..], &rule.vlan[..]), (&[10, 46][..], &[0, 7][..]));
    assert_eq!((rule.action, rule.peer, rule.class), (Action::Optimize, Some(0), 2));
    assert_eq!(rule.compression, Compression::None);
    assert_eq!(config.rules[1].protocol, Protocol::Number(47));
    assert_eq!(config.rules[1].peer, None);
    let limits = &config.limits;
    assert_eq!((limits.flows, limits.connections, limits.half_open), (20_000, 5_000, 500));
    assert_eq!((limits.neighbours, limits.peers, limits.frames), (512, 5, 32_768));
    assert_eq!((limits.buffer_memory, limits.buffer_size_max), (Size(128 << 20), Size(32 << 10)));
    assert_eq!(limits.segment_size_max, 1300);
    assert_eq!(limits.flush_deadline, Duration::from_micros(400));
    assert_eq!(limits.backlog, Duration::from_millis(6));
    assert_eq!(limits.packet_deadlines, [50, 200, 1000, 0].map(Duration::from_millis));
    assert_eq!(limits.fin_timeout, Duration::from_secs(20));
    assert_eq!(limits.stop_timeout, Duration::from_secs(4));
    assert_eq!(config.cores, Cores { compress: CoreList::one(2), transmit: 3, ..Cores::all_on(1) });
}

#[test]
fn compression_and_decompression_may_be_on_several_cores() {
    let text = with("compress = 2", "compress = [2, 0]\ndecompress = [3, 1]");
    let config = parse(&text).unwrap();
    assert_eq!(config.cores.compress.cores(), [2, 0]);
    assert_eq!(config.cores.decompress.cores(), [3, 1]);
    assert_eq!((config.cores.port, config.cores.transmit), (1, 3));
    // As it is written out, it reads back as the same.
    assert_eq!(parse(&config.to_string()).unwrap(), config);
    let alone = parse(&with("compress = 2", "compress = [2]")).unwrap();
    assert_eq!(alone.cores, parse(COMPLETE).unwrap().cores);
}

#[test]
fn the_edge_may_be_on_several_cores() {
    let config = parse(&with("compress = 2", "edge = [2, 0, 3]")).unwrap();
    assert_eq!(config.cores.edge.cores(), [2, 0, 3]);
    assert_eq!((config.cores.port, config.cores.aggregate), (1, 1));
    assert_eq!(parse(&config.to_string()).unwrap(), config);
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.control_socket, Path::new("/run/tpo/small.sock"));
    assert_eq!((config.lan.port.mtu, config.wan.udp_port), (1500, 4980));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.cores, Cores::all_on(0));
    let peer = &config.peers[0];
    assert_eq!(peer.fallback, Fallback::Pass);
    assert_eq!(
        (peer.dead_after, peer.keepalive),
        (Duration::from_secs(10), Duration::from_secs(1))
    );
    let rule = &config.rules[0];
    assert_eq!(
        (rule.protocol, rule.class, rule.compression),
        (Protocol::Any, 1, Compression::Auto)
    );
    assert!(rule.source.is_empty() && rule.destination_ports.is_empty());
}

#[test]
fn the_documented_example_is_valid_and_its_defaults_are_true() {
    let (_, rest) = OPERATIONS.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let config = parse(example).unwrap();
    assert_eq!(config.limits, Limits::default(), "docs/operations.md shows the defaults");
}

#[test]
fn a_rendered_configuration_reads_back_the_same() {
    for text in [COMPLETE, MINIMAL] {
        let config = parse(text).unwrap();
        let rendered = config.to_string();
        assert_eq!(parse(&rendered), Ok(config), "{rendered}");
    }
}

/// Shows the difference line by line.
fn assert_lines(found: &str, expected: &str) {
    assert_eq!(found.lines().collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>());
}

#[test]
fn all_errors_of_a_broken_file_are_listed_with_their_lines() {
    assert_lines(&errors(include_str!("tests/broken.toml")), include_str!("tests/broken.errors"));
}

#[test]
fn all_errors_of_syntax_are_listed_and_nothing_that_follows_from_them() {
    assert_lines(&errors(include_str!("tests/syntax.toml")), include_str!("tests/syntax.errors"));
}

#[test]
fn a_rule_in_one_line() {
    let config = parse(COMPLETE).unwrap();
    let lines: Vec<String> = config.rules.iter().map(|rule| rule.summary(&config.peers)).collect();
    assert_eq!(
        lines,
        [
            "tcp 10.77.1.0/24 port 1024-65535 > 10.77.2.0/24 port 80,8000-8100 dscp 10,46 \
             vlan 0,7: optimize to site-b class 2 compression none",
            "47 any > any: tunnel to the destination's peer class 1 compression auto",
            "any any > any: pass",
        ]
    );
}

#[test]
fn an_empty_file_lacks_what_must_be_there() {
    let found = errors("");
    for key in ["name", "mode", "lan", "wan"] {
        assert!(found.contains(&format!("1: {key}: missing")), "{found}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let error = Config::load(Path::new("/nonexistent/a.toml"), &machine()).unwrap_err();
    assert_eq!(error.errors.len(), 1);
    assert!(error.to_string().starts_with("/nonexistent/a.toml: cannot be read: "), "{error}");
}

#[test]
fn encryption_is_on_unless_the_file_says_otherwise() {
    let found = errors(&MINIMAL.replace("encryption = \"none\"\n", ""));
    assert!(
        found.contains("peer[0].public_key: missing") && found.contains("tpo pubkey"),
        "{found}"
    );
    assert!(found.contains("key_file: missing") && found.contains("tpo genkey"), "{found}");
    let found = errors(&MINIMAL.replace("\"none\"", "\"aes\""));
    assert!(found.contains("write \"on\" or \"none\""), "{found}");
    let key = "public_key = \"9zDW2SYZ9IuFfGXSG3GZC8lpNEpSXpdIN1tZ2nFLVGk=\"";
    let found = errors(&MINIMAL.replace("encryption = ", &format!("{key}\nencryption = ")));
    assert!(found.contains("means nothing with encryption = \"none\""), "{found}");
    let found = errors(&MINIMAL.replace("encryption = \"none\"", "public_key = \"9zDW2SYZ\""));
    assert!(found.contains("a key is 44 letters of base64"), "{found}");

    let with_keys =
        format!("key_file = \"/etc/tpo/a.key\"\n{}", MINIMAL.replace("encryption = \"none\"", key));
    let config = parse(&with_keys).unwrap();
    let peer = &config.peers[0];
    assert_eq!((peer.encryption, peer.fallback), (Encryption::On, Fallback::Refuse));
    let clear = parse(MINIMAL).unwrap();
    assert_eq!(clear.peers[0].fallback, Fallback::Pass);
    assert_ne!(config.digest(peer), clear.digest(&clear.peers[0]));
    let twice = format!(
        "{with_keys}\n[[peer]]\nname = \"site-c\"\nendpoint = \"10.77.3.2:4980\"\n\
         networks = [\"10.77.3.0/24\"]\nrate = \"1mbit\"\n{key}\n"
    );
    assert!(errors(&twice).contains("that of peer \"site-b\" already"));
}

#[test]
fn values_that_contradict_each_other() {
    let wan_device = "device = \"net_af_xdp1,iface=wan0\"";
    assert_error(
        wan_device,
        "device = \"net_af_xdp0,iface=wan0\"",
        "wan.device: net_af_xdp0 is lan.device already",
    );
    assert_error(
        wan_device,
        "device = \"net_tap1,iface=lan0\"",
        "interface lan0 is lan.device's already",
    );
    let endpoint = "endpoint = \"10.77.2.2:4980\"";
    assert_error(endpoint, "endpoint = \"10.77.1.2:4980\"", "10.77.1.2 is our own address");
    assert_error(endpoint, "endpoint = \"10.77.1.9:4980\"", "is in 10.77.1.0/24 of lan.networks");
    assert_error(endpoint, "endpoint = \"[fd77::3:2]:4980\"", "is the endpoint of line");
    assert_error(
        "gateways = [\"10.77.1.253\"]",
        "",
        "is not on-link and wan.gateways has none for IPv4",
    );
    assert_error(
        "gateways = [\"10.77.1.253\"]",
        "gateways = [\"10.78.1.253\"]",
        "is not on-link with any of wan.addresses",
    );
    assert_error(
        "gateways = [\"10.77.1.253\"]",
        "gateways = [\"10.77.1.2\"]",
        "is our own address",
    );
    assert_error(
        "addresses = [\"10.77.1.2/24\", \"fd77::1:2/64\"]",
        "addresses = [\"10.77.1.2/24\"]",
        "wan.addresses has no IPv6 address",
    );
    assert_error(
        "addresses = [\"10.77.1.2/24\", \"fd77::1:2/64\"]",
        "addresses = [\"10.77.1.1/24\", \"fd77::1:2/64\"]",
        "is in lan.addresses already",
    );
    let networks = "networks = [\"10.77.2.0/24\", \"fd77::2:0/112\"]";
    assert_error(
        networks,
        "networks = [\"10.77.3.128/25\"]",
        "10.77.3.0/24 overlaps 10.77.3.128/25 of peer \"site-b\"",
    );
    assert_error(
        networks,
        "networks = [\"10.77.1.0/25\"]",
        "overlaps 10.77.1.0/24 of lan.networks",
    );
    assert_error(
        networks,
        "networks = [\"10.77.2.0/24\", \"10.77.2.0/24\"]",
        "10.77.2.0/24 is there twice",
    );
    assert_error(
        networks,
        "networks = [\"fd77::/64\"]",
        "our own address fd77::1:1 is in fd77::/64",
    );
    assert_error("name = \"site-c\"", "name = \"site-b\"", "\"site-b\" is the peer of line");
    assert_error(
        "keepalive = \"500ms\"",
        "keepalive = \"8s\"",
        "dead_after (20s) must be at least 3 times keepalive (8s)",
    );
    assert_error("mtu = 1500 # lan", "mtu = 1000", "lan.mtu: 1000 is too little for IPv6");
}

#[test]
fn rules_that_cannot_work() {
    let peer = "peer = \"site-b\"";
    assert_error(
        peer,
        "peer = \"site-x\"",
        "no peer is called \"site-x\"; the file has site-b, site-c",
    );
    assert_error(
        "protocol = \"tcp\"",
        "protocol = \"any\"",
        "rule[0].source_ports: needs protocol = \"tcp\" or \"udp\"",
    );
    assert_error(
        "protocol = \"tcp\"",
        "protocol = \"tpc\"",
        "write a number or one of any, tcp, udp, icmp, icmpv6",
    );
    assert_error(
        "destination = [\"10.77.2.0/24\"]",
        "destination = [\"fd77::2:0/112\"]",
        "no packet can match",
    );
    assert_error(
        "dscp = [10, 46]",
        "dscp = [64]",
        "rule[0].dscp: 64 is out of range; write 0 to 63",
    );
    assert_error("vlan = [0, 7]", "vlan = [4095]", "4095 is out of range; write 0 to 4094");
    assert_error("\"8000-8100\"", "\"8100-8000\"", "runs backwards; write \"8000-8100\"");
    assert_error("\"8000-8100\"", "65536", "65536 is more than 65535");
    assert_error(
        "action = \"pass\"",
        "action = \"pass\"\nclass = 1",
        "rule[2].class: means nothing with action \"pass\"",
    );
    assert_error(
        "name = \"last\"",
        "name = \"replication\"",
        "\"replication\" is the rule of line",
    );
    let alone =
        MINIMAL.split("[[peer]]").next().unwrap().to_owned() + "[[rule]]\naction = \"tunnel\"\n";
    assert!(errors(&alone).contains("\"tunnel\" needs a peer and the file has none"));
}

#[test]
fn limits_that_do_not_fit_each_other_or_the_machine() {
    assert_error(
        "half_open = 500",
        "half_open = 5001",
        "half_open (5001) cannot be more than connections (5000)",
    );
    assert_error(
        "connections = 5_000",
        "connections = 30000",
        "connections (30000) cannot be more than flows (20000)",
    );
    assert_error(
        "segment_size_max = 1300",
        "segment_size_max = 1419",
        "does not fit wan.mtu (1500)",
    );
    assert_error(
        "buffer_memory = \"128MiB\"",
        "buffer_memory = \"9GiB\"",
        "and the machine has 8GiB; lower one",
    );
    assert_error(
        "buffer_size_max = \"32KiB\"",
        "buffer_size_max = \"1MiB\"",
        "1MiB is out of range; write 4KiB to 64KiB",
    );
    let deadlines = "packet_deadlines = [\"50ms\", \"200ms\", \"1s\", \"0ms\"]";
    for wrong in ["\"50ms\"", "\"1ms\", \"1ms\", \"1ms\", \"11s\"", ""] {
        assert_error(
            deadlines,
            &format!("packet_deadlines = [{wrong}]"),
            "limits.packet_deadlines: write 4 times up to 10s, one for each class",
        );
    }
    assert_error(
        "flush_deadline = \"400us\"",
        "flush_deadline = \"1s\"",
        "1s is out of range; write 10us to 10ms",
    );
    assert_error(
        "compress = 2",
        "compress = 4",
        "core 4 is not there for us; available: 0, 1, 2, 3",
    );
    assert_error(
        "compress = 2",
        "compres = 2",
        "cores.compres: unknown key; did you mean compress?",
    );
    for (list, expected) in [
        ("[2, 3, 2]", "cores.compress: names core 2 twice; a stage is on a core once"),
        ("[]", "cores.compress: names no core; write a number, or a list as in [2, 3]"),
        ("[0, 1, 2, 3, 4, 5, 6, 7, 8]", "cores.compress: 9 cores; at most 8 are possible"),
        ("[2, 4]", "core 4 is not there for us; available: 0, 1, 2, 3"),
        ("[2, \"3\"]", "cores.compress: must be a whole number, not a string"),
    ] {
        assert_error("compress = 2", &format!("compress = {list}"), expected);
    }
    assert_error("transmit = 3", "transmit = [2, 3]", "must be a whole number, not an array");
    assert_error("compress = 2", "sprint = 2", "unknown key; known here: port, edge, aggregate");
    let many = MINIMAL.split("[[peer]]").nth(1).unwrap();
    let peers: String = (0..40)
        .map(|n| {
            let peer = many.split("[[rule]]").next().unwrap();
            format!(
                "[[peer]]{}",
                peer.replace("site-b", &format!("p{n}"))
                    .replace("10.77.2.", &format!("10.78.{n}."))
            )
        })
        .collect();
    let text = format!(
        "{}{peers}[limits]\nbuffer_memory = \"32MiB\"\n",
        MINIMAL.split("[[peer]]").next().unwrap()
    );
    let text = text.replace("10.77.1.2/16", "10.77.1.2/8");
    assert!(
        errors(&text).contains(
            "must hold 16 buffers of buffer_size_max for each peer; write at least 40MiB"
        ),
        "{}",
        errors(&text)
    );
}

#[test]
fn a_smaller_link_gets_smaller_segments_by_default() {
    let config = parse(&MINIMAL.replace("[wan]", "[wan]\nmtu = 1280")).unwrap();
    assert_eq!(config.limits.segment_size_max, 1218);
}

#[test]
fn both_ends_of_a_pair_have_one_digest() {
    let near = parse(MINIMAL).unwrap();
    let swapped = MINIMAL
        .replace("10.77.1.0/24", "10.77.9.0/24")
        .replace("10.77.2.0/24", "10.77.1.0/24")
        .replace("10.77.9.0/24", "10.77.2.0/24")
        .replace("10.77.1.1/16", "10.77.2.1/16")
        .replace("10.77.1.2/16", "10.77.2.2/16")
        .replace("10.77.2.2:", "10.77.1.2:");
    let far = parse(&swapped).unwrap();
    assert_ne!(near.lan.networks, far.lan.networks);
    assert_eq!(near.digest(&near.peers[0]), far.digest(&far.peers[0]));
    let other = parse(&swapped.replace("10.77.1.0/24", "10.77.1.0/25")).unwrap();
    assert_ne!(near.digest(&near.peers[0]), other.digest(&other.peers[0]));
    let faster = parse(&swapped.replace("200mbit", "300mbit")).unwrap();
    assert_eq!(near.digest(&near.peers[0]), faster.digest(&faster.peers[0]));
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        /// A byte of a good file replaced: never a panic, and a refusal names lines of the file.
        #[test]
        fn a_damaged_file_is_read_or_refused(at in 0..COMPLETE.len(), byte in 0x20_u8..0x7f) {
            let mut bytes = COMPLETE.as_bytes().to_vec();
            bytes[at] = byte;
            let text = String::from_utf8(bytes).unwrap();
            if let Err(errors) = parse(&text) {
                prop_assert!(!errors.errors.is_empty());
                for error in errors.errors {
                    prop_assert!((1..=text.lines().count() + 1).contains(&error.line.unwrap()));
                }
            }
        }
    }
}

#[test]
fn each_port_may_do_without_offloads() {
    let config = parse(MINIMAL).unwrap();
    let both = |config: &Config| [config.lan.port.offload, config.wan.port.offload];
    assert_eq!(both(&config), [Offload::Auto; 2]);
    let config = parse(&MINIMAL.replace("[wan]", "[wan]\noffload = \"none\"")).unwrap();
    assert_eq!(both(&config), [Offload::Auto, Offload::None]);
    assert_eq!(parse(&config.to_string()).unwrap(), config);
    let found = errors(&MINIMAL.replace("[wan]", "[wan]\noffload = \"off\""));
    assert!(found.contains("wan.offload: \"off\" is not a use of offloads"), "{found}");
}

#[test]
fn parity_is_sent_unless_the_file_says_otherwise() {
    assert_eq!(parse(MINIMAL).unwrap().peers[0].fec, Fec::Auto);
    let with = |value| MINIMAL.replace("encryption =", &format!("fec = {value}\nencryption ="));
    let off = parse(&with("\"off\"")).unwrap();
    assert_eq!(off.peers[0].fec, Fec::Off);
    assert_eq!(parse(&off.to_string()).unwrap().peers[0].fec, Fec::Off);
    let found = errors(&with("\"on\""));
    assert!(found.contains("\"on\" is not a kind of forward error correction"), "{found}");
    assert!(found.contains("write \"auto\" or \"off\""), "{found}");
}

#[test]
fn a_rate_is_measured_unless_one_is_named() {
    let read = |line: &str| {
        let text = MINIMAL.replace("rate = \"200mbit\"", line);
        let config = parse(&text).unwrap();
        let peer = config.peers[0].clone();
        (peer.rate, peer.rate_max, peer.rate_hint)
    };
    let max = Rate(10_000_000_000);
    assert_eq!(read(""), (PeerRate::Auto, max, None));
    assert_eq!(read("rate = \"auto\""), (PeerRate::Auto, max, None));
    let hinted = read("rate_hint = \"1gbit\"\nrate_max = \"2gbit\"");
    assert_eq!(hinted, (PeerRate::Auto, Rate(2_000_000_000), Some(Rate(1_000_000_000))));
    assert_eq!(read("rate = \"5mbit\""), (PeerRate::Fixed(Rate(5_000_000)), max, None));
}

#[test]
fn a_fixed_rate_leaves_nothing_to_be_measured() {
    for (key, rate) in [("rate_max", "1gbit"), ("rate_hint", "100mbit")] {
        assert_error(
            "rate = \"200mbit\"",
            &format!("rate = \"200mbit\"\n{key} = \"{rate}\""),
            &format!("peer[0].{key}: means nothing with rate = \"200mbit\"; leave it out"),
        );
    }
    assert_error(
        "rate = \"200mbit\"",
        "rate_max = \"1gbit\"\nrate_hint = \"2gbit\"",
        "peer[0].rate_hint: rate_hint (2gbit) cannot be more than rate_max (1gbit); change one",
    );
}

#[test]
fn the_secret_of_a_pair_is_not_the_private_key() {
    assert_error(
        "psk_file = \"/etc/tpo/a-b.psk\"",
        "psk_file = \"/etc/tpo/a.key\"",
        "peer[0].psk_file: that is key_file, which must not leave this machine",
    );
}

#[test]
fn a_rule_says_whether_and_a_peer_how_data_are_compressed() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.peers[0].compression, PeerCompression::Auto);
    let with = |value| {
        let line = format!("compression = \"{value}\"\nencryption =");
        MINIMAL.replacen("encryption =", &line, 1)
    };
    for (value, compression) in [
        ("auto", PeerCompression::Auto),
        ("lz4", PeerCompression::Lz4),
        ("none", PeerCompression::None),
    ] {
        let config = parse(&with(value)).unwrap();
        assert_eq!(config.peers[0].compression, compression);
        assert_eq!(parse(&config.to_string()).unwrap().peers[0].compression, compression);
    }
    let found = errors(&with("zstd"));
    assert!(found.contains("write \"auto\" or \"lz4\" or \"none\""), "{found}");
    let rule = |value| MINIMAL.replace("[[rule]]", &format!("[[rule]]\ncompression = \"{value}\""));
    assert_eq!(warnings(&rule("auto")), "");
    let found = warnings(&rule("lz4"));
    assert!(found.contains("rule[0].compression: taken as \"auto\""), "{found}");
    let found = errors(&rule("zstd"));
    assert!(found.contains("\"zstd\" is not a compression of a rule"), "{found}");
}
