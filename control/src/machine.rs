//! What the machine has: cores and memory.
//!
//! In: the operating system's own tables. Out: plain data, which configuration checks and the
//! derivation of EAL arguments take as an argument. Never: a change to the machine.

use std::fs;
use std::path::Path;

use crate::config::Size;

/// What the machine has for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Numbers of the cores this process may use, ascending; never empty.
    pub cores: Vec<usize>,
    /// All memory.
    pub memory: Size,
    /// Free hugepages, if there is a hugetlbfs to map them from; else 0.
    pub hugepages_free: Size,
}

impl Machine {
    /// Asks the operating system. Call it before EAL starts: EAL narrows the set of cores.
    #[must_use]
    pub fn detect() -> Self {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let mut cores: Vec<usize> = ids.into_iter().map(|core| core.id).collect();
        if cores.is_empty() {
            cores.push(0);
        }
        cores.sort_unstable();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let hugepages = free_hugepages(Path::new("/sys/kernel/mm/hugepages"));
        Machine {
            cores,
            memory: memory_total(&meminfo),
            hugepages_free: if has_hugetlbfs(&mounts) { hugepages } else { Size(0) },
        }
    }
}

fn memory_total(meminfo: &str) -> Size {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Size(kib.unwrap_or(0).saturating_mul(1024))
}

fn has_hugetlbfs(mounts: &str) -> bool {
    mounts.lines().any(|line| line.split(' ').nth(2) == Some("hugetlbfs"))
}

/// Sum over the page sizes; the folders are named `hugepages-2048kB`.
fn free_hugepages(folder: &Path) -> Size {
    let mut bytes: u64 = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let kib = name.to_str().and_then(|name| {
            name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()
        });
        let free = fs::read_to_string(entry.path().join("free_hugepages"))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        if let (Some(kib), Some(free)) = (kib, free) {
            bytes = bytes.saturating_add(kib.saturating_mul(1024).saturating_mul(free));
        }
    }
    Size(bytes)
}

/// Whether the processor has instructions for AES and for carry-less multiplication: then AES-GCM
/// is the faster cipher.
#[must_use]
pub fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_linux_are_read() {
        assert_eq!(
            memory_total("MemTotal:       8000000 kB\nMemFree: 1 kB\n"),
            Size(8_192_000_000)
        );
        assert_eq!(memory_total("nothing"), Size(0));
        assert!(has_hugetlbfs("hugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n"));
        assert!(!has_hugetlbfs("tmpfs /dev/hugepages tmpfs rw 0 0\n"));
        let machine = Machine::detect();
        assert!(!machine.cores.is_empty() && machine.memory > Size(0));
    }

    #[test]
    fn free_hugepages_are_summed_over_page_sizes() {
        let folder = std::env::temp_dir().join(format!("tpo-hugepages-{}", std::process::id()));
        for (name, free) in
            [("hugepages-2048kB", "3\n"), ("hugepages-1048576kB", "1\n"), ("other", "9")]
        {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("free_hugepages"), free).unwrap();
        }
        assert_eq!(free_hugepages(&folder), Size((1 << 30) + 3 * (2 << 20)));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(free_hugepages(&folder), Size(0));
    }
}
