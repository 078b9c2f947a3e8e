//! The program `tpoctl`: commands to a running tpo, one or many.
//!
//! Exit codes: 0 carried out, 1 refused or nobody there, 2 wrong arguments or no command.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::{self, Command};
use crate::socket::{Client, Request, Response, SOCKET_FOLDER, SocketError};

/// Sends commands to a running tpo.
#[derive(Debug, Parser)]
#[command(
    name = "tpoctl",
    version,
    override_usage = "tpoctl [options] COMMAND...\n       tpoctl [options] < FILE",
    after_help = "`tpoctl help` lists the commands. Without COMMAND, commands are read from \
                  standard input, one per line, up to the first error.",
    disable_help_subcommand = true
)]
struct Args {
    /// Socket of the tpo (default: the only one in /run/tpo)
    #[arg(long, value_name = "PATH", conflicts_with = "name")]
    socket: Option<PathBuf>,
    /// Name of the tpo, for its socket in /run/tpo
    #[arg(long)]
    name: Option<String>,
    /// Write replies as JSON, one per line
    #[arg(long)]
    json: bool,
    /// A command of tpo's prompt
    command: Vec<String>,
}

/// Why tpoctl ends without success.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Nobody there.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No tpo, or several, to choose from.
    #[error("{0}")]
    Choice(String),
    /// Input or output.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Refused by tpo.
    #[error("{message}")]
    Refused {
        /// Its words.
        message: String,
        /// Whether it is no command at all.
        usage: bool,
    },
}

impl Failure {
    fn exit_code(&self) -> u8 {
        if matches!(self, Failure::Refused { usage: true, .. }) { 2 } else { 1 }
    }
}

/// Runs `tpoctl` with the process's arguments, standard input, output and error.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    ExitCode::from(run(argv, &mut input, &mut output, &mut io::stderr()))
}

