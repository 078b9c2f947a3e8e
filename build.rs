//! Build script of `dpdk-wrapper`.
//!
//! In: the DPDK that pkg-config finds. Out: the compiled C shim, the bindings (bindgen) in
//! `OUT_DIR`, and the list of DPDK libraries to link, shared. Never: a default path or a flag of
//! its own choosing; what pkg-config says goes whole to both compilers.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest DPDK that the shim is written for.
const VERSION_MIN: (u32, u32) = (22, 11);

/// The libraries whose symbols the shim and the bindings name. Drivers are not among them: with
/// shared libraries the EAL loads every driver of its plug-in folder by itself.
const LIBRARIES: [&str; 6] =
    ["rte_hash", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_eal"];

/// Functions that DPDK exports as they are; whatever is inline or a macro there is in the shim.
const FUNCTIONS: [&str; 29] = [
    "rte_eal_cleanup",
    "rte_version",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_get_tsc_hz",
    "rte_mempool_free",
    "rte_mempool_avail_count",
    "rte_pktmbuf_free_bulk",
    "rte_pktmbuf_copy",
    "rte_hash_free",
    "rte_hash_add_key",
    "rte_hash_lookup_bulk",
    "rte_ring_free",
    "rte_eth_dev_is_valid_port",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_dev_close",
    "rte_eth_promiscuous_(enable|disable|get)",
    "rte_eth_allmulticast_(enable|disable|get)",
    "rte_eth_dev_[gs]et_mtu",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_stats_(get|reset)",
    "rte_eth_xstats_(get|get_names|reset)",
    "rte_eth_dev_fw_version_get",
    "rte_eth_dev_get_vlan_offload",
    "rte_eth_dev_[rt]x_offload_name",
    "rte_get_[rt]x_ol_flag_name",
    "shim_.*",
];

fn main() {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let header = package.join("shim/shim.h");
    let source = package.join("shim/shim.c");

    println!("cargo::rerun-if-changed=../build.rs");
    for path in [&header, &source] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    for name in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "LIBCLANG_PATH", "CC"] {
        println!("cargo::rerun-if-env-changed={name}");
    }

    check_version();
    let cflags = pkg_config(&["--cflags", "libdpdk"]);
    compile_shim(&source, &cflags);
    generate_bindings(&header, &cflags, &out.join("bindings.rs"));
    for flag in pkg_config(&["--libs-only-L", "libdpdk"]) {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={folder}");
        }
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

/// Stops the build with a way out when DPDK is absent or too old.
fn check_version() {
    let version = pkg_config(&["--modversion", "libdpdk"]).join(" ");
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found < VERSION_MIN {
        fail(&format!(
            "DPDK {version} is too old, {}.{} or later is needed: run scripts/setup",
            VERSION_MIN.0, VERSION_MIN.1
        ));
    }
    // An upgrade of DPDK rewrites its .pc file.
    for folder in pkg_config(&["--variable=pcfiledir", "libdpdk"]) {
        println!("cargo::rerun-if-changed={}", Path::new(&folder).join("libdpdk.pc").display());
    }
}

/// The words of pkg-config's answer.
fn pkg_config(args: &[&str]) -> Vec<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = match Command::new(&program).args(args).output() {
        Ok(output) => output,
        Err(error) => fail(&format!("cannot run {program} ({error}): run scripts/setup")),
    };
    if !output.status.success() {
        // One line: cargo shows no more of an error.
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        fail(&format!("pkg-config does not find DPDK: run scripts/setup ({reason})"));
    }
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

fn compile_shim(source: &Path, cflags: &[String]) {
    let mut build = cc::Build::new();
    // The shim is the per-packet path: never without optimisation, whatever the profile.
    build.file(source).opt_level(3).std("gnu11").warnings(true);
    // DPDK's headers are the system's: their warnings are not ours.
    for flag in cflags {
        match flag.strip_prefix("-I") {
            Some(folder) => build.flag("-isystem").flag(folder),
            None => build.flag(flag),
        };
    }
    if let Err(error) = build.try_compile("dpdk_shim") {
        fail(&format!("the C shim does not compile ({error}): run scripts/setup"));
    }
}

fn generate_bindings(header: &Path, cflags: &[String], into: &Path) {
    let mut builder = bindgen::Builder::default()
        .header(header.to_string_lossy())
        .clang_args(cflags)
        .use_core()
        .layout_tests(true)
        .generate_comments(false)
        .derive_default(true)
        // Fields are read through the offsets of the shim, not through the struct.
        .opaque_type("rte_mbuf")
        .opaque_type("rte_mempool")
        .opaque_type("rte_ring")
        .blocklist_item("rte_mbuf__bindgen_.*|rte_mbuf_sched.*")
        // Thread-local in DPDK: a plain extern links and then crashes.
        .blocklist_item("per_lcore_.*")
        .allowlist_type("shim_.*")
        .allowlist_type("rte_eth_(stats|xstat|xstat_name)")
        .allowlist_var("SHIM_.*");
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    match builder.generate() {
        Ok(bindings) => {
            if let Err(error) = bindings.write_to_file(into) {
                fail(&format!("cannot write {}: {error}", into.display()));
            }
        }
        Err(error) => fail(&format!("bindgen cannot read DPDK's headers: {error}")),
    }
}

/// One clear line in cargo's output, then the end.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    std::process::exit(1);
}
