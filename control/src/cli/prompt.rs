//! The prompt: lines from a terminal, or from whatever standard input is.
//!
//! On a terminal, lines can be edited, recalled and completed. A script piped in is read line by
//! line; its end, like that of the terminal (Ctrl-D), is `quit`. An error is shown and the next
//! line is read, as testpmd does.

use std::io::{self, BufRead, IsTerminal, Write};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};

use super::orders::{Answer, Source};
use super::parse::{LINE_LENGTH_MAX, complete};

/// Where lines come from. `None` at the end.
trait Lines {
    fn next(&mut self) -> io::Result<Option<String>>;
}

/// Reads lines and hands them to the control thread, until `quit` or the end of input.
///
/// # Errors
/// The terminal cannot be read or written.
pub fn prompt(name: &str, source: &Source) -> io::Result<()> {
    let output = &mut io::stdout();
    if io::stdin().is_terminal() {
        let mut lines = Terminal::new(name)?;
        converse(&mut lines, source, output)
    } else {
        converse(&mut Plain(io::stdin().lock()), source, output)
    }
}

fn converse(lines: &mut impl Lines, source: &Source, output: &mut impl Write) -> io::Result<()> {
    loop {
        let line = lines.next()?;
        let ended = line.is_none();
        match source.ask(line.as_deref().unwrap_or("quit"), false) {
            Answer::Text(text) => write!(output, "{text}")?,
            Answer::Json(value) => writeln!(output, "{value}")?,
            Answer::Usage(error) | Answer::Failed(error) => writeln!(output, "{error}")?,
            Answer::Gone => return Ok(()),
        }
        output.flush()?;
        if ended {
            return Ok(());
        }
    }
}

/// Standard input that is no terminal.
struct Plain<R>(R);

impl<R: BufRead> Lines for Plain<R> {
    fn next(&mut self) -> io::Result<Option<String>> {
        // One byte more than the longest line, so that the parser refuses what is longer.
        let limit = u64::try_from(LINE_LENGTH_MAX + 2).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        let mut limited = io::Read::take(&mut self.0, limit);
        if limited.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        if !bytes.ends_with(b"\n") {
            // What follows of this line is no command of its own.
            self.0.skip_until(b'\n')?;
        }
        Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// A terminal with editing, history and completion.
struct Terminal {
    editor: Editor<Completion, MemHistory>,
    prompt: String,
}

impl Terminal {
    fn new(name: &str) -> io::Result<Self> {
        let config =
            rustyline::Config::builder().auto_add_history(true).bracketed_paste(false).build();
        let mut editor = Editor::with_history(config, MemHistory::new()).map_err(into_io)?;
        editor.set_helper(Some(Completion));
        Ok(Terminal { editor, prompt: format!("{name}> ") })
    }
}

impl Lines for Terminal {
    fn next(&mut self) -> io::Result<Option<String>> {
        match self.editor.readline(&self.prompt) {
            Ok(line) => Ok(Some(line)),
            // Ctrl-C clears the line, Ctrl-D ends.
            Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
            Err(ReadlineError::Eof) => Ok(None),
            Err(error) => Err(into_io(error)),
        }
    }
}

fn into_io(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Completes command words.
struct Completion;

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let (start, words) = complete(line, cursor);
        Ok((start, words.into_iter().map(|word| format!("{word} ")).collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}

impl Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::thread;
    use std::time::Duration;

    use super::super::executor::Executor;
    use super::super::fake::Fake;
    use super::super::orders::Orders;
    use super::*;

    /// What a script piped in has for output.
    fn session(script: &[u8]) -> (String, Executor<Fake>) {
        let (source, orders) = Orders::new();
        let mut lines = Plain(Cursor::new(script.to_vec()));
        let front_end = thread::spawn(move || {
            let mut output = Vec::new();
            converse(&mut lines, &source, &mut output).unwrap();
            String::from_utf8(output).unwrap()
        });
        let mut executor = Executor::new(Fake::default());
        while !front_end.is_finished() {
            orders.serve(&mut executor, Duration::from_millis(1));
        }
        (front_end.join().unwrap(), executor)
    }

    #[test]
    fn a_piped_script_is_carried_out_to_its_end_over_errors() {
        let (output, executor) = session(b"start\nfrob\r\nport stop 7\n# done\nport stop 0");
        assert!(output.contains("expected start, stop, quit"), "{output}");
        assert!(output.contains("Invalid port 7"), "{output}");
        assert_eq!(executor.backend().log, ["start", "Stop port 0"]);
        assert!(executor.is_quitting(), "the end of input is quit");
    }

    #[test]
    fn binary_and_endless_lines_are_errors_and_no_more() {
        let mut script = vec![0xff, 0x00, b'\n'];
        script.extend(vec![b'a'; 3 * LINE_LENGTH_MAX]);
        script.extend(b"\nstart\n");
        let (output, executor) = session(&script);
        assert_eq!(output.matches("longer than 4096 bytes").count(), 1, "{output}");
        assert_eq!(executor.backend().log, ["start"]);
    }
}
