//! The WAN emulator: two ports, and between them the link model of the simulator in real time.
//!
//! - [`settings`]: what the link is like, as said on the command line and changed while it runs
//! - [`command`], [`control`]: the lines understood on the control socket, and the socket
//! - [`ip_length`]: how much of a frame counts against the rate
//! - [`port`]: the two DPDK devices
//! - [`emulator`]: both directions of the WAN, without devices or a clock
//! - [`forward`]: the loop that moves frames, [`wait`]: how it sleeps
//! - [`report`]: what it says about itself

pub mod command;
pub mod control;
pub mod emulator;
pub mod forward;
pub mod ip_length;
pub mod port;
pub mod report;
pub mod settings;
pub mod wait;

/// Seed of the link's faults when none is given.
pub const SEED_DEFAULT: u64 = 1;

/// One of the two ways through the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In by port A, out by port B.
    AToB,
    /// In by port B, out by port A.
    BToA,
}

impl Direction {
    /// Both, in the order in which they are kept in arrays.
    pub const BOTH: [Direction; 2] = [Direction::AToB, Direction::BToA];

    /// Its place in arrays, which is also the number of the port where its frames come in.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The number of the port where its frames go out.
    #[must_use]
    pub const fn out_port(self) -> usize {
        1 - self as usize
    }

    /// Its name on the command line and the control socket.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Direction::AToB => "a-to-b",
            Direction::BToA => "b-to-a",
        }
    }

    /// The directions that a word means: one of them, or `both`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<&'static [Direction]> {
        match word {
            "both" => Some(&Direction::BOTH),
            "a-to-b" => Some(&[Direction::AToB]),
            "b-to-a" => Some(&[Direction::BToA]),
            _ => None,
        }
    }
}
