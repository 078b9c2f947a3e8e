//! The control thread's loop, from the first command to the ordered stop.
//!
//! In: an executor on a started appliance, front ends to open, signals. Out: commands carried out
//! one at a time; the appliance stopped. Never: a wait for a client or the terminal.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, iterator, low_level};

use crate::cli::{
    Backend, Command, CommandError, Executor, Orders, PortView, Ports, ScriptError, prompt,
    run_script,
};
use crate::run::Plan;
use crate::socket::{Server, SocketError};

/// How often the loop looks at signals and does the appliance's housekeeping.
const TICK: Duration = Duration::from_millis(50);

/// What the control thread serves.
#[derive(Clone, Debug, Default)]
pub struct FrontEnds {
    /// Shown at the prompt.
    pub name: String,
    /// Where `tpoctl` comes in; `None`: nowhere.
    pub socket: Option<PathBuf>,
    /// Commands to carry out first.
    pub cmdline_file: Option<PathBuf>,
    /// Whether to prompt for commands.
    pub interactive: bool,
    /// Whether to start forwarding before the first prompt.
    pub auto_start: bool,
    /// How often to show port statistics; zero: never.
    pub stats_period: Duration,
}

impl FrontEnds {
    /// Those that a command line asks for. With a configuration and without a prompt, forwarding
    /// starts at once.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let config = plan.config.as_ref().map(|(_, config)| config);
        let args = &plan.args;
        FrontEnds {
            name: config.map_or("tpo", |config| &config.name).to_owned(),
            socket: config.map(|config| config.control_socket.clone()),
            cmdline_file: args.cmdline_file.clone(),
            interactive: args.interactive,
            auto_start: args.auto_start || config.is_some() && !args.interactive,
            stats_period: Duration::from_secs(args.stats_period.into()),
        }
    }
}

/// Why the control thread ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The command file.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Starting or stopping.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A signal handler or a thread.
    #[error("the system refused a signal handler or a thread: {0}")]
    System(#[from] io::Error),
}

/// Exit code after a second SIGINT or SIGTERM.
const EXIT_AT_ONCE: i32 = 1;
/// For so long, another one is the first once more: who ends a process and its group sends it two.
const SAME_WISH: Duration = Duration::from_millis(100);

/// What standard output says when everything is up, for scripts that wait for it.
const READY: &str = "ready";

/// Serves the front ends until `quit`, SIGINT or SIGTERM, then stops forwarding in order; a second
/// signal ends the process at once. `tick`
/// is called some twenty times a second, for the appliance's housekeeping. Without a prompt,
/// standard output says `ready` once everything is up.
///
/// # Errors
/// A front end could not be opened, or starting or stopping was refused. Forwarding was stopped
/// nevertheless.
pub fn serve<B: Backend>(
    executor: &mut Executor<B>,
    front_ends: &FrontEnds,
    signals: &Signals,
    mut tick: impl FnMut(&mut Executor<B>),
) -> Result<(), ServeError> {
    let served = serve_until_told(executor, front_ends, signals, &mut tick);
    let stopped = if executor.backend().is_forwarding() {
        executor.backend_mut().stop().map_err(ServeError::from)
    } else {
        Ok(())
    };
    served.and(stopped)
}

fn serve_until_told<B: Backend>(
    executor: &mut Executor<B>,
    front_ends: &FrontEnds,
    signals: &Signals,
    tick: &mut impl FnMut(&mut Executor<B>),
) -> Result<(), ServeError> {
    let (source, orders) = Orders::new();
    let socket = match &front_ends.socket {
        Some(path) => Some(Server::open(path, source.clone())?),
        None => None,
    };
    if let Some(path) = &front_ends.cmdline_file {
        run_script(executor, path, &mut io::stdout())?;
    }
    let is_told = executor.is_quitting() || signals.stop.load(Ordering::Relaxed);
    if front_ends.auto_start && !is_told && !executor.backend().is_forwarding() {
        executor.run(&Command::Start)?;
    }
    let _terminal = Terminal::remember(front_ends.interactive);
    if front_ends.interactive && !executor.is_quitting() {
        let name = front_ends.name.clone();
        thread::Builder::new().name("prompt".into()).spawn(move || {
            // A terminal that cannot be read is the end of input.
            if prompt(&name, &source).is_err() {
                let _ = source.ask("quit", false);
            }
        })?;
    } else if !is_told {
        // Nobody is there to be told if standard output is gone.
        let _ = writeln!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    }
    let mut shown = Instant::now();
    while !executor.is_quitting() && !signals.stop.load(Ordering::Relaxed) {
        orders.serve(executor, TICK);
        tick(executor);
        if signals.reload.swap(false, Ordering::Relaxed) {
            say(&executor.run(&Command::Reload(None)));
        }
        if !front_ends.stats_period.is_zero() && shown.elapsed() >= front_ends.stats_period {
            shown = Instant::now();
            say(&executor.run(&Command::ShowPort(PortView::Stats, Ports::All)));
        }
    }
    // In this order: who still waits for an answer is told that there is none, then cut off.
    drop(orders);
    drop(socket);
    Ok(())
}

/// Writes what came of a command that nobody waits for.
fn say<T: std::fmt::Display>(result: &Result<T, CommandError>) {
    // Nobody is there to be told if standard output or error is gone.
    let _ = match result {
        Ok(reply) => write!(io::stdout(), "{reply}").and_then(|()| io::stdout().flush()),
        Err(error) => writeln!(io::stderr(), "tpo: {error}"),
    };
}

/// Signals that came, as flags. While it lives, a second one that is to end tpo does.
#[derive(Debug)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    watch: iterator::Handle,
}

