//! Counters of the interceptor. Frames in = frames out + named drops.

use crate::frame::Malformed;

crate::counters! {
    /// Counters of the interceptor.
    pub enum InterceptorCounter, "interceptor" {
        LanIn: In, "lan_in", "frames", "Frames from the LAN side.";
        WanIn: In, "wan_in", "frames", "Frames from the WAN side.";

        LanToWan: Out, "lan_to_wan", "frames", "Frames bridged from the LAN to the WAN side.";
        WanToLan: Out, "wan_to_lan", "frames", "Frames bridged from the WAN to the LAN side.";
        Edge: Out, "edge", "frames", "Frames of split flows, and ICMP errors about them, given to the edge.";
        NewFlow: Out, "new_flow", "frames", "First frames of flows to be split, given to the edge.";
        Fragment: Out, "fragment", "frames", "Fragments of split flows, given to reassembly; the whole packet comes in again.";
        Datagram: Out, "datagram", "frames", "Frames given to packet mode.";
        ToMover: Out, "to_mover", "frames", "Frames to our UDP port, given to the data mover.";
        Answered: Out, "answered", "frames", "ARP, neighbour discovery and echo requests to our own addresses, answered.";
        Consumed: Out, "consumed", "frames", "Answers to our own requests, and announcements about our own addresses.";

        NoRule: Info, "no_rule", "frames", "Passed: no rule matched.";
        RulePass: Info, "rule_pass", "frames", "Passed: the rule says so.";
        NoPeer: Info, "no_peer", "frames", "Passed: the rule names no peer, and none has the destination in its networks.";
        NotIp: Info, "not_ip", "frames", "Passed: neither IPv4 nor IPv6.";
        NotUnicast: Info, "not_unicast", "frames", "Passed: to or from a group, a broadcast or a link-local address.";
        MalformedPassed: Info, "malformed_passed", "frames", "Passed: malformed headers, left to the hosts.";
        SynNotSeen: Info, "syn_not_seen", "frames", "Passed: TCP whose SYN was not seen.";
        TcpAuthentication: Info, "tcp_authentication", "frames", "Passed: TCP with an MD5 or AO option.";
        Encapsulated: Info, "encapsulated", "frames", "Passed: ESP or AH.";
        PeerDown: Info, "peer_down", "frames", "Passed: the peer is down and its fallback is to pass.";
        Overloaded: Info, "overloaded", "frames", "Passed: a table is full and the peer's fallback is to pass.";
        TcpFragment: Info, "tcp_fragment", "frames", "Passed: a fragment of TCP of no split flow.";

        MalformedLink: Info, "malformed_link", "frames", "Malformed: Ethernet header or tags cut short.";
        MalformedIp: Info, "malformed_ip", "frames", "Malformed: IP version, header or length.";
        MalformedExtension: Info, "malformed_extension", "frames", "Malformed: IPv6 extension headers.";
        MalformedAddress: Info, "malformed_address", "frames", "Malformed: an IPv4-mapped IPv6 address.";
        MalformedFragment: Info, "malformed_fragment", "frames", "Malformed: a fragment out of range.";
        MalformedTransport: Info, "malformed_transport", "frames", "Malformed: TCP, UDP or ICMP header.";

        RefusedPeerDown: Drop, "refused_peer_down", "frames", "New flow refused: the peer is down and its fallback is to refuse.";
        RefusedOverloaded: Drop, "refused_overloaded", "frames", "New flow refused: a table is full and the peer's fallback is to refuse.";

        RuleDrop: Drop, "rule_drop", "frames", "Dropped: the rule says so.";
        Runt: Drop, "runt", "frames", "Dropped: shorter than an Ethernet header.";
        Looped: Drop, "looped", "frames", "Dropped: from one of our own stations, so the two sides are connected elsewhere.";
        SplitFlowOnWan: Drop, "split_flow_on_wan", "frames", "Dropped: from the WAN side, of a flow that is split here.";
        EarlyFragment: Drop, "early_fragment", "frames", "Dropped: a later fragment of TCP that came before the first.";
        HeldAfterRestart: Drop, "held_after_restart", "frames", "Dropped: TCP whose SYN was not seen, until the peer has listed the flows it held.";
        PeerDownDatagram: Drop, "peer_down_datagram", "frames", "Dropped: a datagram for a peer that is down and whose fallback is to refuse.";
        BadChecksum: Drop, "bad_checksum", "frames", "Dropped: to our own address with a wrong checksum.";
        OwnMalformed: Drop, "own_malformed", "frames", "Dropped: to our own address, malformed.";
        OwnFragment: Drop, "own_fragment", "frames", "Dropped: a fragment to our own address.";
        OwnUnknown: Drop, "own_unknown", "frames", "Dropped: to our own address, of a kind that nothing here takes.";
        NotForUs: Drop, "not_for_us", "frames", "Dropped: to our own station, for an address that is not ours.";
        NoHeadroom: Drop, "no_headroom", "frames", "Dropped: an answer did not fit into the frame.";

        Flows: Info, "flows", "flows", "Entries of the flow table in use.";
        FlowsInserted: Info, "flows_inserted", "flows", "Entries made.";
        FlowsExpired: Info, "flows_expired", "flows", "Entries removed because nothing was seen of the flow.";
        FlowInsertFailed: Info, "flow_insert_failed", "flows", "Entries that found no room.";
        Neighbours: Info, "neighbours", "stations", "Entries of the neighbour table in use.";
        NeighboursEvicted: Info, "neighbours_evicted", "stations", "Entries replaced because the table was full.";
        NeighboursExpired: Info, "neighbours_expired", "stations", "Entries removed because nothing was seen of the station.";
        NeighbourRequests: Info, "neighbour_requests", "frames", "ARP requests and neighbour solicitations sent.";
        NeighbourFailures: Info, "neighbour_failures", "stations", "Addresses that did not answer.";
        NeighbourBusy: Info, "neighbour_busy", "requests", "Resolutions not begun because too many were under way.";
        AddressConflict: Info, "address_conflict", "frames", "Another station claims one of our own addresses.";
    }
}

/// The counter of what is wrong with a frame.
pub(crate) const fn of_malformed(reason: Malformed) -> InterceptorCounter {
    use InterceptorCounter as Counter;
    match reason {
        Malformed::Ethernet => Counter::MalformedLink,
        Malformed::IpVersion | Malformed::IpHeader | Malformed::IpLength => Counter::MalformedIp,
        Malformed::Ipv6Extension | Malformed::Ipv6ExtensionCount => Counter::MalformedExtension,
        Malformed::MappedAddress => Counter::MalformedAddress,
        Malformed::FragmentRange => Counter::MalformedFragment,
        Malformed::TcpHeader | Malformed::UdpHeader | Malformed::IcmpHeader => {
            Counter::MalformedTransport
        }
    }
}
