//! The file's tables into a [`Config`], value by value.
//!
//! In: the text. Out: a configuration whose values each are of their type and range; what they
//! say together is judged by `check`. After an error the configuration holds stand-ins and is
//! only good for finding further errors.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use dataplane::data_mover::SEGMENT_SIZE_LIMIT;
use dataplane::data_mover::security::PublicKey;
use dataplane::data_mover::wire::{OVERHEAD_LEN, TAG_LEN};
use dataplane::packet_driver::CLASS_COUNT;
use toml::de::{DeTable, DeValue};

use super::error::Report;
use super::reader::{Section, Value};
use super::{
    Action, Compression, Config, CoreList, Cores, Encryption, Fallback, Fec, Lan, Limits, Mode,
    Offload, PEERS_MAX, Peer, PeerCompression, PeerRate, Port, PortRange, Protocol, RULES_MAX,
    Rate, Rule, Size, Wan, format_duration,
};
use crate::machine::Machine;

const UDP_PORT_DEFAULT: u16 = 4980;
const MTU_DEFAULT: u16 = 1500;
/// Smallest MTU of a link (RFC 791) and the longest that NICs commonly take.
const MTU_RANGE: (u16, u16) = (576, 9600);
/// What a datagram has around the bytes of buffers: headers of UDP and of our own at most, tag
/// included; and before them that of IP.
const DATAGRAM_OVERHEAD: u16 = 8 + 34;

const _: () = assert!(DATAGRAM_OVERHEAD as usize == 8 + OVERHEAD_LEN + TAG_LEN);
const IPV4_HEADER: u16 = 20;
const IPV6_HEADER: u16 = 40;
const RATE_MIN: Rate = Rate(64_000);
const RATE_MAX: Rate = Rate(400_000_000_000);
const RATE_MAX_DEFAULT: Rate = Rate(10_000_000_000);
const CLASS_DEFAULT: u8 = 1;
const CLASS_MAX: u8 = 3;
/// Longest time for which packets may be of use.
const PACKET_DEADLINE_MAX: Duration = Duration::from_secs(10);
const NAME_LENGTH_MAX: usize = 32;
const KEY_EXAMPLE: &str = "9zDW2SYZ9IuFfGXSG3GZC8lpNEpSXpdIN1tZ2nFLVGk=";
/// Highest ids a packet can carry.
const DSCP_MAX: u8 = 63;
const VLAN_MAX: u16 = 4094;

const _: () = assert!(CLASS_MAX as usize + 1 == CLASS_COUNT);

/// Reads the whole file. `None` only if it is not TOML.
pub(crate) fn read(text: &str, machine: &Machine, report: &mut Report<'_>) -> Option<Config> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message();
        // The parser's own words for `mode = inline` and `rate = 200mbit`.
        let unquoted = message.contains("invalid float") || message.contains("must be quoted");
        let message =
            if unquoted { "text, and a number with its unit, needs quotes" } else { message };
        report.syntax_error(offset, format!("not valid TOML: {}", message.replace('\n', "; ")));
    }
    let config = root(&mut Section::root(&table, report), machine);
    config.filter(|_| errors.is_empty())
}

fn root(section: &mut Section<'_, '_, '_>, machine: &Machine) -> Option<Config> {
    let name = section.required::<Name>("name", "site-a");
    let mode = section.required("mode", "inline");
    let control_socket = section.optional::<PathBuf>("control_socket");
    let lan = section.section("lan", |lan| {
        let port = port(lan, "net_af_xdp0,iface=lan0", "10.77.1.1/16")?;
        Some(Lan { port, networks: lan.required_list("networks", "10.77.1.0/24") })
    });
    let wan = section.section("wan", |wan| {
        let port = port(wan, "net_af_xdp1,iface=wan0", "10.77.1.2/16")?;
        Some(Wan { port, udp_port: wan.within("port", UDP_PORT_DEFAULT, 1..=u16::MAX) })
    });
    let peers = section.sections("peer", PEERS_MAX, peer);
    let peers: Vec<Peer> = peers.into_iter().flatten().collect();
    let rules = section.sections("rule", RULES_MAX, |section| rule(section, &peers));
    let mtu = wan.as_ref().and_then(Option::as_ref).map_or(MTU_DEFAULT, |wan| wan.port.mtu);
    let encrypts = peers.iter().any(|peer| peer.encryption == Encryption::On);
    let key_file = if encrypts {
        let reason = ": our private key, which `tpo genkey FILE` makes";
        section.required_because::<PathBuf>("key_file", "/etc/tpo/tpo.key", reason)
    } else {
        section.optional("key_file")
    };
    let overhead = datagram_overhead(&peers);
    let of_all = Limits { peers: peers_for(peers.len()), ..limits_for(mtu, overhead) };
    let limits = section.optional_section("limits", |section| limits(section, of_all));
    let default_core = machine.cores.first().copied().unwrap_or(0);
    let cores = section.optional_section("cores", |section| cores(section, default_core));
    section.report_unknown();
    let Name(name) = name?;
    Some(Config {
        control_socket: control_socket
            .unwrap_or_else(|| PathBuf::from(format!("/run/tpo/{name}.sock"))),
        name,
        key_file,
        mode: mode?,
        lan: lan??,
        wan: wan??,
        rules: rules.into_iter().flatten().collect(),
        peers,
        limits: limits.unwrap_or(of_all),
        cores: cores.unwrap_or(Cores::all_on(default_core)),
    })
}

