//! Counters of the edge stage, as a whole and per peer.

crate::counters! {
    /// Counters of the edge stage.
    pub enum EdgeCounter, "edge" {
        FlowsFromHosts: Info, "flows_from_hosts", "flows", "Connections that hosts of this LAN opened and that were taken.";
        FlowsFromPeers: Info, "flows_from_peers", "flows", "Connections that peers asked this TPO to open.";
        FlowsEnded: Info, "flows_ended", "flows", "Connections that are over and forgotten.";
        FlowsReset: Info, "flows_reset", "flows", "Of these, ended by a reset from either host or a TPO.";
        FlowsRefused: Info, "flows_refused", "flows", "Of these, refused, unreachable or unanswered by the far host.";
        Flows: Info, "flows", "flows", "Connections now.";
        BytesFromHosts: Info, "bytes_from_hosts", "bytes", "Bytes of streams accepted from hosts of this LAN.";
        BytesFromPeers: Info, "bytes_from_peers", "bytes", "Bytes of streams that peers delivered.";
        BytesCopiedOut: Info, "bytes_copied_out", "bytes", "Of these, copied out of buffers that slow hosts would have kept from the pool.";
        CreditsReturned: Info, "credits_returned", "messages", "Times that a flow gave credit back that it had no use for.";
        PacketsIn: In, "packets_in", "packets", "Packets of hosts for packet mode, and packets that peers sent in it.";
        PacketsFromHosts: Out, "packets_from_hosts", "packets", "Packets taken in packet mode.";
        PacketsFromPeers: Out, "packets_from_peers", "packets", "Packets delivered in packet mode.";
        SegmentsIn: In, "segments_in", "frames", "TCP segments of hosts, of split flows.";
        SegmentsTaken: Out, "segments_taken", "frames", "Segments that a connection or TIME-WAIT took note of.";
        SegmentsDuplicate: Drop, "segments_duplicate", "frames", "Segments with nothing new in them.";
        SegmentsOutOfWindow: Drop, "segments_out_of_window", "frames", "Segments outside the window.";
        SegmentsNoRoom: Drop, "segments_no_room", "frames", "Segments behind a gap for which there was no room.";
        SegmentsDiscarded: Info, "segments_discarded", "frames", "Segments behind a gap that were taken and then freed, because all connections together held too many: their hosts send them again.";
        SegmentsTimestamp: Drop, "segments_timestamp", "frames", "Segments with an old timestamp, or without one where both ends send them.";
        SegmentsUnacceptableAck: Drop, "segments_unacceptable_ack", "frames", "Segments that acknowledge what was never sent.";
        SegmentsChallenged: Drop, "segments_challenged", "frames", "Segments that might be forged, answered with a challenge ACK.";
        SegmentsUnexpected: Drop, "segments_unexpected", "frames", "Segments without a meaning in the state of their connection.";
        SegmentsMalformed: Drop, "segments_malformed", "frames", "Segments with an impossible header or option.";
        SegmentsPeerBehind: Drop, "segments_peer_behind", "frames", "Segments with data for a peer that has all the places of the packet driver that it may have.";
        SegmentsStray: Drop, "segments_stray", "frames", "Segments of a flow that has just ended, or a new flow for which there is no place.";
        FlowsOverload: Info, "flows_overload", "flows", "Connections of hosts left to the fallback because a table or the memory is full.";
        FlowUnknown: Drop, "flow_unknown", "messages", "Messages of flows that are over or were never opened.";
        ProtocolErrors: Drop, "protocol_errors", "messages", "Messages that break the protocol; their flow is reset.";
        OpensRepeated: Drop, "opens_repeated", "messages", "Opens of a flow that exists or was reset before it came.";
        OpensNotAllowed: Drop, "opens_not_allowed", "messages", "Opens from or to networks that the peer does not speak for or that are not behind this TPO.";
        OpensMisnamed: Drop, "opens_misnamed", "messages", "Opens whose flow id does not carry the shard of their 5-tuple, which several edges need: the peer runs another version.";
        OpensTaken: Drop, "opens_taken", "messages", "Opens of a 5-tuple that is still in use.";
        OpensOverload: Drop, "opens_overload", "messages", "Opens refused because a table or the memory is full.";
        PacketsNotAllowed: Drop, "packets_not_allowed", "packets", "Packets from or to networks that the peer does not speak for or that are not behind this TPO.";
        PacketsMalformed: Drop, "packets_malformed", "packets", "Packets of peers that are no IP packets.";
        PacketsTooBig: Drop, "packets_too_big", "packets", "Packets larger than the LAN's MTU or a message.";
        PacketsBacklog: Drop, "packets_backlog", "packets", "Packets of hosts beyond their flow's share of the backlog.";
        PacketsPeerBehind: Drop, "packets_peer_behind", "packets", "Packets of hosts for a peer that has all the places of the packet driver that it may have.";
        PacketsSplitFlow: Drop, "packets_split_flow", "packets", "Packets of peers with the 5-tuple of a split connection, which they would corrupt.";
        PacketsNoFrame: Drop, "packets_no_frame", "packets", "Packets of peers for which the pool had no frame.";
        PacketsUnresolved: Drop, "packets_unresolved", "packets", "Packets of peers to hosts that nobody answers for.";
        PacketsMarked: Info, "packets_marked", "packets", "Packets of hosts marked as having met congestion (ECN-CE), because many wait.";
        FramesExhausted: Info, "frames_exhausted", "frames", "Frames to hosts that were not made because the pool was empty.";
        OutputFull: Drop, "output_full", "frames", "Frames dropped because the port does not keep up.";
        RestartResets: Info, "restart_resets", "flows", "Connections of before our restart that were reset at their host.";
    }
}

crate::counters! {
    /// What hosts of this LAN exchange with one peer, in both modes.
    pub enum LanCounter, "lan" {
        BytesToPeer: Info, "bytes_to_peer", "bytes", "IP bytes that hosts sent on the LAN for flows of the peer.";
        BytesFromPeer: Info, "bytes_from_peer", "bytes", "IP bytes that hosts were sent on the LAN for flows of the peer.";
    }
}
