//! Every counter of an appliance in one list.
//!
//! In: the stages' counters, those of the devices. Out: samples for `show drops` and
//! `show counters`. A stage that
//! does not run yet has its counters at zero, so that every reason can always be read about.

use dataplane::counters::{Counter, Counters, Definition, Kind};
use dataplane::edge::LanCounter;
use dataplane::pipeline::appliance::Handles;

use crate::cli::PortCounters;
use crate::stats::{self, Sample};

const fn drop(name: &'static str, help: &'static str) -> Definition {
    Definition { name, unit: "frames", kind: Kind::Drop, help }
}

/// What devices do not forward.
static DEVICE: [Definition; 4] = [
    drop("rx_missed", "Frames that the device dropped because its receive queue was full."),
    drop("rx_no_mbuf", "Frames that the device dropped because the pool of frames was empty."),
    drop("rx_errors", "Frames that the device received with errors."),
    drop("tx_errors", "Frames that the device could not send."),
];

/// The drops of one device, named `stage`.
pub(super) fn of_device(
    stage: &'static str,
    counters: &PortCounters,
) -> impl Iterator<Item = Sample> {
    let values = [counters.rx_missed, counters.rx_nombuf, counters.rx_errors, counters.tx_errors];
    DEVICE.iter().zip(values).map(move |(definition, value)| Sample { stage, definition, value })
}

/// The counters of all stages, in the order a packet from the LAN meets them.
pub(super) fn of_stages(handles: Option<&Handles>) -> Vec<Sample> {
    let mut samples = Vec::new();
    add(&mut samples, handles.map(|handles| &handles.port));
    add_each(&mut samples, handles.map(|handles| handles.interceptor.each()));
    add_each(&mut samples, handles.map(|handles| handles.edge.each()));
    add_each(&mut samples, handles.map(|handles| handles.reassembly.each()));
    add(&mut samples, handles.map(|handles| &handles.aggregate));
    add_each(&mut samples, handles.map(|handles| &handles.compress[..]));
    add(&mut samples, handles.map(|handles| &handles.transmit));
    add(&mut samples, handles.map(|handles| &handles.demux));
    add(&mut samples, handles.map(|handles| &handles.exchange));
    match handles {
        Some(handles) => {
            handles.lan.iter().for_each(|peer| add_each(&mut samples, Some(peer.each())));
        }
        None => add::<LanCounter>(&mut samples, None),
    }
    add_each(&mut samples, handles.map(|handles| &handles.movers[..]));
    add_each(&mut samples, handles.map(|handles| &handles.decompress[..]));
    add_each(&mut samples, handles.map(|handles| &handles.disaggregate[..]));
    samples
}

/// Those of all replicas, or peers.
fn add_each<C: Counter>(samples: &mut Vec<Sample>, counters: Option<&[Counters<C>]>) {
    match counters {
        Some(counters) => counters.iter().for_each(|each| add(samples, Some(each))),
        None => add::<C>(samples, None),
    }
}

fn add<C: Counter>(samples: &mut Vec<Sample>, counters: Option<&Counters<C>>) {
    match counters {
        Some(counters) => samples.extend(stats::samples(counters)),
        None => samples.extend(stats::samples(&Counters::<C>::default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_that_drops_is_there_before_it_runs() {
        let drops = stats::drops(of_stages(None));
        for stage in
            ["port", "interceptor", "edge", "transmit", "data_mover", "demux", "key_exchange"]
        {
            assert!(drops.iter().any(|drop| drop.stage == stage), "{stage}: {drops:?}");
        }
        assert!(drops.iter().all(|drop| drop.count == 0 && !drop.help.is_empty()));
    }

    #[test]
    fn a_device_names_what_it_lost() {
        let counters = PortCounters {
            rx_missed: 1,
            rx_nombuf: 2,
            rx_errors: 3,
            tx_errors: 4,
            ..PortCounters::default()
        };
        let drops = stats::drops(of_device("lan_device", &counters));
        let counts: Vec<_> = drops.iter().map(|drop| (drop.name, drop.count)).collect();
        assert_eq!(
            counts,
            [("rx_missed", 1), ("rx_no_mbuf", 2), ("rx_errors", 3), ("tx_errors", 4)]
        );
    }
}
