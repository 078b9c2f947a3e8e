//! Requests and answers, one line of JSON each.
//!
//! In: bytes of a connection. Out: requests and answers. Never: more than the longest line in
//! memory.

use std::io::{self, BufRead, Read};

use serde::{Deserialize, Serialize};

use crate::cli::Answer;

/// Longest request, in bytes: a command and its wrapping.
pub const REQUEST_LENGTH_MAX: usize = 16 << 10;
/// Longest answer, in bytes: the flows one command shows at most, and then some.
pub(crate) const RESPONSE_LENGTH_MAX: usize = 64 << 20;

/// What `tpoctl` asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// One line of the grammar.
    pub command: String,
    /// Whether the reply is to be JSON instead of text.
    #[serde(default)]
    pub json: bool,
}

/// What tpo answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Whether the command was carried out.
    pub ok: bool,
    /// The reply as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The reply as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<serde_json::Value>,
    /// Why it was not carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether that is because it is no command.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub usage: bool,
}

impl Response {
    /// A refusal.
    pub(crate) fn refused(error: impl Into<String>, usage: bool) -> Self {
        Response { error: Some(error.into()), usage, ..Response::default() }
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Text(text) => Response { ok: true, text: Some(text), ..Response::default() },
            Answer::Json(reply) => Response { ok: true, reply: Some(reply), ..Response::default() },
            Answer::Usage(error) => Response::refused(error, true),
            Answer::Failed(error) => Response::refused(error, false),
            Answer::Gone => Response::refused("tpo is stopping", false),
        }
    }
}

/// A line read from a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// Longer than allowed; the rest of it is still to come.
    TooLong,
    /// The connection ended, perhaps within a line, which is then dropped: it may be cut short.
    End,
}

/// Reads one line of at most `length_max` bytes.
pub(crate) fn read_line(reader: &mut impl BufRead, length_max: usize) -> io::Result<Line> {
    let limit = u64::try_from(length_max.saturating_add(1)).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    reader.by_ref().take(limit).read_until(b'\n', &mut bytes)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        return Ok(Line::Whole(bytes));
    }
    Ok(if bytes.len() > length_max { Line::TooLong } else { Line::End })
}

/// The bytes of a line, its end included.
pub(crate) fn to_line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
