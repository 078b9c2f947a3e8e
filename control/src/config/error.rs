//! Errors of a configuration: collected with their place in the file, reported all at once.
//!
//! In: what the reader and the checks find wrong, and where each value stood. Out: a list in the
//! order of the file. Never: only the first error, an error without what to do about it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Line in the file, from 1; `None` when the file could not be read.
    pub line: Option<usize>,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// Everything wrong with a configuration, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// At least one.
    pub errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let message = format!("cannot be read: {error}; name a file that tpo may read");
        ConfigErrors { path: path.into(), errors: vec![ConfigError { line: None, message }] }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.path.display())?;
            if let Some(line) = error.line {
                write!(f, "{line}:")?;
            }
            write!(f, " {}", error.message)?;
        }
        Ok(())
    }
}

/// What is odd in a configuration that is valid: it does not do what it seems to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigWarnings {
    /// The file.
    pub path: PathBuf,
    /// In the order of the file.
    pub warnings: Vec<ConfigError>,
}

impl ConfigWarnings {
    /// One line for each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let path = self.path.display();
        self.warnings.iter().map(move |warning| {
            format!("{path}:{}: warning: {}", warning.line.unwrap_or(1), warning.message)
        })
    }
}

/// The errors found so far, and where each value that could be read stood.
///
/// Values are named by their path in the file: `peer[0].networks[1]`. A list's indices count the
/// entries that could be read, so they are those of the typed configuration.
pub(crate) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    spans: BTreeMap<String, Range<usize>>,
    errors: Vec<Found>,
    warnings: Vec<ConfigError>,
}

/// An error and where it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    offset: usize,
    kind: Kind,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The file is not TOML here: what else was found on this line, and what is missing because
    /// the line could not be read, would only confuse.
    Syntax,
    Missing,
    Value,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a Path, text: &'a str) -> Self {
        Report { file, text, spans: BTreeMap::new(), errors: Vec::new(), warnings: Vec::new() }
    }

    /// Notes that the file is not TOML at a byte offset.
    pub(crate) fn syntax_error(&mut self, offset: usize, message: String) {
        self.errors.push(Found { offset, kind: Kind::Syntax, message });
    }

    /// Notes an error at a byte offset of the file.
    pub(crate) fn error(&mut self, offset: usize, message: String) {
        self.errors.push(Found { offset, kind: Kind::Value, message });
    }

    /// Notes that something is missing in the table that begins at a byte offset.
    pub(crate) fn missing(&mut self, offset: usize, message: String) {
        self.errors.push(Found { offset, kind: Kind::Missing, message });
    }

    /// Notes where the value called `name` stood.
    pub(crate) fn place(&mut self, name: String, span: Range<usize>) {
        self.spans.insert(name, span);
    }

    /// Whether the value called `name` was given and could be read: a check on a value that was
    /// not would only repeat an error or judge a default.
    pub(crate) fn given(&self, name: &str) -> bool {
        self.spans.contains_key(name)
    }

    /// Line of the value called `name`, from 1.
    pub(crate) fn line(&self, name: &str) -> usize {
        self.spans.get(name).map_or(1, |span| line_of(self.text, span.start))
    }

    /// Notes an error of the value called `name`, which was given.
    pub(crate) fn error_at(&mut self, name: &str, message: impl fmt::Display) {
        let offset = self.spans.get(name).map_or(0, |span| span.start);
        self.error(offset, format!("{name}: {message}"));
    }

    /// Notes that the value called `name` has no effect, or another one than it seems.
    pub(crate) fn warning_at(&mut self, name: &str, message: impl fmt::Display) {
        let line = Some(self.line(name));
        self.warnings.push(ConfigError { line, message: format!("{name}: {message}") });
    }

    pub(crate) fn finish<T>(
        mut self,
        value: Option<T>,
    ) -> Result<(T, ConfigWarnings), ConfigErrors> {
        match value {
            Some(value) if self.errors.is_empty() => {
                self.warnings.sort_by_key(|warning| warning.line);
                Ok((value, ConfigWarnings { path: self.file.into(), warnings: self.warnings }))
            }
            _ => Err(ConfigErrors { path: self.file.into(), errors: self.listed() }),
        }
    }

    fn listed(&mut self) -> Vec<ConfigError> {
        self.errors.sort();
        self.errors.dedup();
        let syntax = self.errors.iter().filter(|error| error.kind == Kind::Syntax);
        let broken: Vec<usize> = syntax.map(|error| line_of(self.text, error.offset)).collect();
        let mut listed = Vec::new();
        for error in &self.errors {
            let line = line_of(self.text, error.offset);
            let shown = match error.kind {
                Kind::Syntax => true,
                Kind::Missing => broken.is_empty(),
                Kind::Value => !broken.contains(&line),
            };
            if shown {
                listed.push(ConfigError { line: Some(line), message: error.message.clone() });
            }
        }
        listed
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}
