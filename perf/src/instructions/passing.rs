//! Frames that only pass: whole turns of an appliance on one core, from port to port.

use dataplane::frame::Side;
use dataplane::time::{MICROSECOND_NS, Time};
use dataplane_sim::pair::{PairConfig, Site, Tpo};

use super::{Work, WorkError, counted};
use crate::frames::content::{Content, HEAD_LEN, Way};
use crate::frames::size::Sizes;

const BURST: u64 = 32;
const FLOWS: u64 = 100;
/// Turns until every flow is known, and every host's neighbour.
const WARM_UP: u64 = 100;
const TURNS: u64 = 50;

fn meter(turn: &mut dyn FnMut()) -> u64 {
    counted(turn);
    0
}

pub(super) fn run() -> Result<Work, WorkError> {
    let mut tpo = Tpo::new(&PairConfig::default().appliance(Site::A, 1));
    let content = Content::new(1, FLOWS, Sizes::Fixed(64));
    let mut now = Time::from_ms(1);
    let mut passed = 0;
    for number in 0..WARM_UP + TURNS {
        if number == WARM_UP {
            tpo.measure(meter);
            passed = 0;
        }
        now = now + 10 * MICROSECOND_NS;
        for frame in number * BURST..(number + 1) * BURST {
            let head: [u8; HEAD_LEN] = content.head(Way::Forth, frame);
            tpo.receive(Side::Lan, &head);
        }
        tpo.turn(now);
        tpo.take_sent(Side::Wan, |bytes| passed += u64::from(bytes.len() == HEAD_LEN));
    }
    // The appliance says something of its own, too.
    if passed < TURNS * BURST {
        return Err(WorkError::new("pass-through", format!("only {passed} frames have passed")));
    }
    Ok(Work { stage: "pass-through", item: "frame", items: TURNS * BURST, bytes: 0 })
}
