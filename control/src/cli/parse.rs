//! One line into one command.
//!
//! In: a line of text. Out: a [`Command`], or where the line stopped making sense and what would
//! have been expected there. Words may be abbreviated as long as one command word fits.

use std::fmt;

use super::command::{Command, FLOWS_SHOWN_MAX, FlowFilter, Ports};
use super::grammar::{Arguments, COMMANDS, Entry, FILTER_KEYS, Token};
use crate::config::{Action, Prefix, Protocol};

/// Longest line that is looked at, in bytes.
pub const LINE_LENGTH_MAX: usize = 4096;

/// A line that is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// The line.
    pub line: String,
    /// Where it stopped making sense, in characters from 0.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub width: usize,
    /// What was expected.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.line)?;
        writeln!(f, "{:column$}{}", "", "^".repeat(self.width), column = self.column)?;
        f.write_str(&self.message)
    }
}

/// A word of the line and where it begins, in bytes.
#[derive(Clone, Copy)]
struct Span<'a> {
    start: usize,
    text: &'a str,
}

fn words(line: &str) -> Vec<Span<'_>> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(begin) = rest.find(|c: char| !c.is_whitespace()) {
        let text = rest.get(begin..).unwrap_or("");
        let length = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, after) = text.split_at(length);
        words.push(Span { start: line.len() - text.len(), text: word });
        rest = after;
    }
    words
}

/// Reads one line. `None`: it is empty or a comment.
///
/// # Errors
/// Where the line stopped making sense and what would have been expected there.
pub fn parse(line: &str) -> Result<Option<Command>, ParseError> {
    if line.len() > LINE_LENGTH_MAX {
        let message = format!("longer than {LINE_LENGTH_MAX} bytes");
        return Err(ParseError { line: String::new(), column: 0, width: 1, message });
    }
    let words = words(line);
    match words.first() {
        None => return Ok(None),
        Some(first) if first.text.starts_with('#') => return Ok(None),
        Some(_) => {}
    }
    Matcher::new(line).run(&words).map(Some)
}

/// The entries that the words so far can be the beginning of.
struct Matcher<'a> {
    line: &'a str,
    candidates: Vec<&'static Entry>,
    arguments: Arguments,
    /// Number of tokens matched.
    place: usize,
}

impl<'a> Matcher<'a> {
    fn new(line: &'a str) -> Self {
        Matcher {
            line,
            candidates: COMMANDS.iter().collect(),
            arguments: Arguments::default(),
            place: 0,
        }
    }

    fn run(mut self, words: &[Span<'_>]) -> Result<Command, ParseError> {
        let mut index = 0;
        while let Some(word) = words.get(index) {
            let rest = words.get(index..).unwrap_or(&[]);
            index += self.advance(*word, rest)?;
        }
        self.finish()
    }

    /// Takes the next word, or all that are left; returns how many were taken.
    fn advance(&mut self, word: Span<'_>, rest: &[Span<'_>]) -> Result<usize, ParseError> {
        // All candidates agree on the words so far, and in the grammar a place is either words
        // (of several commands) or one kind of argument.
        let token = self.candidates.iter().find_map(|entry| entry.tokens.get(self.place));
        let taken = match token {
            None => return Err(self.error(word, "the command ends before this".to_owned())),
            Some(Token::Word(_)) => {
                self.choose(word)?;
                1
            }
            Some(Token::Ports) => {
                self.arguments.ports = Some(self.ports(word)?);
                1
            }
            Some(Token::Switch) => {
                self.arguments.switch = self.switch(word)?;
                1
            }
            Some(Token::Text(_)) => {
                self.arguments.text = Some(word.text.to_owned());
                1
            }
            Some(Token::Words(_)) => {
                self.arguments.words = rest.iter().map(|word| word.text.to_owned()).collect();
                rest.len()
            }
            Some(Token::Filter) => {
                self.filter(rest)?;
                rest.len()
            }
        };
        self.place += 1;
        Ok(taken)
    }

    /// Keeps the candidates that have `word`, or the one word it abbreviates, here.
    fn choose(&mut self, word: Span<'_>) -> Result<(), ParseError> {
        let expected = self.expected();
        match abbreviated(word.text, &expected) {
            Abbreviation::Of(full) => {
                let place = self.place;
                self.candidates.retain(|entry| entry.tokens.get(place) == Some(&Token::Word(full)));
                Ok(())
            }
            Abbreviation::Ambiguous(fitting) => {
                Err(self.error(word, format!("ambiguous: {}", alternatives(&fitting))))
            }
            Abbreviation::None => {
                Err(self.error(word, format!("expected {}", alternatives(&expected))))
            }
        }
    }

