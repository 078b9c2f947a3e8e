//! Messages of flows that an edge does not know: given to an edge stage by hand.

use dataplane::edge::EdgeCounter;
use dataplane::frame::heap::{HeapFrame, HeapSource};
use dataplane::packet_driver::reset::ResetCause;
use dataplane::packet_driver::{
    BufferSlice, FlowId, Inbound, Message, MessageHeader, MessageKind, Outbound, PeerIndex,
    SessionChange, SessionNumber, Upstream,
};
use dataplane::pipeline::appliance::Appliance;
use dataplane::pipeline::links::EdgeLinks;
use dataplane::pipeline::worker::Worker;
use dataplane::time::Time;
use dataplane_sim::pair::{PairConfig, Site};

const PEER: PeerIndex = PeerIndex(0);

fn message(kind: MessageKind, flow: u64) -> Inbound {
    let header = MessageHeader { kind, flow: FlowId(flow), key: None, sequence: 0, status: 0 };
    Inbound::Message(Message { peer: PEER, header, data: BufferSlice::default() })
}

/// What the edge says when it hears these messages in a session.
fn answers(worker: &mut Worker<HeapFrame>, heard: Vec<Inbound>) -> Vec<Outbound<HeapFrame>> {
    let mut source = HeapSource::new(64);
    for message in heard {
        worker.links.delivered[0].of(0).unwrap().push(message).unwrap();
    }
    let (edge, links) = (worker.edge.as_mut().unwrap(), worker.links.of_edge().unwrap());
    let EdgeLinks { frames_in, delivered, messages, frames_out, .. } = links;
    edge.turn(Time::ZERO, frames_in, delivered, messages, frames_out, &mut source);
    std::iter::from_fn(|| messages.pop())
        .filter_map(|item| match item {
            Upstream::Message(message) => Some(message),
            Upstream::DiscardFlow { .. } | Upstream::Session { .. } => None,
        })
        .collect()
}

fn appliance() -> (Worker<HeapFrame>, dataplane::pipeline::appliance::Handles) {
    // No peer of it encrypts.
    let entropy = Box::new(|_: &mut [u8]| true);
    let config = PairConfig { encrypted: [false; 2], ..PairConfig::default() };
    let mut appliance = Appliance::new(&config.appliance(Site::A, 1), entropy);
    let mut worker = appliance.workers.remove(0);
    let session = SessionNumber(1);
    let change = SessionChange::Up { session, restarted: false, opener: false };
    let greeting = answers(&mut worker, vec![Inbound::Session { peer: PEER, change }]);
    assert_eq!(greeting.len(), 1, "the list of flows held");
    (worker, appliance.handles)
}

#[test]
fn an_accept_or_a_question_of_no_flow_is_answered_by_a_reset() {
    for kind in [MessageKind::Accept, MessageKind::Ask] {
        let (mut worker, handles) = appliance();
        let said = answers(&mut worker, vec![message(kind, 77)]);
        let [reset] = &said[..] else { panic!("{said:?}") };
        assert_eq!((reset.header.kind, reset.header.flow), (MessageKind::Reset, FlowId(77)));
        assert_eq!(ResetCause::from_status(reset.header.status), Some(ResetCause::Unknown));
        assert_eq!(handles.edge.get(EdgeCounter::FlowUnknown), 1);
    }
}

#[test]
fn nothing_else_of_no_flow_is_answered() {
    let (mut worker, handles) = appliance();
    let kinds = [
        MessageKind::Data,
        MessageKind::Credit,
        MessageKind::Fin,
        MessageKind::FinAcked,
        MessageKind::FinHeld,
    ];
    let heard = kinds.iter().map(|kind| message(*kind, 77)).collect();
    assert!(answers(&mut worker, heard).is_empty());
    assert_eq!(handles.edge.get(EdgeCounter::FlowUnknown), kinds.len() as u64);
    // Two TPOs that know nothing of a flow do not tell each other so for ever.
    let resets = vec![message(MessageKind::Reset, 77), message(MessageKind::Reset, 77)];
    assert!(answers(&mut worker, resets).is_empty());
}