impl Signals {
    /// From now on signals are noted.
    ///
    /// # Errors
    /// The system refused a handler or a thread.
    pub fn register() -> io::Result<Self> {
        let mut ending = iterator::Signals::new([SIGINT, SIGTERM])?;
        let watch = ending.handle();
        let signals = Signals { stop: Arc::default(), reload: Arc::default(), watch };
        // The first one stops in order, which may take a while, and a later one does not wait for
        // it, nor for anything that the control thread is busy with.
        thread::Builder::new().name("signals".into()).spawn(move || {
            let mut first = None;
            for _ in ending.forever() {
                if first.get_or_insert_with(Instant::now).elapsed() >= SAME_WISH {
                    low_level::exit(EXIT_AT_ONCE);
                }
            }
        })?;
        flag::register(SIGINT, Arc::clone(&signals.stop))?;
        flag::register(SIGTERM, Arc::clone(&signals.stop))?;
        flag::register(SIGHUP, Arc::clone(&signals.reload))?;
        Ok(signals)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.watch.close();
    }
}

/// The settings of the terminal, put back at the end: a signal may end tpo while the prompt has
/// the terminal in raw mode.
struct Terminal(Option<Termios>);

impl Terminal {
    fn remember(interactive: bool) -> Self {
        let is_terminal = interactive && io::stdin().is_terminal();
        Terminal(is_terminal.then(|| tcgetattr(io::stdin()).ok()).flatten())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, settings);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;
    use crate::args::CommandLine;
    use crate::cli::fake::Fake;
    use crate::config::Size;
    use crate::machine::Machine;
    use crate::socket::testing::Folder;
    use crate::socket::{Client, Request};

    /// Signals reach every loop of the process.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn a_command_file_is_carried_out_and_forwarding_stopped_at_the_end() {
        let _alone = alone();
        let folder = Folder::new();
        let file = folder.0.join("commands");
        fs::write(&file, "start\nquit\n").unwrap();
        let mut executor = Executor::new(Fake::default());
        let front_ends = FrontEnds {
            cmdline_file: Some(file.clone()),
            auto_start: true,
            ..FrontEnds::default()
        };
        serve(&mut executor, &front_ends, &signals(), |_| {}).unwrap();
        assert_eq!(executor.backend().log, ["start", "stop"]);

        fs::write(&file, "start\nport stop 7\n").unwrap();
        let mut executor = Executor::new(Fake::default());
        let error = serve(&mut executor, &front_ends, &signals(), |_| {}).unwrap_err().to_string();
        assert!(error.contains("commands:2: Invalid port 7"), "{error}");
        assert_eq!(executor.backend().log, ["start", "stop"]);
    }

    #[test]
    fn tpoctl_is_served_until_it_says_quit() {
        let _alone = alone();
        let folder = Folder::new();
        let path = folder.socket();
        let client = {
            let path = path.clone();
            thread::spawn(move || {
                let connected = (0..5_000).find_map(|_| {
                    thread::sleep(Duration::from_millis(1));
                    Client::connect(&path).ok()
                });
                let mut client = connected.unwrap();
                let ask = |command: &str| Request { command: command.into(), json: false };
                client.ask(&ask("port stop 0")).unwrap();
                client.ask(&ask("quit")).unwrap()
            })
        };
        let mut ticks = 0_u32;
        let mut executor = Executor::new(Fake::default());
        let front_ends =
            FrontEnds { socket: Some(path.clone()), auto_start: true, ..FrontEnds::default() };
        serve(&mut executor, &front_ends, &signals(), |_| ticks += 1).unwrap();
        assert!(client.join().unwrap().ok && ticks > 0);
        assert_eq!(executor.backend().log, ["start", "Stop port 0", "stop"]);
        assert!(!path.exists());
    }

    #[test]
    fn a_configuration_without_a_prompt_starts_at_once() {
        let executor = Executor::new(Fake::default());
        let config = executor.backend().config().cloned().unwrap();
        let plan = |line: &str| {
            let argv = line.split(' ').map(std::ffi::OsString::from);
            let args = CommandLine::parse(argv).unwrap().args;
            let machine = Machine { cores: vec![0], memory: Size(1), hugepages_free: Size(0) };
            let config = args.config.clone().map(|path| (path, config.clone()));
            let warnings = crate::config::ConfigWarnings::default();
            FrontEnds::of(&Plan { args, config, machine, warnings, eal_args: Vec::new() })
        };
        let at_once = plan("tpo --config a.toml --stats-period 5");
        assert!(at_once.auto_start && !at_once.interactive);
        assert_eq!(at_once.socket, Some("/run/tpo/small.sock".into()));
        assert_eq!((at_once.name.as_str(), at_once.stats_period.as_secs()), ("small", 5));
        let prompt = plan("tpo --config a.toml -i");
        assert!(prompt.interactive && !prompt.auto_start);
        assert!(plan("tpo --config a.toml -i --auto-start").auto_start);
        let pairwise = plan("tpo -i");
        assert_eq!((pairwise.name.as_str(), pairwise.socket), ("tpo", None));
        assert!(!pairwise.auto_start);
    }

    fn signals() -> Signals {
        Signals::register().unwrap()
    }

    #[test]
    fn hangup_reloads() {
        let _alone = alone();
        let mut executor = Executor::new(Fake::default());
        let mut ticks = 0_u32;
        serve(&mut executor, &FrontEnds::default(), &signals(), |executor| {
            ticks += 1;
            if ticks == 1 {
                signal_hook::low_level::raise(SIGHUP).unwrap();
            } else if ticks > 3 {
                executor.run(&Command::Quit).unwrap();
            }
        })
        .unwrap();
        assert_eq!(executor.backend().log, ["reload None"]);
    }
}
