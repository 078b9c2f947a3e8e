//! The folder that DPDK makes for a process and leaves behind.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The option that names it.
const PREFIX: &str = "--file-prefix";

/// The folder of this process; goes away with this value. Keep it longer than the [`Eal`].
///
/// [`Eal`]: crate::Eal
#[derive(Debug)]
pub struct RuntimeFolder(Option<PathBuf>);

impl RuntimeFolder {
    /// The folder that DPDK will make when started with these arguments. One whose name was given
    /// on the command line (`given`, the whole line) may be shared and is left alone.
    #[must_use]
    pub fn of(eal_args: &[String], given: impl IntoIterator<Item = OsString>) -> Self {
        let mut given = given.into_iter();
        let is_given =
            given.any(|argument| argument.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
        let place = eal_args.iter().position(|argument| argument == PREFIX);
        let prefix = place.and_then(|place| eal_args.get(place + 1)).filter(|_| !is_given);
        RuntimeFolder(prefix.map(|prefix| base().join("dpdk").join(prefix)))
    }
}

/// As eal_create_runtime_dir() finds it.
fn base() -> PathBuf {
    let named = |variable| std::env::var_os(variable).filter(|value| !value.is_empty());
    if let Some(folder) = named("RUNTIME_DIRECTORY") {
        return folder.into();
    }
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return "/var/run".into();
    }
    named("XDG_RUNTIME_DIR").map_or_else(|| "/tmp".into(), PathBuf::from)
}

impl Drop for RuntimeFolder {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // It may never have been made.
            let _ = fs::remove_dir_all(folder);
        }
    }
}