fn port(
    section: &mut Section<'_, '_, '_>,
    device: &'static str,
    address: &'static str,
) -> Option<Port> {
    let device = section.required("device", device);
    let addresses = section.required_list("addresses", address);
    let gateways = section.list::<IpAddr>("gateways");
    let mtu = section.within("mtu", MTU_DEFAULT, MTU_RANGE.0..=MTU_RANGE.1);
    let offload = section.or("offload", Offload::Auto);
    Some(Port { device: device?, addresses, gateways, mtu, offload })
}

fn check_rate(section: &mut Section<'_, '_, '_>, key: &str, rate: Rate) {
    if !(RATE_MIN..=RATE_MAX).contains(&rate) {
        let path = section.path(key);
        let message = format!("{rate} is out of range; write {RATE_MIN} to {RATE_MAX}");
        section.report.error_at(&path, message);
    }
}

fn peer(section: &mut Section<'_, '_, '_>) -> Option<Peer> {
    let name = section.required::<Name>("name", "site-b");
    let endpoint = section.required::<SocketAddr>("endpoint", "10.77.2.2:4980");
    let networks = section.required_list("networks", "10.77.2.0/24");
    let rate = section.or("rate", PeerRate::Auto);
    if let PeerRate::Fixed(rate) = rate {
        check_rate(section, "rate", rate);
    }
    let rate_max = section.or("rate_max", RATE_MAX_DEFAULT);
    check_rate(section, "rate_max", rate_max);
    let rate_hint = section.optional::<Rate>("rate_hint");
    if let Some(rate_hint) = rate_hint {
        check_rate(section, "rate_hint", rate_hint);
    }
    // What cannot be read asks for nothing else.
    let unsaid = if section.has("encryption") { Encryption::None } else { Encryption::On };
    let encryption = section.or("encryption", unsaid);
    let public_key = if encryption == Encryption::On {
        let reason = ": what `tpo pubkey` prints there; only on a trusted network, and if both \
                      ends say so, write encryption = \"none\" instead";
        section.required_because::<PublicKey>("public_key", KEY_EXAMPLE, reason)
    } else {
        section.optional("public_key")
    };
    let psk_file = section.optional::<PathBuf>("psk_file");
    let default = match encryption {
        // Or what is to be secret would leave in the clear.
        Encryption::On => Fallback::Refuse,
        Encryption::None => Fallback::Pass,
    };
    let fallback = section.or("fallback", default);
    let fec = section.or("fec", Fec::Auto);
    let compression = section.or("compression", PeerCompression::Auto);
    let seconds = Duration::from_secs;
    let dead_after = section.within("dead_after", seconds(10), seconds(1)..=seconds(3600));
    let keepalive =
        section.within("keepalive", seconds(1), Duration::from_millis(100)..=seconds(600));
    Some(Peer {
        name: name?.0,
        endpoint: endpoint?,
        networks,
        rate,
        rate_max,
        rate_hint,
        encryption,
        public_key,
        psk_file,
        fec,
        compression,
        fallback,
        dead_after,
        keepalive,
    })
}

