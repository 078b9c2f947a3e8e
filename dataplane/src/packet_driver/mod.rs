//! The packet driver: messages of all flows into buffers, and buffers apart at the far side.
