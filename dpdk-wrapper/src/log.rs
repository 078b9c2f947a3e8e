//! Where DPDK's log goes.
//!
//! In: every message that DPDK's own level lets through (`--log-level`). Out: stderr, a callback,
//! or nothing, up to a level. Never: on a packet path; a lock is taken per message.

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::errno::Errno;
use crate::ffi;

/// How much a message matters (`RTE_LOG_*`), the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// The system is unusable.
    Emergency = 1,
    /// Action must be taken at once.
    Alert,
    /// Critical conditions.
    Critical,
    /// Errors.
    Error,
    /// Warnings.
    Warning,
    /// Normal but significant.
    Notice,
    /// Informational.
    Info,
    /// Debug output.
    Debug,
}

impl LogLevel {
    fn of(level: u32) -> Self {
        match level {
            0 | 1 => LogLevel::Emergency,
            2 => LogLevel::Alert,
            3 => LogLevel::Critical,
            4 => LogLevel::Error,
            5 => LogLevel::Warning,
            6 => LogLevel::Notice,
            7 => LogLevel::Info,
            _ => LogLevel::Debug,
        }
    }
}

/// A receiver of log messages, called on whatever thread DPDK logs from. The text has no line end.
pub type LogCallback = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// Where messages go.
#[derive(Clone, Default)]
pub enum LogTarget {
    /// Standard error, as DPDK writes them.
    #[default]
    Stderr,
    /// A function of the program.
    Callback(LogCallback),
    /// Nowhere.
    Discard,
}

impl fmt::Debug for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogTarget::Stderr => "Stderr",
            LogTarget::Callback(_) => "Callback",
            LogTarget::Discard => "Discard",
        })
    }
}

struct Sink {
    target: LogTarget,
    level_max: LogLevel,
    /// Errors of the operation that is watched; `None` when nobody listens.
    captured: Option<Vec<String>>,
}

/// Messages kept for an error report; the first ones name the cause.
const CAPTURED_MAX: usize = 8;

static SINK: Mutex<Sink> =
    Mutex::new(Sink { target: LogTarget::Stderr, level_max: LogLevel::Debug, captured: None });

fn sink() -> MutexGuard<'static, Sink> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Directs DPDK's log to `target`, leaving out what is less grave than `level_max`. Takes effect
/// at once; before [`Eal::init`](crate::Eal::init) it covers the start as well.
pub fn set(target: LogTarget, level_max: LogLevel) {
    let mut sink = sink();
    sink.target = target;
    sink.level_max = level_max;
}

/// Routes DPDK's log through this module.
pub(crate) fn redirect() -> Result<(), Errno> {
    // SAFETY: `receive` is a static function that never unwinds.
    Errno::check(unsafe { ffi::shim_log_redirect(Some(receive)) }).map(drop)
}

/// Runs a control operation; returns with its result the errors that DPDK logged meanwhile. One
/// operation at a time, so that each gets its own words; not to be nested.
pub(crate) fn capture<T>(operation: impl FnOnce() -> T) -> (T, Vec<String>) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    sink().captured = Some(Vec::new());
    let result = operation();
    let messages = sink().captured.take().unwrap_or_default();
    (result, messages)
}

extern "C" fn receive(level: u32, text: *const std::ffi::c_char, len: usize) {
    // SAFETY: the shim passes a buffer of `len` bytes that lives for the call.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    // A panic must not cross C; a log message is not worth more than being lost.
    let _ = catch_unwind(AssertUnwindSafe(|| deliver(LogLevel::of(level), bytes)));
}

fn deliver(level: LogLevel, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    let target = {
        let mut sink = sink();
        if let Some(captured) = &mut sink.captured
            && level <= LogLevel::Error
            && captured.len() < CAPTURED_MAX
            && !text.is_empty()
        {
            captured.push(text.to_owned());
        }
        if level > sink.level_max {
            return;
        }
        sink.target.clone()
    };
    // Not under the lock: a callback may itself make DPDK log.
    match target {
        LogTarget::Stderr => {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
        LogTarget::Callback(callback) => callback(level, text),
        LogTarget::Discard => {}
    }
}
