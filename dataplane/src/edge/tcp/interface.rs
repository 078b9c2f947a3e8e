//! What a connection says and is asked: its traits, states, dispositions and reports.

use super::segment::{Options, Segment};
use super::send_queue::Payload;
use super::time_wait::TimeWait;
use crate::packet_driver::reset::ResetCause;

/// What a connection tells the side that carries its stream across.
pub trait Upward<F> {
    /// Bytes of the stream in order: `len` bytes of the frame from `start` on, the first of them
    /// at stream offset `offset`. They are acknowledged to the host from now on.
    fn data(&mut self, offset: u64, frame: F, start: u32, len: u32);
    /// The host we connected to has accepted.
    fn established(&mut self, host: &HostParameters);
    /// The host we connected to has refused, or was silent.
    fn refused(&mut self, cause: ResetCause);
    /// The host's stream ends at `offset`. Its FIN stays unacknowledged until
    /// [`Connection::fin_acknowledged`].
    fn fin(&mut self, offset: u64);
    /// The connection is over: the host reset it, or is gone.
    fn reset(&mut self, cause: ResetCause);
    /// The host has acknowledged everything delivered below `offset`.
    fn acknowledged(&mut self, offset: u64);
    /// The host has acknowledged our FIN after `offset` bytes.
    fn fin_acknowledged(&mut self, offset: u64);
    /// The host asks whether the other is still there, by a keepalive. That we are is answered
    /// here; whether the far host is, only the far side can find out. At most once a second.
    fn asked(&mut self);
}

/// Where segments to be sent go: the writer prepends IP and Ethernet and copies the payload once.
pub trait Emit {
    /// Sends one segment. False when there is no frame for it: nothing was sent, and the
    /// connection will offer it again.
    fn emit(&mut self, segment: &Segment, payload: Payload<'_>) -> bool;

    /// Payload bytes of a run, at most; 0 where none can be sent.
    fn run_bytes_max(&self) -> u32 {
        0
    }

    /// Sends a run: segments that follow each other, with `size` payload bytes each, as one that a
    /// device cuts. False when that cannot be now: nothing was sent, and the connection sends them
    /// one by one.
    fn emit_run(&mut self, segment: &Segment, payload: Payload<'_>, size: u16) -> bool {
        let _ = (segment, payload, size);
        false
    }
}

/// What a host's SYN says of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostParameters {
    /// Maximum segment size in bytes; 0 when the SYN had none.
    pub mss: u16,
    /// Window scale, when offered.
    pub window_scale: Option<u8>,
    /// Whether SACK is permitted.
    pub sack_permitted: bool,
    /// Whether timestamps are sent.
    pub timestamps: bool,
}

impl HostParameters {
    /// What the options of a SYN say.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        HostParameters {
            mss: options.mss.unwrap_or(0),
            window_scale: options.window_scale,
            sack_permitted: options.sack_permitted,
            timestamps: options.timestamps.is_some(),
        }
    }
}

/// The states of RFC 9293 3.3.2, and two of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The host's SYN waits for the far side's answer; nothing has been sent.
    Held,
    /// Our SYN is out.
    SynSent,
    /// Both SYNs are out, ours is unacknowledged.
    SynReceived,
    /// Data flow both ways.
    Established,
    /// Our FIN is out; the host may still send.
    FinWait1,
    /// Our FIN is acknowledged; the host may still send.
    FinWait2,
    /// The host's FIN is acknowledged; we may still send.
    CloseWait,
    /// Both FINs are out and the host's is acknowledged, ours having been sent before that.
    Closing,
    /// The host's FIN is acknowledged, then ours was sent.
    LastAck,
    /// All is acknowledged both ways; late segments are answered.
    TimeWait,
    /// A reset is being sent to the host, repeated in case it is lost.
    Resetting,
    /// Over.
    Closed,
}

impl State {
    const ALL: [State; 12] = [
        State::Held,
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
        State::TimeWait,
        State::Resetting,
        State::Closed,
    ];

    /// A number for it, from 1 and below 32: how the flow table has it.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The state with this number.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code.checked_sub(1)?)).copied()
    }

    /// Its name, in the words of the RFC where it has one there.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Held => "opening",
            State::SynSent => "syn-sent",
            State::SynReceived => "syn-received",
            State::Established => "established",
            State::FinWait1 => "fin-wait-1",
            State::FinWait2 => "fin-wait-2",
            State::CloseWait => "close-wait",
            State::Closing => "closing",
            State::LastAck => "last-ack",
            State::TimeWait => "time-wait",
            State::Resetting => "resetting",
            State::Closed => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn every_state_has_a_number_and_a_name_of_its_own() {
        for (index, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.code()), index + 1);
            assert_eq!(State::of_code(state.code()), Some(state));
            let same = State::ALL.into_iter().filter(|other| other.name() == state.name());
            assert_eq!(same.count(), 1, "{}", state.name());
        }
        assert!(State::of_code(0).is_none() && State::of_code(13).is_none());
    }
}

/// What became of a segment from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Taken, wholly or in part.
    Taken,
    /// Nothing new in it.
    Duplicate,
    /// Outside the window (RFC 9293 3.10.7.4).
    OutOfWindow,
    /// Behind a gap, and no room to keep it.
    NoRoom,
    /// An old duplicate by its timestamp (PAWS, RFC 7323 section 5).
    OldTimestamp,
    /// Without the timestamp that was agreed on (RFC 7323 3.2).
    MissingTimestamp,
    /// It acknowledges what was not sent, or what was acknowledged long ago.
    UnacceptableAck,
    /// A SYN or RST that might be forged: answered with a challenge ACK (RFC 5961).
    Challenged,
    /// A segment without meaning in this state.
    Unexpected,
    /// The connection is over. If the segment is a SYN, a new one may take its place.
    Closed,
}

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Nothing is left to do: forget it.
    Closed,
    /// Forget it, but keep this in a [`TimeWaitTable`](super::time_wait::TimeWaitTable).
    TimeWait(TimeWait),
}

/// Whether [`Connection::transmit`] could send all it had to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Transmitted {
    /// All that may be sent now is sent.
    Done,
    /// There was no frame: call again when there are frames.
    Blocked,
}

/// What can be said of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// State.
    pub state: State,
    /// Smoothed round trip time; 0 before the first sample.
    pub rtt_ns: u64,
    /// Smallest round trip time.
    pub rtt_min_ns: u64,
    /// Retransmission timeout.
    pub rto_ns: u64,
    /// Congestion window in bytes.
    pub congestion_window: u64,
    /// Bytes on their way to the host.
    pub in_flight: u64,
    /// Bytes from the far side that the host has not acknowledged, those behind gaps included.
    pub unread: u64,
    /// Payload bytes of a full segment.
    pub segment_size: u16,
    /// What the host may still send by what it was told, in bytes.
    pub offered_window: u64,
    /// What the host lets us send, in bytes.
    pub host_window: u64,
    /// Frames kept until a gap before them is filled.
    pub held_frames: usize,
    /// Totals since it was last at rest.
    pub totals: Totals,
}

/// Totals of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Segments sent again.
    pub retransmitted_segments: u32,
    /// Retransmission timeouts.
    pub timeouts: u32,
    /// Tail loss probes.
    pub tail_probes: u32,
    /// Zero-window probes.
    pub window_probes: u32,
    /// Recoveries without a timeout.
    pub recoveries: u32,
    /// Segments from the host that came out of order.
    pub out_of_order: u32,
    /// Segments from the host with nothing new in them.
    pub duplicates: u32,
    /// Challenge ACKs sent.
    pub challenges: u32,
}
