//! Placement: which core runs which stage, as data.
//!
//! In: the cores of each stage. Out: the workers, each with its stages in the order a packet meets
//! them. A stage runs once; stages that keep nothing from buffer to buffer, and the edge, which
//! keeps nothing from flow to flow, may run on several cores, as replicas. Every link is between two of them, so it has one producer and one consumer.

use std::fmt;

use crate::link::REPLICAS_MAX;

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

    /// Whether several cores may run it: each buffer is a piece of work by itself, and the order of
    /// the results is that of the buffers, whoever made them ([`crate::link::replicas`]); each flow
    /// has one edge, which follows from its 5-tuple ([`crate::frame::Shard`]).
    #[must_use]
    pub fn can_have_replicas(self) -> bool {
        matches!(self, StageKind::Edge | StageKind::Compress | StageKind::Decompress)
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
    /// A stage that keeps something from frame to frame is on two cores.
    #[error("the stage \"{0}\" can run on one core only: name one")]
    Twice(StageKind),
    /// A stage is twice on one core.
    #[error("the stage \"{0}\" is on core {1} twice: name each core once")]
    SameCore(StageKind, usize),
    /// A stage is on more cores than there may be replicas.
    #[error("the stage \"{0}\" is on {1} cores: at most {REPLICAS_MAX} are possible")]
    TooMany(StageKind, usize),
}

/// One running stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageAt {
    /// Which stage.
    pub kind: StageKind,
    /// Which of its replicas, counted from 0.
    pub replica: usize,
    /// How many replicas there are.
    pub replicas: usize,
}

/// Its name; with a number when there are several.
impl fmt::Display for StageAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.replicas {
            1 => write!(f, "{}", self.kind),
            _ => write!(f, "{}.{}", self.kind, self.replica),
        }
    }
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
        Placement::each_apart(1)
    }

    /// A worker per stage, and `replicas` of those that can have them.
    #[must_use]
    pub fn each_apart(replicas: usize) -> Self {
        let stages = StageKind::ALL.into_iter().flat_map(|kind| {
            let count = if kind.can_have_replicas() { replicas } else { 1 };
            std::iter::repeat_n(kind, count.clamp(1, REPLICAS_MAX))
        });
        let workers = stages.enumerate().map(|(core, stage)| (core, vec![stage]));
        Placement { workers: workers.collect() }
    }

    /// The placement that these pairs describe: a stage, a core that runs it.
    ///
    /// # Errors
    /// When a stage is missing, is on one core twice, or on more cores than it can be.
    pub fn new(pairs: &[(StageKind, usize)]) -> Result<Self, PlacementError> {
        let mut workers: Vec<(usize, Vec<StageKind>)> = Vec::new();
        for stage in StageKind::ALL {
            let of_stage = pairs.iter().filter(|(kind, _)| *kind == stage);
            match of_stage.clone().count() {
                0 => return Err(PlacementError::Missing(stage)),
                1 => {}
                _ if !stage.can_have_replicas() => return Err(PlacementError::Twice(stage)),
                cores if cores > REPLICAS_MAX => return Err(PlacementError::TooMany(stage, cores)),
                _ => {}
            }
            for (_, core) in of_stage {
                match workers.iter_mut().find(|(used, _)| used == core) {
                    Some((_, stages)) if stages.contains(&stage) => {
                        return Err(PlacementError::SameCore(stage, *core));
                    }
                    Some((_, stages)) => stages.push(stage),
                    None => workers.push((*core, vec![stage])),
                }
            }
        }
        Ok(Placement { workers })
    }

    /// The workers: core, and its stages in order.
    #[must_use]
    pub fn workers(&self) -> &[(usize, Vec<StageKind>)] {
        &self.workers
    }

    /// Indices of the workers that run `stage`: those of its replicas, in order.
    pub fn workers_of(&self, stage: StageKind) -> impl Iterator<Item = usize> + Clone {
        let workers = self.workers.iter().enumerate();
        workers.filter(move |(_, (_, stages))| stages.contains(&stage)).map(|(index, _)| index)
    }

    /// Index of the worker that runs `stage`, or its first replica.
    #[must_use]
    pub fn worker_of(&self, stage: StageKind) -> Option<usize> {
        self.workers_of(stage).next()
    }

    /// How many workers run `stage`.
    #[must_use]
    pub fn replicas(&self, stage: StageKind) -> usize {
        self.workers_of(stage).count()
    }

    /// Which of the replicas of `stage` runs on the worker with this index.
    #[must_use]
    pub fn replica_at(&self, worker: usize, stage: StageKind) -> Option<usize> {
        self.workers_of(stage).position(|index| index == worker)
    }

    /// Every running stage, in packet order, with the index of its worker.
    #[must_use]
    pub fn stages(&self) -> Vec<(StageAt, usize)> {
        let of_kind = |kind: StageKind| {
            let replicas = self.replicas(kind);
            let at = move |(replica, worker)| (StageAt { kind, replica, replicas }, worker);
            self.workers_of(kind).enumerate().map(at)
        };
        StageKind::ALL.into_iter().flat_map(of_kind).collect()
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
        pairs.push((StageKind::Aggregate, 1));
        assert_eq!(Placement::new(&pairs), Err(PlacementError::Twice(StageKind::Aggregate)));
        pairs.retain(|(kind, _)| *kind != StageKind::Port);
        assert_eq!(Placement::new(&pairs), Err(PlacementError::Missing(StageKind::Port)));
    }

    #[test]
    fn compression_may_be_on_several_cores_each_named_once() {
        use StageKind::{Compress, Decompress};
        let pairs = |more: &[(StageKind, usize)]| {
            let mut pairs = StageKind::ALL.map(|kind| (kind, 0)).to_vec();
            pairs.extend(more);
            pairs
        };
        let both =
            Placement::new(&pairs(&[(Compress, 2), (Decompress, 3), (Compress, 3)])).unwrap();
        assert_eq!(both.workers()[1..], [(2, vec![Compress]), (3, vec![Compress, Decompress])]);
        assert_eq!(both.workers_of(Compress).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(both.workers_of(Decompress).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(
            (both.replica_at(2, Decompress), both.replica_at(1, Decompress)),
            (Some(1), None)
        );
        let names: Vec<String> = both.stages().iter().map(|(at, _)| at.to_string()).collect();
        assert_eq!(
            names.join(" "),
            "port edge aggregate compress.0 compress.1 compress.2 transmit decompress.0 decompress.1"
        );
        let refused = Placement::new(&pairs(&[(Compress, 1), (Compress, 1)]));
        assert_eq!(refused, Err(PlacementError::SameCore(Compress, 1)));
        let many: Vec<_> = (1..=REPLICAS_MAX).map(|core| (Compress, core)).collect();
        let refused = Placement::new(&pairs(&many));
        assert_eq!(refused, Err(PlacementError::TooMany(Compress, REPLICAS_MAX + 1)));
        assert!(Placement::new(&pairs(&many[1..])).is_ok());
    }
}
