//! Tables of a TOML file, read key by key without stopping at an error.
//!
//! In: a parsed table with the place of each key. Out: typed values; a value that is wrong is
//! reported and replaced by a valid one, so that the rest of the file is still read and checked.
//! Never: a key that nobody asked for goes unreported.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::error::Report;
use super::{
    CoreList, Device, InterfaceAddress, LIST_ENTRIES_MAX, PeerRate, Prefix, Rate, Size, check_host,
    format_duration, parse_duration,
};

/// A type that a value of the file is read as.
pub(crate) trait Value: Sized {
    /// The typed value, or a sentence that says what to write instead.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
}

/// A value with a sane range.
pub(crate) trait Bounded: Value + PartialOrd {
    /// As the file writes it.
    fn written(&self) -> String;
}

/// One table of the file while it is read.
pub(crate) struct Section<'t, 'r, 'a> {
    table: &'t DeTable<'t>,
    /// Empty for the whole file.
    name: String,
    /// Where the table begins.
    span: Range<usize>,
    asked: Vec<&'static str>,
    /// Where errors go.
    pub(crate) report: &'r mut Report<'a>,
}

impl<'t, 'r, 'a> Section<'t, 'r, 'a> {
    /// The whole file.
    pub(crate) fn root(table: &'t Spanned<DeTable<'t>>, report: &'r mut Report<'a>) -> Self {
        Section {
            table: table.get_ref(),
            name: String::new(),
            span: 0..0,
            asked: Vec::new(),
            report,
        }
    }

    /// The name of `key` in errors: `peer[0].rate`.
    pub(crate) fn path(&self, key: impl fmt::Display) -> String {
        if self.name.is_empty() { key.to_string() } else { format!("{}.{key}", self.name) }
    }

    fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Whether the file has this key, readable or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A value that may be left out.
    pub(crate) fn optional<T: Value>(&mut self, key: &'static str) -> Option<T> {
        let value = self.get(key)?;
        let path = self.path(key);
        match T::read(value.get_ref()) {
            Ok(read) => {
                self.report.place(path, value.span());
                Some(read)
            }
            Err(message) => {
                self.report.error(value.span().start, format!("{path}: {message}"));
                None
            }
        }
    }

    /// A value that has a default.
    pub(crate) fn or<T: Value>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// A value that has a default and a sane range.
    pub(crate) fn within<T: Bounded>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let Some(value) = self.optional::<T>(key) else { return default };
        if range.contains(&value) {
            return value;
        }
        let path = self.path(key);
        let (low, high) = (range.start().written(), range.end().written());
        self.report
            .error_at(&path, format!("{} is out of range; write {low} to {high}", value.written()));
        default
    }

    /// A value that must be there; `example` is one, and stands in for it after an error.
    pub(crate) fn required<T: Value>(
        &mut self,
        key: &'static str,
        example: &'static str,
    ) -> Option<T> {
        self.required_because(key, example, "")
    }

    /// A value that must be there, and what to know before writing it.
    pub(crate) fn required_because<T: Value>(
        &mut self,
        key: &'static str,
        example: &'static str,
        reason: &str,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.missing(key, &format!("{key} = \"{example}\"{reason}"));
        }
        self.optional(key).or_else(|| T::read(&DeValue::String(example.into())).ok())
    }

    /// The entries of a list that could be read; empty if it is left out.
    pub(crate) fn list<T: Value>(&mut self, key: &'static str) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let path = self.path(key);
        let start = value.span().start;
        let Some(array) = value.get_ref().as_array() else {
            let found = value.get_ref().type_str();
            self.report.error(
                start,
                format!("{path}: must be a list, as in [...], not {}", article(found)),
            );
            return Vec::new();
        };
        if array.len() > LIST_ENTRIES_MAX {
            self.report.error(
                start,
                format!("{path}: {} entries; at most {LIST_ENTRIES_MAX} are possible", array.len()),
            );
            return Vec::new();
        }
        let mut read = Vec::new();
        for entry in array {
            match T::read(entry.get_ref()) {
                Ok(value) => {
                    self.report.place(format!("{path}[{}]", read.len()), entry.span());
                    read.push(value);
                }
                Err(message) => {
                    self.report.error(entry.span().start, format!("{path}: {message}"));
                }
            }
        }
        self.report.place(path, value.span());
        read
    }

    /// A list that must be there and not empty.
    pub(crate) fn required_list<T: Value>(
        &mut self,
        key: &'static str,
        example: &'static str,
    ) -> Vec<T> {
        let empty = self
            .table
            .get(key)
            .is_some_and(|value| value.get_ref().as_array().is_some_and(|array| array.is_empty()));
        if empty || !self.table.contains_key(key) {
            self.missing(key, &format!("{key} = [\"{example}\"]"));
        }
        self.list(key)
    }

    /// A table that must be there.
    pub(crate) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'t, '_, 'a>) -> T,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.missing(key, &format!("[{key}]"));
        }
        self.optional_section(key, read)
    }

    /// A table that may be left out.
    pub(crate) fn optional_section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'t, '_, 'a>) -> T,
    ) -> Option<T> {
        let value = self.get(key)?;
        let path = self.path(key);
        self.subsection(value, path, &format!("[{key}]"), read)
    }

    /// An array of tables; empty if it is left out.
    pub(crate) fn sections<T>(
        &mut self,
        key: &'static str,
        count_max: usize,
        mut read: impl FnMut(&mut Section<'t, '_, 'a>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let path = self.path(key);
        let start = value.span().start;
        let header = format!("[[{key}]]");
        let Some(array) = value.get_ref().as_array() else {
            self.report.error(
                start,
                format!("{path}: write {header} with two brackets: there may be several"),
            );
            return Vec::new();
        };
        if array.len() > count_max {
            self.report.error(
                start,
                format!("{path}: {} of them; at most {count_max} are possible", array.len()),
            );
            return Vec::new();
        }
        let mut found = Vec::new();
        for table in array {
            let name = format!("{path}[{}]", found.len());
            found.extend(self.subsection(table, name, &header, &mut read));
        }
        found
    }

    fn subsection<T>(
        &mut self,
        value: &'t Spanned<DeValue<'t>>,
        name: String,
        header: &str,
        read: impl FnOnce(&mut Section<'t, '_, 'a>) -> T,
    ) -> Option<T> {
        let span = value.span();
        let Some(table) = value.get_ref().as_table() else {
            self.report.error(
                span.start,
                format!("{name}: must be a table; write {header} and its keys below"),
            );
            return None;
        };
        self.report.place(name.clone(), span.clone());
        let report = &mut *self.report;
        let mut section = Section { table, name, span, asked: Vec::new(), report };
        let result = read(&mut section);
        section.report_unknown();
        Some(result)
    }

    fn missing(&mut self, key: &str, example: &str) {
        let path = self.path(key);
        self.report.missing(self.span.start, format!("{path}: missing; add one, as in {example}"));
    }

    /// Reports the keys that nobody asked for. Call after the last key was read.
    pub(crate) fn report_unknown(&mut self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let path = self.path(name.escape_debug());
            let advice = match self.asked.iter().find(|known| is_near(known, name)) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            self.report.error(key.span().start, format!("{path}: unknown key; {advice}"));
        }
    }
}

