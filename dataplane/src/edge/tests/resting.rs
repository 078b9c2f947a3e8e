//! Connections at rest: when they are, and that nobody notices.

use super::*;
use crate::edge::standby::Standby;
use crate::time::SECOND_NS;

/// Long enough to be left alone.
const PAUSE_NS: u64 = SECOND_NS + SECOND_NS / 10;

impl Bench {
    fn rests(&self, flow: FlowId) -> bool {
        let place = self.stage.table.place_of(PEER, flow).unwrap();
        matches!(self.stage.table.get(place).unwrap().connection, Standby::Resting(_))
    }
}

#[test]
fn a_connection_rests_until_anything_happens_on_it() {
    let mut bench = Bench::up();
    let (flow, first) = bench.connect();
    assert!(bench.rests(flow), "nothing was ever said on it");

    bench.far(MessageKind::Data, flow, None, 0, 0, &[7; 500]);
    assert!(!bench.rests(flow));
    let sent = bench.host_got();
    let [sent] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((sent.seq, sent.payload_len), (first, 500));
    let next = first.wrapping_add(500);
    bench.host(&segment(Flags::ACK, ISN + 1, next));
    assert!(!bench.rests(flow), "more may come soon");
    bench.wait(PAUSE_NS);
    assert!(bench.rests(flow));
    assert_eq!(bench.host_got(), []);

    // The host asks whether we are there, so the far host is asked too.
    bench.said();
    bench.host(&segment(Flags::ACK, ISN, next));
    let answer = bench.host_got();
    let [answer] = answer.as_slice() else { panic!("{answer:?}") };
    assert_eq!((answer.seq, answer.ack), (next, ISN + 1));
    assert!(bench.said().iter().any(|said| said.kind == MessageKind::Ask));
    assert!(!bench.rests(flow), "it is asked once a second at most");
    bench.wait(PAUSE_NS);
    assert!(bench.rests(flow));

    // More credit: what of it the host needs to know it is told, and that is all.
    bench.far(MessageKind::Credit, flow, None, 64 << 20, 0, &[]);
    bench.wait(PAUSE_NS);
    assert!(bench.rests(flow));
    bench.host_got();

    // The far host ends its stream: from then on the connection stays whole.
    bench.far(MessageKind::Fin, flow, None, 500, 0, &[]);
    let fin = bench.host_got();
    let [fin] = fin.as_slice() else { panic!("{fin:?}") };
    assert!(fin.flags.has(Flags::FIN) && fin.seq == next);
    bench.wait(PAUSE_NS);
    assert!(!bench.rests(flow));
}

#[test]
fn a_host_at_rest_is_reset_when_its_peer_is_lost() {
    let mut bench = Bench::up();
    let (flow, first) = bench.connect();
    bench.wait(PAUSE_NS);
    assert!(bench.rests(flow));
    bench.change(SessionChange::Down);
    let reset = bench.host_got();
    assert!(reset.iter().any(|sent| sent.flags.has(Flags::RST) && sent.seq == first));
}
