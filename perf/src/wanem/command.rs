//! The lines that the control socket understands.
//!
//! In: a line. Out: a command, or one sentence on what is wrong.

use super::Direction;
use super::settings::{SettingError, Settings};

/// What can be asked of a running emulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `stats`: everything counted so far.
    Stats,
    /// `down [DIRECTION]`, `up [DIRECTION]`: cuts or restores the link.
    Up(&'static [Direction], bool),
    /// `blackhole on|off [DIRECTION]`: swallows everything that comes, or stops doing so.
    BlackHole(&'static [Direction], bool),
    /// `set DIRECTION KEY VALUE`: changes a setting; both directions are changed or none.
    Set(&'static [Direction], String, String),
}

/// Why a line is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Not a command.
    #[error(
        "{0:?} is not understood; commands are: stats, down [DIRECTION], up [DIRECTION], \
         blackhole on|off [DIRECTION], set DIRECTION KEY VALUE, \
         DIRECTION being a-to-b, b-to-a or both"
    )]
    NotUnderstood(String),
    /// A setting is refused.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

impl Command {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// [`CommandError::NotUnderstood`].
    pub fn parse(line: &str) -> Result<Command, CommandError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let direction = |word: Option<&&str>| Direction::from_word(word.copied().unwrap_or("both"));
        let command = match words.as_slice() {
            ["stats"] => Some(Command::Stats),
            [state @ ("up" | "down"), rest @ ..] if rest.len() <= 1 => {
                direction(rest.first()).map(|which| Command::Up(which, *state == "up"))
            }
            ["blackhole", state @ ("on" | "off"), rest @ ..] if rest.len() <= 1 => {
                direction(rest.first()).map(|which| Command::BlackHole(which, *state == "on"))
            }
            ["set", which, key, value] => Direction::from_word(which)
                .map(|which| Command::Set(which, (*key).to_owned(), (*value).to_owned())),
            _ => None,
        };
        command.ok_or_else(|| CommandError::NotUnderstood(line.trim().to_owned()))
    }

    /// Makes the change that the command asks for.
    ///
    /// # Errors
    ///
    /// [`CommandError::Setting`]; then nothing has changed.
    pub fn change(&self, settings: &mut [Settings; 2]) -> Result<(), CommandError> {
        let mut changed = settings.clone();
        match self {
            Command::Stats => {}
            Command::Up(which, up) => {
                which.iter().for_each(|direction| changed[direction.index()].set_up(*up));
            }
            Command::BlackHole(which, on) => {
                which.iter().for_each(|direction| changed[direction.index()].set_black_hole(*on));
            }
            Command::Set(which, key, value) => {
                for direction in *which {
                    changed[direction.index()].set(key, value)?;
                }
            }
        }
        *settings = changed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wanem::settings::link_configs;

    fn after(lines: &[&str]) -> [dataplane_sim::link::LinkConfig; 2] {
        let mut settings = [Settings::default(), Settings::default()];
        for line in lines {
            Command::parse(line).unwrap().change(&mut settings).unwrap();
        }
        link_configs(&settings)
    }

    #[test]
    fn commands_change_what_they_name_and_nothing_else() {
        let [a_to_b, b_to_a] = after(&["set a-to-b delay 1ms", "down b-to-a", "blackhole on"]);
        assert_eq!((a_to_b.delay_ns, a_to_b.up, a_to_b.black_hole), (1_000_000, true, true));
        assert_eq!((b_to_a.delay_ns, b_to_a.up, b_to_a.black_hole), (0, false, true));
    }

    #[test]
    fn what_was_cut_can_be_restored() {
        let configs = after(&["down", "blackhole on b-to-a", "up", "blackhole off"]);
        assert!(configs.iter().all(|config| config.up && !config.black_hole));
    }

    #[test]
    fn nonsense_is_refused_with_help() {
        for line in ["", "set loss 1%", "down sideways", "blackhole", "stats now", "up both both"] {
            let error = Command::parse(line).unwrap_err().to_string();
            assert!(error.contains("commands are: stats"), "{line}: {error}");
        }
        let mut settings = [Settings::default(), Settings::default()];
        let bad = Command::parse("set both loss 7").unwrap().change(&mut settings);
        assert!(matches!(bad, Err(CommandError::Setting(_))));
        assert_eq!(settings, [Settings::default(), Settings::default()]);
    }
}