/// Whether two names differ by one letter put in, left out or replaced, or by an ending.
fn is_near(known: &str, name: &str) -> bool {
    if name.len() >= 3 && (known.starts_with(name) || name.starts_with(known)) {
        return true;
    }
    let same = |(a, b): &(char, char)| a == b;
    let front = known.chars().zip(name.chars()).take_while(same).count();
    let back = known.chars().rev().zip(name.chars().rev()).take_while(same).count();
    let longest = known.chars().count().max(name.chars().count());
    longest > 2 && front + back + 1 >= longest
}

fn article(type_name: &str) -> String {
    let vowel = type_name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {type_name}", if vowel { "an" } else { "a" })
}

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("must be text in quotes, not {}", article(value.type_str())))
}

/// Text with a unit; a bare number is passed on, for the error that says which units there are.
fn with_unit<T>(value: &DeValue<'_>, parse: fn(&str) -> Result<T, String>) -> Result<T, String> {
    match value.as_integer() {
        Some(number) => parse(&number.to_string()),
        None => parse(text(value)?),
    }
}

fn integer(value: &DeValue<'_>) -> Result<u64, String> {
    let not_whole = || format!("must be a whole number, not {}", article(value.type_str()));
    let number = value.as_integer().ok_or_else(not_whole)?;
    to_u64(number).ok_or_else(|| format!("{number} is out of range"))
}

fn to_u64(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

impl Value for String {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value).map(str::to_owned)
    }
}

impl Value for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value).map(PathBuf::from)
    }
}

impl Value for Device {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value).and_then(Device::parse)
    }
}

impl Value for InterfaceAddress {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value).and_then(InterfaceAddress::parse)
    }
}

impl Value for Prefix {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value).and_then(Prefix::parse)
    }
}

impl Value for IpAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        let address = text.parse().map_err(|_| {
            format!("\"{text}\" is not an address; write one as in \"10.77.1.254\"")
        })?;
        check_host(address)?;
        Ok(address)
    }
}

impl Value for SocketAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        let endpoint: SocketAddr = text.parse().map_err(|_| {
            format!(
                "\"{text}\" is not an endpoint; write an address and a port, as in \
                 \"10.77.2.2:4980\" or \"[fd77::2:2]:4980\""
            )
        })?;
        check_host(endpoint.ip())?;
        if endpoint.port() == 0 {
            return Err(format!("\"{text}\" has port 0; write the peer's UDP port"));
        }
        Ok(endpoint)
    }
}

/// A number, or a list of numbers.
impl Value for CoreList {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_array() {
            None => usize::read(value).map(CoreList::one),
            Some(cores) => {
                let cores = cores.iter().map(|core| usize::read(core.get_ref()));
                CoreList::new(cores.collect::<Result<_, _>>()?)
            }
        }
    }
}

impl Value for PeerRate {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        if value.as_str() == Some("auto") {
            return Ok(PeerRate::Auto);
        }
        Rate::read(value).map(PeerRate::Fixed).map_err(|message| format!("{message}, or \"auto\""))
    }
}

impl Value for Rate {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        with_unit(value, Rate::parse)
    }
}

impl Value for Size {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_integer() {
            Some(_) => integer(value).map(Size),
            None => text(value).and_then(Size::parse),
        }
    }
}

impl Value for Duration {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        with_unit(value, parse_duration)
    }
}

impl Bounded for Rate {
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Bounded for Size {
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Bounded for Duration {
    fn written(&self) -> String {
        format_duration(*self)
    }
}

/// Whole numbers of the file.
macro_rules! integers {
    ($($type:ty),+) => {
        $(
            impl Value for $type {
                fn read(value: &DeValue<'_>) -> Result<Self, String> {
                    let number = integer(value)?;
                    <$type>::try_from(number).map_err(|_| format!("{number} is more than {}", <$type>::MAX))
                }
            }

            impl Bounded for $type {
                fn written(&self) -> String {
                    self.to_string()
                }
            }
        )+
    };
}

integers!(u8, u16, u32, usize);
