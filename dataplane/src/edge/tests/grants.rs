//! Credit that is granted, given back, and granted again.

use super::*;

/// Credit is given back down to an offset that its host has reached by then: nothing but the
/// answer to it could ask for more.
#[test]
fn credit_given_back_late_is_granted_anew() {
    const KEPT: u64 = 16_000;
    let mut bench = Bench::up();
    let (flow, first) = bench.connect();
    // What was sent behind the credit that is given back overtakes it, and the host takes it.
    for offset in (0..KEPT).step_by(1_000) {
        bench.far(MessageKind::Data, flow, None, offset, 0, &[7; 1_000]);
        let end = first.wrapping_add(u32::try_from(offset).unwrap() + 1_000);
        bench.host(&segment(Flags::ACK, ISN + 1, end));
    }
    bench.said();
    bench.far(MessageKind::CreditReturn, flow, None, KEPT, 1, &[]);
    let said = bench.said();
    let [credit] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((credit.kind, credit.flow, credit.status), (MessageKind::Credit, flow, 1));
    assert!(credit.sequence > KEPT, "{credit:?}");
    // While the host still has bytes to take, it is they that move the credit.
    bench.far(MessageKind::Data, flow, None, KEPT, 0, &[7; 100]);
    bench.far(MessageKind::CreditReturn, flow, None, 2 * KEPT, 2, &[]);
    assert_eq!(bench.said(), []);
}
