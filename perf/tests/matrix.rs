//! A small part of the matrix, with its bars: what a change of the data mover must not break.

use perf::matrix::cell::{Cell, Controller, Pattern};
use perf::matrix::run::run;
use perf::matrix::verdict::{Verdict, judge};

fn cell(rtt_ms: u64, loss_ppm: u32, pattern: Pattern, buffer_milli_bdp: u64, mbps: u64) -> Cell {
    let controller = Controller::Auto;
    Cell { rtt_ms, loss_ppm, pattern, buffer_milli_bdp, capacity_mbps: mbps, controller }
}

/// Runs a cell, and the one with independent losses that it is compared with.
fn check(cell: Cell) {
    let independent = Cell { pattern: Pattern::Independent, ..cell };
    let eta = (cell != independent).then(|| run(&independent, 0).eta);
    let figures = run(&cell, 0);
    let verdict = judge(&cell, &figures, eta);
    assert_eq!(verdict, Verdict::Ok, "{}: {figures:?}", cell.name());
}

#[test]
fn independent_losses() {
    for (rtt_ms, loss_ppm, buffer) in [
        (100, 0, 1_000),
        (50, 10_000, 4_000),
        (100, 50_000, 100),
        (10, 100_000, 1_000),
        (200, 200_000, 1_000),
    ] {
        check(cell(rtt_ms, loss_ppm, Pattern::Independent, buffer, 100));
    }
}

#[test]
fn bursts() {
    check(cell(100, 10_000, Pattern::Bursts, 1_000, 100));
    check(cell(50, 50_000, Pattern::Bursts, 1_000, 100));
}

#[test]
fn jitter() {
    check(cell(50, 10_000, Pattern::Jitter, 1_000, 100));
    check(cell(100, 10_000, Pattern::Jitter, 1_000, 100));
    check(cell(10, 1_000, Pattern::Jitter, 4_000, 100));
}

#[test]
fn reordering() {
    check(cell(100, 10_000, Pattern::Reordering, 1_000, 100));
    check(cell(10, 100_000, Pattern::Reordering, 1_000, 100));
}

#[test]
fn slow_links() {
    check(cell(100, 10_000, Pattern::Independent, 1_000, 10));
    check(cell(10, 0, Pattern::Independent, 1_000, 10));
    check(cell(200, 100_000, Pattern::Bursts, 1_000, 10));
}

#[test]
fn short_queues() {
    check(cell(10, 1_000, Pattern::Independent, 100, 100));
    check(cell(200, 0, Pattern::Independent, 100, 100));
}

#[test]
fn a_configured_rate() {
    let fixed = |cell| Cell { controller: Controller::Fixed, ..cell };
    check(fixed(cell(100, 10_000, Pattern::Independent, 1_000, 100)));
    check(fixed(cell(50, 200_000, Pattern::Independent, 1_000, 100)));
}