    /// The words that can come next, each once, in the order of the list.
    fn expected(&self) -> Vec<&'static str> {
        let mut expected = Vec::new();
        for entry in &self.candidates {
            if let Some(Token::Word(word)) = entry.tokens.get(self.place)
                && !expected.contains(word)
            {
                expected.push(word);
            }
        }
        expected
    }

    fn ports(&self, word: Span<'_>) -> Result<Ports, ParseError> {
        if let Abbreviation::Of(_) = abbreviated(word.text, &["all"]) {
            return Ok(Ports::All);
        }
        number(word.text)
            .map(Ports::One)
            .ok_or_else(|| self.error(word, "expected a port number or all".to_owned()))
    }

    fn switch(&self, word: Span<'_>) -> Result<bool, ParseError> {
        match abbreviated(word.text, &["on", "off"]) {
            Abbreviation::Of(full) => Ok(full == "on"),
            _ => Err(self.error(word, "expected on or off".to_owned())),
        }
    }

    fn filter(&mut self, words: &[Span<'_>]) -> Result<(), ParseError> {
        let keys: Vec<&'static str> = FILTER_KEYS.iter().map(|(key, _)| *key).collect();
        let mut filter = FlowFilter::default();
        for pair in words.chunks(2) {
            let [key, value @ ..] = pair else { continue };
            let full = match abbreviated(key.text, &keys) {
                Abbreviation::Of(full) => full,
                Abbreviation::Ambiguous(fitting) => {
                    return Err(self.error(*key, format!("ambiguous: {}", alternatives(&fitting))));
                }
                Abbreviation::None => {
                    return Err(self.error(*key, format!("expected {}", alternatives(&keys))));
                }
            };
            let Some(value) = value.first() else {
                let expected = FILTER_KEYS.iter().find(|(key, _)| *key == full);
                let expected = expected.map_or("a value", |(_, value)| value);
                return Err(self.error_at_end(format!("expected {expected} after {full}")));
            };
            narrow(&mut filter, full, value.text).map_err(|message| self.error(*value, message))?;
        }
        self.arguments.filter = filter;
        Ok(())
    }

    fn finish(self) -> Result<Command, ParseError> {
        let complete = self
            .candidates
            .iter()
            .find(|entry| entry.tokens.get(self.place).is_none_or(|token| token.is_optional()));
        if let Some(entry) = complete {
            return Ok((entry.build)(self.arguments));
        }
        let expected = self.expected();
        let message = if expected.is_empty() {
            let next = self.candidates.iter().find_map(|entry| entry.tokens.get(self.place));
            format!("expected {}", next.map(|token| token.shown()).unwrap_or_default())
        } else {
            format!("expected {}", alternatives(&expected))
        };
        Err(self.error_at_end(message))
    }

    fn error(&self, word: Span<'_>, message: String) -> ParseError {
        let before = self.line.get(..word.start).unwrap_or("");
        ParseError {
            line: self.line.replace(|c: char| c.is_control(), " "),
            column: before.chars().count(),
            width: word.text.chars().count().max(1),
            message,
        }
    }

    fn error_at_end(&self, message: String) -> ParseError {
        let line = self.line.trim_end();
        let column = line.chars().count() + 1;
        ParseError { line: line.replace(|c: char| c.is_control(), " "), column, width: 1, message }
    }
}

/// What a word can stand for.
enum Abbreviation {
    Of(&'static str),
    Ambiguous(Vec<&'static str>),
    None,
}

fn abbreviated(word: &str, full: &[&'static str]) -> Abbreviation {
    if let Some(exact) = full.iter().find(|full| **full == word) {
        return Abbreviation::Of(exact);
    }
    let fitting: Vec<_> = full.iter().copied().filter(|full| full.starts_with(word)).collect();
    match fitting[..] {
        [] => Abbreviation::None,
        [only] => Abbreviation::Of(only),
        _ => Abbreviation::Ambiguous(fitting),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn alternatives(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [front @ .., last] => format!("{} or {last}", front.join(", ")),
    }
}

/// Digits and nothing else, so no sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Sets one key of a filter.
fn narrow(filter: &mut FlowFilter, key: &str, value: &str) -> Result<(), String> {
    match key {
        "source" => filter.source = Some(Prefix::parse(value)?),
        "destination" => filter.destination = Some(Prefix::parse(value)?),
        "port" => filter.port = Some(number(value).ok_or("expected a port from 0 to 65535")?),
        "protocol" => {
            let protocol = Protocol::named(value).or_else(|| number(value).map(Protocol::Number));
            filter.protocol =
                Some(protocol.ok_or("expected tcp, udp, icmp, icmpv6, any or a number to 255")?);
        }
        "peer" => filter.peer = Some(value.to_owned()),
        "verdict" => {
            let verdict = Action::NAMES.iter().find(|(name, _)| *name == value);
            let (_, verdict) = verdict.ok_or("expected optimize, tunnel, pass or drop")?;
            filter.verdict = Some(*verdict);
        }
        _ => {
            let limit = number(value).filter(|limit| (1..=FLOWS_SHOWN_MAX).contains(limit));
            filter.limit =
                limit.ok_or_else(|| format!("expected a number from 1 to {FLOWS_SHOWN_MAX}"))?;
        }
    }
    Ok(())
}

/// The words that can stand where the cursor is, and where in the line they begin (in bytes).
#[must_use]
pub fn complete(line: &str, cursor: usize) -> (usize, Vec<&'static str>) {
    let before = line.get(..cursor).unwrap_or(line);
    let mut earlier = words(before);
    let last = if before.ends_with(char::is_whitespace) { None } else { earlier.pop() };
    let start = last.map_or(before.len(), |word| word.start);
    let mut matcher = Matcher::new(before);
    for word in earlier {
        let is_word = matcher
            .candidates
            .iter()
            .any(|entry| matches!(entry.tokens.get(matcher.place), Some(Token::Word(_))));
        let taken = if is_word { matcher.choose(word).is_ok() } else { true };
        if !taken {
            return (start, Vec::new());
        }
        matcher.place += 1;
    }
    let typed = last.map_or("", |word| word.text);
    let mut fitting = matcher.expected();
    for entry in &matcher.candidates {
        match entry.tokens.get(matcher.place) {
            Some(Token::Ports) => fitting.push("all"),
            Some(Token::Switch) => fitting.extend(["on", "off"]),
            Some(Token::Filter) => fitting.extend(FILTER_KEYS.iter().map(|(key, _)| *key)),
            _ => {}
        }
    }
    fitting.sort_unstable();
    fitting.dedup();
    fitting.retain(|word| word.starts_with(typed));
    (start, fitting)
}

#[cfg(test)]
mod tests;
