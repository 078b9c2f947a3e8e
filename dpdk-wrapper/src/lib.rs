//! The only crate with DPDK in it: bindings and a safe API over them.
