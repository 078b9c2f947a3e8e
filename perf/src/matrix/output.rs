//! The CSV file and the heat map.

use std::fmt::Write;

use super::cell::{
    BUFFERS_MILLI_BDP, CAPACITIES_MBPS, Cell, Controller, LOSSES_PPM, Pattern, RTTS_MS,
};
use super::run::Figures;
use super::verdict::Verdict;

/// The columns.
pub const COLUMNS: &str = "rtt_ms,loss,pattern,buffer_bdp,capacity_mbps,controller,eta,retrans,\
                           spurious,queue_p95_ms,rampup_rtt,memory_bytes,verdict";

/// A cell with what it measured and what that is worth.
#[derive(Clone, Debug)]
pub struct Row {
    /// The link.
    pub cell: Cell,
    /// What was measured.
    pub figures: Figures,
    /// What it is worth.
    pub verdict: Verdict,
}

/// All rows as comma-separated values, with the columns first.
#[must_use]
pub fn csv(rows: &[Row]) -> String {
    let mut text = format!("{COLUMNS}\n");
    for Row { cell, figures, verdict } in rows {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{:.4},{:.4},{:.5},{:.2},{:.1},{},{}",
            cell.rtt_ms,
            f64::from(cell.loss_ppm) / 1e6,
            cell.pattern.name(),
            cell.buffer_milli_bdp as f64 / 1e3,
            cell.capacity_mbps,
            cell.controller.name(),
            figures.eta,
            figures.retrans,
            figures.spurious,
            figures.queue_p95_ms,
            figures.rampup_rtt,
            figures.memory_bytes,
            verdict.text(),
        );
    }
    text
}

const SQUARE: usize = 16;
const LEFT: usize = 190;
const TOP: usize = 70;
const GAP: usize = 6;

/// Green from 0.98 on, then yellow, red at 0.5 and below.
fn colour(eta: f64) -> String {
    let good = ((eta - 0.5) / 0.48).clamp(0.0, 1.0);
    let hue = 120.0 * good * good * good;
    format!("hsl({hue:.0} 65% {:.0}%)", 42.0 + 10.0 * (1.0 - good))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The etas of `auto` as a picture: a column per round trip and loss, a row per capacity, queue
/// and pattern. A frame marks a bar that is missed; pointing at a square tells its figures.
#[must_use]
pub fn heat_map(rows: &[Row]) -> String {
    let column =
        |rtt: usize, loss: usize| LEFT + rtt * (LOSSES_PPM.len() * SQUARE + GAP) + loss * SQUARE;
    let groups = CAPACITIES_MBPS.len() * BUFFERS_MILLI_BDP.len();
    let row = |group: usize, pattern: usize| {
        TOP + group * (Pattern::ALL.len() * SQUARE + GAP) + pattern * SQUARE
    };
    let (width, height) = (column(RTTS_MS.len(), 0), row(groups, 0) + 10);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"10\">\n\
         <text x=\"10\" y=\"18\" font-size=\"14\">Share of the capacity that `auto` fills without a hint</text>\n"
    );
    for (i, rtt_ms) in RTTS_MS.into_iter().enumerate() {
        let _ =
            writeln!(svg, "<text x=\"{}\" y=\"38\">{rtt_ms} ms, loss in %</text>", column(i, 0));
        for (j, loss_ppm) in LOSSES_PPM.into_iter().enumerate() {
            let (x, loss) = (column(i, j) + 11, f64::from(loss_ppm) / 1e4);
            let _ =
                writeln!(svg, "<text transform=\"translate({x} 66) rotate(-90)\">{loss}</text>");
        }
    }
    for (i, capacity) in CAPACITIES_MBPS.into_iter().enumerate() {
        for (j, buffer) in BUFFERS_MILLI_BDP.into_iter().enumerate() {
            for (k, pattern) in Pattern::ALL.into_iter().enumerate() {
                let y = row(i * BUFFERS_MILLI_BDP.len() + j, k) + 12;
                let queue = buffer as f64 / 1e3;
                let name = pattern.name();
                let _ = writeln!(
                    svg,
                    "<text x=\"6\" y=\"{y}\">{capacity} Mb/s, {queue} BDP, {name}</text>"
                );
            }
        }
    }
    for Row { cell, figures, verdict } in
        rows.iter().filter(|row| row.cell.controller == Controller::Auto)
    {
        let place =
            |list: &[u64], value: u64| list.iter().position(|each| *each == value).unwrap_or(0);
        let loss = LOSSES_PPM.iter().position(|loss| *loss == cell.loss_ppm).unwrap_or(0);
        let pattern = Pattern::ALL.iter().position(|each| *each == cell.pattern).unwrap_or(0);
        let group = place(&CAPACITIES_MBPS, cell.capacity_mbps) * BUFFERS_MILLI_BDP.len()
            + place(&BUFFERS_MILLI_BDP, cell.buffer_milli_bdp);
        let (x, y) = (column(place(&RTTS_MS, cell.rtt_ms), loss), row(group, pattern));
        let frame = match verdict {
            Verdict::Ok => "none",
            Verdict::Bounded { .. } => "grey",
            Verdict::Missed { .. } => "black",
        };
        let side = SQUARE - 2;
        let told = format!(
            "{}: eta {:.3}, queue {:.1} ms, {}",
            cell.name(),
            figures.eta,
            figures.queue_p95_ms,
            verdict.text()
        );
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{}\" stroke=\"{frame}\" \
             stroke-width=\"1.5\"><title>{}</title></rect>",
            colour(figures.eta),
            escaped(&told)
        );
    }
    svg.push_str("</svg>\n");
    svg
}
