//! Command files: lines carried out one after the other, up to the first error.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::backend::Backend;
use super::executor::Executor;

/// Longest command file, in bytes.
const FILE_LENGTH_MAX: u64 = 1 << 20;

/// Why a command file was not carried out to its end.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line failed; those after it were not carried out.
    #[error("{}:{line}: {message}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// What the commands say cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
}

/// Carries out the lines of the file at `path` and writes what they say to `output`. Ends early
/// after `quit`.
///
/// # Errors
/// The first line that is no command or was refused; or the file cannot be read.
pub fn run_script<B: Backend>(
    executor: &mut Executor<B>,
    path: &Path,
    output: &mut impl Write,
) -> Result<(), ScriptError> {
    let unreadable = |source| ScriptError::Unreadable { path: path.into(), source };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_LENGTH_MAX {
        let reason = format!("it is longer than {FILE_LENGTH_MAX} bytes");
        return Err(unreadable(std::io::Error::other(reason)));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    for (index, line) in text.lines().enumerate() {
        match executor.line(line) {
            Ok(Some(reply)) => write!(output, "{reply}")?,
            Ok(None) => {}
            Err(error) => {
                let message = error.to_string();
                return Err(ScriptError::Line { path: path.into(), line: index + 1, message });
            }
        }
        if executor.is_quitting() {
            break;
        }
    }
    output.flush()?;
    Ok(())
}
