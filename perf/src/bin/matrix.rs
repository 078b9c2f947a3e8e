//! The matrix of links: how well two data movers fill each of them, in virtual time.
//!
//! Exits 1 when a cell misses a bar without a stated reason.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use clap::Parser;
use dataplane::data_mover::Session;
use dataplane::time::Time;
use perf::matrix::cell::{Cell, Controller, Extent, Pattern, cells};
use perf::matrix::output::{Row, csv, heat_map};
use perf::matrix::run::{Figures, median, run, run_traced};
use perf::matrix::verdict::{Verdict, judge};

/// Runs two data movers over every link of the matrix, in virtual time.
#[derive(Debug, Parser)]
#[command(name = "matrix", version)]
struct Options {
    /// All cells; without it all of 10 and 100 Mb/s, and a part of 1 and 10 Gb/s
    #[arg(long)]
    full: bool,
    /// Only cells whose name contains all of these words: "100 Mb/s, 50 ms, loss 1 %, jitter"
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
    /// One cell in this many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    every: u16,
    /// Times that each cell is run, with other losses each time: its figures are medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    runs: u16,
    /// Number of the first of them: to see one again
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Names each single run that misses a bar
    #[arg(long)]
    singles: bool,
    /// Threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    jobs: u16,
    /// Prints the state of the sender some times a round trip
    #[arg(long)]
    trace: bool,
    /// Where the results go, as CSV; nowhere if not given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the heat map goes, as SVG
    #[arg(long, value_name = "FILE")]
    heat_map: Option<PathBuf>,
}

impl Options {
    fn cells(&self) -> Vec<Cell> {
        let extent = if self.full { Extent::Full } else { Extent::Default };
        let chosen = |cell: &Cell| {
            let name = format!("{},", cell.name());
            self.only.iter().all(|words| name.contains(words.as_str()))
        };
        cells(extent).into_iter().filter(chosen).step_by(usize::from(self.every)).collect()
    }
}

fn trace(now: Time, session: &Session) {
    let report = session.report();
    println!(
        "{:9.1} ms {:10} rate {:9.3} capacity {:9.3} Mb/s loss {:.4} rtt {:8.3} ms in flight {:7} lost {}",
        now.as_ns() as f64 / 1e6,
        report.phase.name(),
        report.rate_bps as f64 / 1e6,
        report.capacity_bps as f64 / 1e6,
        report.random_loss_ppm as f64 / 1e6,
        report.rtt_ns as f64 / 1e6,
        report.in_flight_bytes,
        report.lost_datagrams,
    );
}

/// Runs all cells on several threads; the figures of each cell's runs, in the order of the cells.
fn run_all(cells: &[Cell], options: &Options) -> Vec<Vec<Figures>> {
    let next = AtomicUsize::new(0);
    let runs = usize::from(options.runs);
    let figures = Mutex::new(vec![vec![Figures::default(); runs]; cells.len()]);
    // The largest first, so that the threads end together.
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(cells[*index].capacity_mbps));
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let Some(index) = order.get(job / runs) else { break };
                    let (cell, place) = (&cells[*index], job % runs);
                    let number = options.first + place as u64;
                    let measured = match options.trace {
                        true => run_traced(cell, number, trace),
                        false => run(cell, number),
                    };
                    figures.lock().expect("no thread panics with the lock")[*index][place] =
                        measured;
                }
            });
        }
    });
    figures.into_inner().expect("no thread has panicked")
}

/// Judges each cell by the medians of its runs, and counts the single runs that would have missed.
fn judged(cells: &[Cell], figures: &[Vec<Figures>], options: &Options) -> (Vec<Row>, usize) {
    let medians: Vec<Figures> = figures.iter().map(|runs| median(runs)).collect();
    let independent = |cell: &Cell| {
        let twin = Cell { pattern: Pattern::Independent, ..*cell };
        cells.iter().position(|each| *each == twin).map(|index| medians[index].eta)
    };
    let mut rows = Vec::new();
    let mut singles = 0;
    for ((cell, runs), median) in cells.iter().zip(figures).zip(&medians) {
        for (number, single) in (options.first..).zip(runs) {
            let verdict = judge(cell, single, independent(cell));
            if matches!(verdict, Verdict::Missed { .. }) {
                singles += 1;
                if options.singles {
                    println!("{}, run {number}: {}", cell.name(), verdict.text());
                }
            }
        }
        let verdict = judge(cell, median, independent(cell));
        rows.push(Row { cell: *cell, figures: *median, verdict });
    }
    (rows, singles)
}

