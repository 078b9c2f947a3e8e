//! What is sent: text, programs, and bytes that cannot be compressed.

use std::path::{Path, PathBuf};

/// Bytes of each content, at most; it is sent again and again, which no buffer knows of another.
const BYTES_MAX: usize = 8 << 20;
/// Bytes of each, at least.
const BYTES_MIN: usize = 256 << 10;

/// Something to be sent.
#[derive(Clone, Debug)]
pub struct Content {
    /// What it is called.
    pub name: &'static str,
    /// Whether nothing of it can be saved.
    pub incompressible: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Why there is nothing to send.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A file or a folder cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There is too little.
    #[error("{path}: {bytes} bytes of text, and {BYTES_MIN} are needed")]
    Little {
        /// Where it was sought.
        path: PathBuf,
        /// What was found.
        bytes: usize,
    },
}

/// All contents; the text is the documents and sources below `repository`, the program this one.
///
/// # Errors
/// [`ContentError`].
pub fn all(repository: &Path) -> Result<[Content; 3], ContentError> {
    let mut text = Vec::new();
    add_text(repository, &mut text)?;
    if text.len() < BYTES_MIN {
        return Err(ContentError::Little { path: repository.to_owned(), bytes: text.len() });
    }
    text.truncate(BYTES_MAX);
    let path = PathBuf::from("/proc/self/exe");
    let mut program =
        std::fs::read(&path).map_err(|error| ContentError::Unreadable { path, error })?;
    // From the middle: code, not the tables at either end.
    program.drain(..program.len() / 4);
    program.truncate((program.len() / 2).min(BYTES_MAX));
    let [noise] = noise_only();
    Ok([
        Content { name: "text", incompressible: false, bytes: text },
        Content { name: "programs", incompressible: false, bytes: program },
        noise,
    ])
}

/// Bytes without a pattern, the same every time (xorshift by Marsaglia).
pub(super) fn noise_only() -> [Content; 1] {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    });
    [Content { name: "random", incompressible: true, bytes: bytes.take(4 << 20).collect() }]
}

/// Adds the documents and sources below a folder, in the order of their names.
fn add_text(folder: &Path, text: &mut Vec<u8>) -> Result<(), ContentError> {
    let unreadable = |error| ContentError::Unreadable { path: folder.to_owned(), error };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_ours = !name.starts_with('.') && name != "target";
        if path.is_dir() && is_ours {
            add_text(&path, text)?;
        } else if name.ends_with(".rs") || name.ends_with(".md") || name.ends_with(".py") {
            let bytes = std::fs::read(&path)
                .map_err(|error| ContentError::Unreadable { path: path.clone(), error })?;
            text.extend_from_slice(&bytes);
        }
    }
    Ok(())
}