fn run(
    argv: impl IntoIterator<Item = OsString>,
    input: &mut impl BufRead,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> u8 {
    let args = match Args::try_parse_from(argv) {
        Ok(args) => args,
        Err(error) => {
            let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let text = error.render().to_string();
            // Nothing is left to be done if the terminal is gone.
            let _ = if help {
                output.write_all(text.as_bytes())
            } else {
                errors.write_all(text.as_bytes())
            };
            return if help { 0 } else { 2 };
        }
    };
    match carry_out(&args, input, output) {
        Ok(()) => 0,
        Err(failure) => {
            let _ = writeln!(errors, "tpoctl: {failure}");
            failure.exit_code()
        }
    }
}

fn carry_out(
    args: &Args,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let command = args.command.join(" ");
    if let Ok(Some(Command::Help(words))) = cli::parse(&command) {
        // The same in every tpo of this version: nobody has to be asked.
        let help = cli::help(&words);
        if args.json {
            serde_json::to_writer(&mut *output, &help).map_err(io::Error::from)?;
            writeln!(output)?;
        } else {
            write!(output, "{help}")?;
        }
        return Ok(());
    }
    let socket = match (&args.socket, &args.name) {
        (Some(socket), _) => socket.clone(),
        (None, Some(name)) => Path::new(SOCKET_FOLDER).join(format!("{name}.sock")),
        (None, None) => only_socket(Path::new(SOCKET_FOLDER))?,
    };
    let mut client = Client::connect(&socket)?;
    if !command.is_empty() {
        return one(&mut client, &command, args.json, output);
    }
    for (index, line) in input.lines().enumerate() {
        one(&mut client, &line?, args.json, output).map_err(|failure| match failure {
            Failure::Refused { message, usage } => {
                Failure::Refused { message: format!("line {}: {message}", index + 1), usage }
            }
            other => other,
        })?;
    }
    Ok(())
}

/// The command with the file that it names, if any, as meant from where we are, not from where
/// tpo is.
fn located(command: &str) -> Result<String, Failure> {
    let Ok(Some(Command::Reload(Some(file)))) = cli::parse(command) else {
        return Ok(command.to_owned());
    };
    let file = std::path::absolute(file)?;
    let path = file.display().to_string();
    if path.contains(char::is_whitespace) {
        return Err(Failure::Choice(format!(
            "\"{path}\": a command cannot name a file with a space in its path; move it, or use \
             another folder"
        )));
    }
    Ok(format!("reload {path}"))
}

fn one(
    client: &mut Client,
    command: &str,
    json: bool,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let response = client.ask(&Request { command: located(command)?, json })?;
    match response {
        Response { ok: true, text, reply, .. } => {
            if let Some(reply) = reply {
                writeln!(output, "{reply}")?;
            }
            output.write_all(text.unwrap_or_default().as_bytes())?;
            output.flush()?;
            Ok(())
        }
        Response { error, usage, .. } => Err(Failure::Refused {
            message: error.unwrap_or_else(|| "refused without a reason".to_owned()),
            usage,
        }),
    }
}

/// The socket in `folder`, if there is one only.
fn only_socket(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .collect();
    sockets.sort();
    match &sockets[..] {
        [only] => Ok(only.clone()),
        [] => Err(Failure::Choice(format!(
            "no tpo runs: there is no socket in {}; name another with --socket",
            folder.display()
        ))),
        several => {
            let names: Vec<_> = several
                .iter()
                .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
                .collect();
            Err(Failure::Choice(format!("several tpo run: choose with --name {}", names.join("|"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use super::*;
    use crate::socket::testing::{Folder, Running};

    /// Exit code, output and errors of one run.
    fn tpoctl(arguments: &[&str], input: &str) -> (u8, String, String) {
        let argv = std::iter::once("tpoctl").chain(arguments.iter().copied()).map(OsString::from);
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let code = run(argv, &mut Cursor::new(input), &mut output, &mut errors);
        (code, String::from_utf8(output).unwrap(), String::from_utf8(errors).unwrap())
    }

    #[test]
    fn a_file_is_meant_from_where_tpoctl_stands() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(located("reload a.toml").unwrap(), format!("reload {}/a.toml", here.display()));
        assert_eq!(located("rel a.toml").unwrap(), format!("reload {}/a.toml", here.display()));
        for command in ["reload /etc/tpo/a.toml", "reload", "show rule", "reload a b"] {
            assert_eq!(located(command).unwrap(), command);
        }
    }

    #[test]
    fn help_needs_no_tpo() {
        let asked = |command: &[&str]| {
            tpoctl(&[&["--socket", "/nonexistent/tpo.sock"][..], command].concat(), "")
        };
        let (code, output, errors) = asked(&["help", "clear"]);
        assert_eq!((code, errors.as_str()), (0, ""));
        let commands: Vec<_> = output.lines().filter(|line| !line.starts_with(' ')).collect();
        assert!(commands.len() >= 2, "{output}");
        assert!(commands.iter().all(|command| command.starts_with("clear ")), "{output}");
        let (code, output, _) = asked(&["--json", "help", "show", "peer"]);
        let reply: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!((code, &reply["commands"][0]["syntax"]), (0, &"show peer [NAME]".into()));
        assert_eq!(asked(&["show", "peer"]).0, 1);
    }

    #[test]
    fn one_command_and_its_exit_code() {
        let folder = Folder::new();
        let path = folder.socket();
        let socket = path.to_str().unwrap();
        let running = Running::at(&path);
        let (code, output, errors) = tpoctl(&["--socket", socket, "show", "rule"], "");
        assert_eq!((code, errors.as_str()), (0, ""));
        assert!(output.contains("matches and does"), "{output}");
        let (code, output, _) = tpoctl(&["--socket", socket, "show", "peer", "--json"], "");
        let json: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!((code, &json["peers"][0]["name"]), (0, &"site-b".into()));
        let (code, output, errors) = tpoctl(&["--socket", socket, "stop"], "");
        assert_eq!((code, output.as_str()), (1, ""));
        assert_eq!(errors, "tpoctl: Packet forwarding not started\n");
        let (code, _, errors) = tpoctl(&["--socket", socket, "frob"], "");
        assert!(code == 2 && errors.contains("^^^^"), "{errors}");
        assert!(running.end().backend().log.is_empty());
    }

    #[test]
    fn a_batch_stops_at_its_first_error() {
        let folder = Folder::new();
        let path = folder.socket();
        let running = Running::at(&path);
        let batch = "# begin\nstart\nport stop 7\nport stop 0\n";
        let (code, _, errors) = tpoctl(&["--socket", path.to_str().unwrap()], batch);
        assert_eq!(code, 1);
        assert!(errors.starts_with("tpoctl: line 3: Invalid port 7"), "{errors}");
        assert_eq!(running.end().backend().log, ["start"]);
    }

    #[test]
    fn wrong_arguments_and_nobody_there() {
        let (code, _, errors) = tpoctl(&["--socket"], "");
        assert!(code == 2 && errors.contains("--socket"), "{errors}");
        let (code, output, _) = tpoctl(&["--help"], "");
        assert!(code == 0 && output.contains("COMMAND"), "{output}");
        let (code, _, errors) = tpoctl(&["--socket", "/nonexistent/a.sock", "stop"], "");
        assert!(code == 1 && errors.contains("no tpo answers here"), "{errors}");
    }

    #[test]
    fn the_only_socket_is_found() {
        let folder = Folder::new();
        assert!(only_socket(&folder.0).unwrap_err().to_string().contains("no tpo runs"));
        fs::write(folder.0.join("a.sock"), "").unwrap();
        assert_eq!(only_socket(&folder.0).unwrap(), folder.0.join("a.sock"));
        fs::write(folder.0.join("b.sock"), "").unwrap();
        let error = only_socket(&folder.0).unwrap_err().to_string();
        assert!(error.ends_with("--name a|b"), "{error}");
    }
}