fn rule(section: &mut Section<'_, '_, '_>, peers: &[Peer]) -> Option<Rule> {
    let name = section.optional::<Name>("name").map(|Name(name)| name);
    let protocol = section.or("protocol", Protocol::Any);
    let source = section.list("source");
    let destination = section.list("destination");
    let source_ports = section.list("source_ports");
    let destination_ports = section.list("destination_ports");
    let dscp = section.list::<Limited<u8, { DSCP_MAX as u16 }>>("dscp");
    let vlan = section.list::<Limited<u16, VLAN_MAX>>("vlan");
    let action = section.required::<Action>("action", "optimize");
    let peer_name = section.optional::<Name>("peer");
    let peer = peer_name.as_ref().and_then(|Name(wanted)| {
        let index = peers.iter().position(|peer| peer.name == *wanted);
        if index.is_none() {
            let path = section.path("peer");
            let mut known: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
            known.dedup();
            let advice = if known.is_empty() {
                "add a [[peer]] of that name".to_owned()
            } else {
                format!("the file has {}", known.join(", "))
            };
            section.report.error_at(&path, format!("no peer is called \"{wanted}\"; {advice}"));
        }
        index
    });
    Some(Rule {
        name,
        protocol,
        source,
        destination,
        source_ports,
        destination_ports,
        dscp: dscp.into_iter().map(|Limited(value)| value).collect(),
        vlan: vlan.into_iter().map(|Limited(value)| value).collect(),
        action: action?,
        peer,
        class: section.within("class", CLASS_DEFAULT, 0..=CLASS_MAX),
        compression: section.or("compression", Compression::Auto),
    })
}

/// What a datagram to any of these peers has around the bytes of buffers, at most.
pub(crate) fn datagram_overhead(peers: &[Peer]) -> u16 {
    let ipv6 = peers.iter().any(|peer| peer.endpoint.is_ipv6());
    DATAGRAM_OVERHEAD + if ipv6 { IPV6_HEADER } else { IPV4_HEADER }
}

/// The default limits on a link of this MTU: all of it is used where the path takes it too.
fn limits_for(wan_mtu: u16, overhead: u16) -> Limits {
    let fits = wan_mtu.saturating_sub(overhead).min(SEGMENT_SIZE_LIMIT);
    Limits { segment_size_max: fits, ..Limits::default() }
}

/// A time for each class.
fn packet_deadlines(
    section: &mut Section<'_, '_, '_>,
    default: [Duration; CLASS_COUNT],
) -> [Duration; CLASS_COUNT] {
    const KEY: &str = "packet_deadlines";
    let list = section.list::<Duration>(KEY);
    if !section.has(KEY) {
        return default;
    }
    let longest = list.iter().max().copied().unwrap_or_default();
    match list.try_into() {
        Ok(deadlines) if longest <= PACKET_DEADLINE_MAX => deadlines,
        _ => {
            let path = section.path(KEY);
            let most = format_duration(PACKET_DEADLINE_MAX);
            let message = format!("write {CLASS_COUNT} times up to {most}, one for each class");
            section.report.error_at(&path, message);
            default
        }
    }
}

/// Places for peers, at most.
const PLACES_MAX: u16 = 256;
const _: () = assert!(PLACES_MAX as usize == PEERS_MAX, "each peer of a file can have a place");

/// Places for so many peers by default: for a few more than most have, or just for those.
fn peers_for(peers: usize) -> u16 {
    Limits::default().peers.max(u16::try_from(peers).unwrap_or(u16::MAX))
}

fn limits(section: &mut Section<'_, '_, '_>, default: Limits) -> Limits {
    let (micros, millis, seconds) =
        (Duration::from_micros, Duration::from_millis, Duration::from_secs);
    Limits {
        flows: section.within("flows", default.flows, 64..=1 << 24),
        connections: section.within("connections", default.connections, 16..=1 << 20),
        half_open: section.within("half_open", default.half_open, 16..=1 << 20),
        neighbours: section.within("neighbours", default.neighbours, 16..=1 << 20),
        peers: section.within("peers", default.peers, 1..=PLACES_MAX),
        frames: section.within("frames", default.frames, 4096..=1 << 24),
        buffer_memory: section.within(
            "buffer_memory",
            default.buffer_memory,
            Size(4 << 20)..=Size(1 << 40),
        ),
        buffer_size_max: section.within(
            "buffer_size_max",
            default.buffer_size_max,
            Size(4 << 10)..=Size(64 << 10),
        ),
        flush_deadline: section.within(
            "flush_deadline",
            default.flush_deadline,
            micros(10)..=millis(10),
        ),
        segment_size_max: section.within(
            "segment_size_max",
            default.segment_size_max,
            256..=SEGMENT_SIZE_LIMIT,
        ),
        backlog: section.within("backlog", default.backlog, millis(1)..=seconds(1)),
        packet_deadlines: packet_deadlines(section, default.packet_deadlines),
        fin_timeout: section.within("fin_timeout", default.fin_timeout, seconds(1)..=seconds(600)),
        stop_timeout: section.within(
            "stop_timeout",
            default.stop_timeout,
            Duration::ZERO..=seconds(300),
        ),
    }
}

