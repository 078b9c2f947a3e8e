//! What the emulator says about itself, as JSON.

use dataplane_sim::link::{LinkConfig, Loss, add_up};
use serde_json::{Map, Value, json};

use super::Direction;
use super::emulator::Way;

const NS_PER_US: f64 = 1000.0;

/// The answer to a command that has nothing else to say.
#[must_use]
pub fn done() -> Value {
    json!({ "ok": true })
}

/// The answer to a line that was refused.
#[must_use]
pub fn refusal(reason: &str) -> Value {
    json!({ "error": reason })
}

/// Everything counted, per direction; bytes are IP bytes.
#[must_use]
pub fn stats<T>(ways: &[Way<T>; 2]) -> Value {
    let mut stats = Map::new();
    for direction in Direction::BOTH {
        let name = direction.name().replace('-', "_");
        stats.insert(name, way_stats(&ways[direction.index()]));
    }
    let adds_up = ways.iter().all(|way| add_up(way.link.counters(), way.link.held()));
    stats.insert("adds_up".to_owned(), adds_up.into());
    Value::Object(stats)
}

fn way_stats<T>(way: &Way<T>) -> Value {
    let counters: Map<String, Value> = way
        .link
        .counters()
        .iter()
        .map(|(definition, value)| (definition.name.to_owned(), value.into()))
        .collect();
    let held = way.link.held();
    let microseconds = |ns: u64| ns as f64 / NS_PER_US;
    json!({
        "config": config(way.link.config()),
        "counters": counters,
        "held": { "packets": held.packets, "bytes": held.bytes },
        "lateness_us": {
            "p50": microseconds(way.lateness_ns.value_at_quantile(0.5)),
            "p99": microseconds(way.lateness_ns.value_at_quantile(0.99)),
            "max": microseconds(way.lateness_ns.max()),
        },
    })
}

fn config(config: &LinkConfig) -> Value {
    let burst_mean = match config.loss {
        Loss::Independent { .. } | Loss::GilbertElliott { .. } => 0.0,
        Loss::Bursts { burst_mean, .. } => burst_mean,
    };
    json!({
        "rate_bps": config.rate_bps,
        "queue_bytes_max": config.queue_bytes_max,
        "delay_ns": config.delay_ns,
        "jitter_ns": config.jitter_ns,
        "jitter_reorders": config.jitter_reorders,
        "loss_probability": config.loss.probability(),
        "loss_burst_mean": burst_mean,
        "duplicate_probability": config.duplicate_probability,
        "corrupt_probability": config.corrupt_probability,
        "reorder_probability": config.reorder_probability,
        "reorder_delay_ns": config.reorder_delay_ns,
        "mtu_bytes": config.mtu_bytes,
        "up": config.up,
        "black_hole": config.black_hole,
        "black_hole_every_ns": config.black_hole_windows.map(|windows| windows.every_ns),
        "black_hole_length_ns": config.black_hole_windows.map(|windows| windows.length_ns),
    })
}
