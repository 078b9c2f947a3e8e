//! Placement: which core runs which stage, as data.
//!
//! In: one core per stage. Out: the workers, each with its stages in the order a packet meets
//! them. Every link has one producer and one consumer because every stage runs exactly once.

use std::fmt;

/// The stages that can be placed, in the order a packet from the LAN meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageKind {
    /// Bursts from and to both ports.
    Port,
    /// Interceptor, flow table and edges.
    Edge,
    /// Messages into buffers.
    Aggregate,
    /// Compression.
    Compress,
    /// Data mover: sending and receiving datagrams.
    Transmit,
    /// Decompression, and buffers into messages.
    Decompress,
}

impl StageKind {
    /// All stages, in order.
    pub const ALL: [StageKind; 6] = [
        StageKind::Port,
        StageKind::Edge,
        StageKind::Aggregate,
        StageKind::Compress,
        StageKind::Transmit,
        StageKind::Decompress,
    ];

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StageKind::Port => "port",
            StageKind::Edge => "edge",
            StageKind::Aggregate => "aggregate",
            StageKind::Compress => "compress",
            StageKind::Transmit => "transmit",
            StageKind::Decompress => "decompress",
        }
    }
}

impl fmt::Display for StageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a placement cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// A stage is on no core: give it one in `[cores]`.
    #[error("no core runs the stage \"{0}\": give it one in [cores]")]
    Missing(StageKind),
    /// A stage is on two cores, which would give its links two ends.
    #[error("the stage \"{0}\" is on more than one core: name one")]
    Twice(StageKind),
}

/// A checked placement: the cores in use, each with its stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    workers: Vec<(usize, Vec<StageKind>)>,
}

impl Placement {
    /// Everything on one core.
    #[must_use]
    pub fn single(core: usize) -> Self {
        Placement { workers: vec![(core, StageKind::ALL.into())] }
    }

    /// A worker per stage, on cores 0, 1, 2, ...
    #[must_use]
    pub fn one_stage_per_core() -> Self {
        let workers = StageKind::ALL.iter().enumerate().map(|(core, stage)| (core, vec![*stage]));
        Placement { workers: workers.collect() }
    }

    /// The placement that these pairs describe.
    ///
    /// # Errors
    /// When a stage is missing or named twice.
    pub fn new(pairs: &[(StageKind, usize)]) -> Result<Self, PlacementError> {
        let mut workers: Vec<(usize, Vec<StageKind>)> = Vec::new();
        for stage in StageKind::ALL {
            let mut cores = pairs.iter().filter(|(kind, _)| *kind == stage).map(|(_, core)| *core);
            let core = cores.next().ok_or(PlacementError::Missing(stage))?;
            if cores.next().is_some() {
                return Err(PlacementError::Twice(stage));
            }
            match workers.iter_mut().find(|(used, _)| *used == core) {
                Some((_, stages)) => stages.push(stage),
                None => workers.push((core, vec![stage])),
            }
        }
        Ok(Placement { workers })
    }

    /// The workers: core, and its stages in order.
    #[must_use]
    pub fn workers(&self) -> &[(usize, Vec<StageKind>)] {
        &self.workers
    }

    /// Index of the worker that runs `stage`.
    #[must_use]
    pub fn worker_of(&self, stage: StageKind) -> Option<usize> {
        self.workers.iter().position(|(_, stages)| stages.contains(&stage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_one_core_share_a_worker_in_packet_order() {
        let pairs = StageKind::ALL.map(|kind| (kind, usize::from(kind == StageKind::Compress)));
        let placement = Placement::new(&pairs).unwrap();
        assert_eq!(placement.workers().len(), 2);
        assert_eq!(placement.worker_of(StageKind::Compress), Some(1));
        assert_eq!(placement.workers()[0].1.len(), 5);
        assert!(placement.workers()[0].1.is_sorted());
    }

    #[test]
    fn missing_and_doubled_stages_are_named() {
        let mut pairs = StageKind::ALL.map(|kind| (kind, 0)).to_vec();
        pairs.push((StageKind::Edge, 1));
        assert_eq!(Placement::new(&pairs), Err(PlacementError::Twice(StageKind::Edge)));
        pairs.retain(|(kind, _)| *kind != StageKind::Port);
        assert_eq!(Placement::new(&pairs), Err(PlacementError::Missing(StageKind::Port)));
    }
}