/// A stage that is not named runs where `port` runs.
fn cores(section: &mut Section<'_, '_, '_>, default: usize) -> Cores {
    let port = section.or("port", default);
    Cores {
        port,
        edge: section.or("edge", CoreList::one(port)),
        aggregate: section.or("aggregate", port),
        compress: section.or("compress", CoreList::one(port)),
        transmit: section.or("transmit", port),
        decompress: section.or("decompress", CoreList::one(port)),
    }
}

/// A name of an appliance, a peer or a rule.
struct Name(String);

impl Value for Name {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let name = String::read(value)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain)
            && name.len() <= NAME_LENGTH_MAX
        {
            return Ok(Name(name));
        }
        Err(format!(
            "\"{}\" is not a name; write 1 to {NAME_LENGTH_MAX} letters, digits, '-', '_' or '.', \
             the first a letter or digit",
            name.escape_debug()
        ))
    }
}

impl Value for PublicKey {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        crate::keys::decode(&String::read(value)?).map(|key| PublicKey(*key))
    }
}

/// A number that a field of a packet can hold.
struct Limited<T, const MAX: u16>(T);

impl<T: Value + Copy + Into<u16>, const MAX: u16> Value for Limited<T, MAX> {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let number = T::read(value)?;
        let wide: u16 = number.into();
        if wide <= MAX {
            Ok(Limited(number))
        } else {
            Err(format!("{wide} is out of range; write 0 to {MAX}"))
        }
    }
}

impl Value for Protocol {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        if value.is_integer() {
            return u8::read(value).map(Protocol::Number);
        }
        let name = String::read(value)?;
        Protocol::named(&name).ok_or_else(|| {
            let known: Vec<&str> = Protocol::NAMED.iter().map(|(name, _)| *name).collect();
            format!("\"{name}\" is not a protocol; write a number or one of {}", known.join(", "))
        })
    }
}

impl Value for PortRange {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        if value.is_integer() {
            let port = u16::read(value)?;
            return Ok(PortRange { first: port, last: port });
        }
        let text = String::read(value)?;
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let port = |digits: &str| {
            let digits = digits.trim();
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(PortRange { first, last }),
            (Some(first), Some(last)) => {
                Err(format!("\"{text}\" runs backwards; write \"{last}-{first}\""))
            }
            _ => {
                Err(format!("\"{text}\" is not a port; write one, or a range as in \"8000-8100\""))
            }
        }
    }
}

/// Enums that the file writes as words.
macro_rules! words {
    ($($type:ident, $what:literal);+) => {
        $(
            impl Value for $type {
                fn read(value: &DeValue<'_>) -> Result<Self, String> {
                    let word = String::read(value)?;
                    word_of($type::NAMES, $what, &word)
                }
            }
        )+
    };
}

words!(
    Mode, "a mode";
    Encryption, "a kind of encryption";
    Fallback, "a fallback";
    Fec, "a kind of forward error correction";
    Offload, "a use of offloads";
    Action, "an action";
    Compression, "a compression of a rule";
    PeerCompression, "a compression of a peer"
);

fn word_of<T: Copy>(names: &[(&str, T)], what: &str, word: &str) -> Result<T, String> {
    if let Some((_, value)) = names.iter().find(|(name, _)| *name == word) {
        return Ok(*value);
    }
    let quoted: Vec<String> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let choice = match &quoted[..] {
        [only] => format!("the only one yet is {only}"),
        several => format!("write {}", several.join(" or ")),
    };
    Err(format!("\"{}\" is not {what}; {choice}", word.escape_debug()))
}