fn write(options: &Options, rows: &[Row]) -> Result<(), String> {
    for (path, text) in [(&options.output, csv(rows)), (&options.heat_map, heat_map(rows))] {
        if let Some(path) = path {
            fs::write(path, text).map_err(|error| unwritable(path, &error))?;
        }
    }
    Ok(())
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("{}: cannot be written: {error}; name a file in a folder that exists", path.display())
}

/// Whether a file can be written, or made; it is not made yet.
fn writable(path: &Path) -> io::Result<()> {
    if path.exists() {
        OpenOptions::new().append(true).open(path)?;
    } else if let Some(folder) = std::path::absolute(path)?.parent() {
        fs::metadata(folder)?;
    }
    Ok(())
}

/// What would make the run useless when it is over, as an error before it begins.
fn check(options: &Options, chosen: &[Cell]) -> Result<(), String> {
    if chosen.is_empty() {
        let example = cells(Extent::Default).first().map(Cell::name).unwrap_or_default();
        return Err(format!(
            "no cell has all of {:?} in its name; a name is like \"{example}\", and --full has more",
            options.only
        ));
    }
    for path in [&options.output, &options.heat_map].into_iter().flatten() {
        writable(path).map_err(|error| unwritable(path, &error))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let cells = options.cells();
    if let Err(error) = check(&options, &cells) {
        eprintln!("matrix: {error}");
        return ExitCode::FAILURE;
    }
    let begun = Instant::now();
    let figures = run_all(&cells, &options);
    let (rows, singles) = judged(&cells, &figures, &options);
    for Row { cell, figures, verdict } in &rows {
        if *verdict != Verdict::Ok || rows.len() <= 40 {
            println!("{}: {} ({figures:?})", cell.name(), verdict.text());
        }
    }
    let count =
        |wanted: fn(&Verdict) -> bool| rows.iter().filter(|row| wanted(&row.verdict)).count();
    let missed = count(|verdict| matches!(verdict, Verdict::Missed { .. }));
    let bounded = count(|verdict| matches!(verdict, Verdict::Bounded { .. }));
    let seconds = begun.elapsed().as_secs_f64();
    let datagrams: u64 = rows.iter().map(|row| row.figures.datagrams).sum();
    println!(
        "{} cells in {seconds:.0} s ({:.2} million datagrams a second): {missed} miss a bar, {bounded} are bounded",
        rows.len(),
        datagrams as f64 / seconds / 1e6,
    );
    println!("{singles} of {} single runs miss one", rows.len() * usize::from(options.runs));
    let fixed = rows.iter().filter(|row| row.cell.controller == Controller::Fixed).count();
    println!("{fixed} of them with the rate configured");
    if let Err(error) = write(&options, &rows) {
        eprintln!("matrix: {error}");
        return ExitCode::FAILURE;
    }
    if missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(arguments: &[&str]) -> Result<(), String> {
        let argv = ["matrix"].iter().chain(arguments);
        let options = Options::try_parse_from(argv).map_err(|error| error.to_string())?;
        check(&options, &options.cells())
    }

    #[test]
    fn what_would_come_to_nothing_is_refused_before_it_begins() {
        assert_eq!(said(&["--only", "100 Mb/s, 50 ms", "--every", "3"]), Ok(()));
        let error = said(&["--only", "100 Mbit"]).unwrap_err();
        assert!(error.contains("100 Mbit") && error.contains("Mb/s, "), "{error}");
        for place in ["/nonexistent/matrix.csv", "/"] {
            let error = said(&["--output", place]).unwrap_err();
            assert!(error.starts_with(&format!("{place}: cannot be written: ")), "{error}");
        }
        for nothing in ["--every", "--jobs"] {
            assert!(said(&[nothing, "0"]).unwrap_err().contains(nothing));
        }
    }
}
