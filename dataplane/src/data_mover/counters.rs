//! What the data mover counts, per peer.

crate::counters! {
    /// Counters of the data mover of one peer.
    pub enum MoverCounter, "data_mover" {
        DatagramsIn: In, "datagrams_in", "datagrams", "Datagrams given to the session.";
        DatagramsTaken: Out, "datagrams_taken", "datagrams", "Datagrams received, processed whole.";
        DropMalformed: Drop, "drop_malformed", "datagrams", "A header, length or value that no peer of this version writes.";
        DropVersion: Drop, "drop_version", "datagrams", "Another version of the wire format.";
        DropEpoch: Drop, "drop_epoch", "datagrams", "Protected by keys that this end does not have.";
        DropSession: Drop, "drop_session", "datagrams", "Of a session that is over, or never was.";
        DropDuplicate: Drop, "drop_duplicate", "datagrams", "A physical number received before, or too old to tell.";
        DropRefused: Drop, "drop_refused", "datagrams", "No memory or no room for a piece; its acknowledgement was processed, it will be sent again.";
        DropClear: Drop, "drop_clear", "datagrams", "In the clear, from a peer that must encrypt: one of the two configurations says encryption = \"none\".";
        DropSealed: Drop, "drop_sealed", "datagrams", "Encrypted, from a peer that is configured with encryption = \"none\".";
        DropForged: Drop, "drop_forged", "datagrams", "Does not authenticate: damaged on the way, or forged.";
        DropShunned: Drop, "drop_shunned", "datagrams", "Handshakes of a peer that broke the protocol a moment ago.";
        DropViolation: Drop, "drop_violation", "datagrams", "Authentic, but no peer that keeps to the protocol writes it: it ended the session.";
        DropStaleHello: Drop, "drop_stale_hello", "datagrams", "HELLO of a former start or session of the peer.";
        DropMismatch: Drop, "drop_mismatch", "datagrams", "HELLO of a peer that no session is possible with: see its state.";
        DatagramsOut: Info, "datagrams_out", "datagrams", "Datagrams sent.";
        BytesOut: Info, "bytes_out", "bytes", "IP bytes sent, everything included.";
        BytesIn: Info, "bytes_in", "bytes", "IP bytes received.";
        AcksOut: Info, "acks_out", "datagrams", "Datagrams sent that only acknowledge.";
        AckBytesOut: Info, "ack_bytes_out", "bytes", "IP bytes of datagrams that only acknowledge, and of acknowledgements beside data.";
        HellosOut: Info, "hellos_out", "datagrams", "HELLO datagrams sent.";
        BuffersOut: Info, "buffers_out", "buffers", "Buffers accepted for the peer.";
        BuffersOutBytes: Info, "buffers_out_bytes", "bytes", "Bytes of buffers accepted for the peer.";
        BuffersCompleted: Info, "buffers_completed", "buffers", "Buffers that the peer has completely.";
        BuffersAbandoned: Info, "buffers_abandoned", "buffers", "Buffers of packets lost on the way, and given up because they would come too late.";
        BuffersExpired: Info, "buffers_expired", "buffers", "Buffers of packets not sent, because they had waited beyond their deadline.";
        BuffersDiscarded: Info, "buffers_discarded", "buffers", "Buffers discarded because their session ended.";
        BuffersDelivered: Info, "buffers_delivered", "buffers", "Buffers delivered from the peer.";
        BuffersDeliveredBytes: Info, "buffers_delivered_bytes", "bytes", "Bytes of buffers delivered from the peer.";
        BuffersGivenUp: Info, "buffers_given_up", "buffers", "Buffers that the peer began or numbered and then gave up.";
        PiecesDuplicate: Info, "pieces_duplicate", "pieces", "Pieces received that were there already.";
        DatagramsLost: Info, "datagrams_lost", "datagrams", "Transmissions taken for lost.";
        PiecesRetransmitted: Info, "pieces_retransmitted", "pieces", "Pieces sent again.";
        BytesRetransmitted: Info, "bytes_retransmitted", "bytes", "Bytes of pieces sent again.";
        LossesSpurious: Info, "losses_spurious", "datagrams", "Transmissions taken for lost that arrived after all.";
        ParityOut: Info, "parity_out", "datagrams", "Datagrams sent to protect others: parity, or what they carried once more.";
        ParityBytesOut: Info, "parity_bytes_out", "bytes", "IP bytes of these.";
        ParityIn: Info, "parity_in", "datagrams", "Datagrams received that carry parity.";
        ParityUseless: Info, "parity_useless", "datagrams", "Of these, those that nothing was restored with: nothing was lost, or too much.";
        PiecesRestored: Info, "pieces_restored", "pieces", "Pieces restored from parity.";
        SendsHeld: Info, "sends_held", "times", "Times that nothing was sent because no more transmissions and losses can be kept track of until an acknowledgement comes.";
        Probes: Info, "probes", "datagrams", "Transmissions because the tail was silent.";
        PathProbes: Info, "path_probes", "datagrams", "Probes of the path's MTU sent.";
        PathProbesLost: Info, "path_probes_lost", "datagrams", "Of these, lost: no loss of data.";
        BlackHoles: Info, "black_holes", "times", "Times that datagrams of the present length were found to vanish, and shorter ones not.";
        AcksInvalid: Info, "acks_invalid", "datagrams", "Acknowledgements of what was never sent: ignored.";
        SessionsUp: Info, "sessions_up", "sessions", "Sessions that came up.";
        SessionsLost: Info, "sessions_lost", "sessions", "Sessions that ended because the peer fell silent or began anew.";
        SessionsStalled: Info, "sessions_stalled", "sessions", "Of the sessions lost, those whose peer was heard but did not get our data: look at the path's MTU.";
        SessionsBroken: Info, "sessions_broken", "sessions", "Sessions that ended because the peer broke the protocol.";
        SessionsExpired: Info, "sessions_expired", "sessions", "Sessions that ended because their keys could not be renewed in time.";
        KeysRenewed: Info, "keys_renewed", "keys", "Times that a session got new keys by a handshake of ours.";
        AddressChanges: Info, "address_changes", "changes", "Times that the peer was found at another address.";
        SessionsClosed: Info, "sessions_closed", "sessions", "Sessions that either end closed.";
    }
}
