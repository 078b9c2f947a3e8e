//! The frame generator: floods a device under test with frames of many flows, and checks what
//! comes back.
//!
//! In: two DPDK devices, a number of flows, sizes, a seed. Out: how many frames came back, how
//! fast, and whose fault it was that it was not faster. Never: more in flight than the device
//! under test has room for, so that nothing that it does not drop by itself is lost.
//!
//! | file | what is in it |
//! |---|---|
//! | `content` | a frame from its number, and whether a frame is what its number says |
//! | `size` | how long the frames are: one length, or a mix |
//! | `lane` | one direction: frames sent, frames that came back |
//! | `flood` | both directions, learned and then measured |
//! | `rate` | frames per second, in slices of the time |
//! | `trial` | both directions at a rate that nothing slows down, with delays |
//! | `watch` | whether the device under test had its core when it took no frames |

pub mod content;
pub mod flood;
pub mod lane;
pub mod rate;
pub mod size;
pub mod trial;
mod watch;
