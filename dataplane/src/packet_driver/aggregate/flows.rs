//! Flows that have data queued, in lists threaded through the table of flows: one list a group,
//! in the order of the round robin.

use super::slab::{NIL, Queue};
use crate::time::Time;

/// One flow, by its slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Its messages.
    pub(super) queue: Queue,
    /// Data in its queue.
    pub(super) data_bytes: u64,
    /// Data and headers in its queue.
    pub(super) wire_bytes: u64,
    /// What it may still send in this round; below 0 when it sent more, to be made up for.
    pub(super) deficit: i64,
    /// Whether what it has queued is little, and goes before the bulk of its class.
    pub(super) sparse: bool,
    /// When something of it was last put into a buffer.
    pub(super) served_at: Time,
    previous: u32,
    next: u32,
}

impl Default for Flow {
    fn default() -> Self {
        Flow {
            queue: Queue::default(),
            data_bytes: 0,
            wire_bytes: 0,
            deficit: 0,
            sparse: false,
            served_at: Time::ZERO,
            previous: NIL,
            next: NIL,
        }
    }
}

/// A list of flows.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl Default for List {
    fn default() -> Self {
        List { head: NIL, tail: NIL, len: 0 }
    }
}

impl List {
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn front(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }
}

/// All flows.
pub(super) struct Flows(Box<[Flow]>);

impl Flows {
    pub(super) fn new(count: usize) -> Self {
        Flows(vec![Flow::default(); count.min(NIL as usize)].into_boxed_slice())
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Flow> {
        self.0.get(slot as usize)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Flow> {
        self.0.get_mut(slot as usize)
    }

    /// Appends a flow that is in no list.
    pub(super) fn link(&mut self, list: &mut List, slot: u32) {
        let Some(flow) = self.get_mut(slot) else { return };
        flow.previous = list.tail;
        flow.next = NIL;
        match self.get_mut(list.tail) {
            Some(tail) => tail.next = slot,
            None => list.head = slot,
        }
        list.tail = slot;
        list.len += 1;
    }

    /// Takes a flow out of the list it is in.
    pub(super) fn unlink(&mut self, list: &mut List, slot: u32) {
        let Some(flow) = self.get_mut(slot) else { return };
        let (previous, next) = (flow.previous, flow.next);
        (flow.previous, flow.next) = (NIL, NIL);
        match self.get_mut(previous) {
            Some(flow) => flow.next = next,
            None => list.head = next,
        }
        match self.get_mut(next) {
            Some(flow) => flow.previous = previous,
            None => list.tail = previous,
        }
        list.len -= 1;
    }
}
