//! The appliance: devices, workers, and what the commands see of it.
//!
//! | file | what is in it |
//! |---|---|
//! | `devices`, `ports` | EAL, pool and ports of a configuration; ports as the commands see them |
//! | `convert`, `running` | what the dataplane is made from; workers at work, and their ordered stop |
//! | `places`, `handover` | which place each peer has; peers that come and go |
//! | `exchange_thread` | the thread that makes keys |
//! | `backend` | the commands on it |
//! | `counters`, `flows`, `peers`, `load` | what they show |
//! | `pairwise` | the commands without a configuration: forwarding between ports |
//! | `precheck` | what devices need of the system |
//! | `start_log` | DPDK's words |

pub mod backend;
pub mod convert;
mod counters;
pub mod devices;
mod exchange_thread;
mod flows;
mod handover;
mod load;
pub mod pairwise;
mod peers;
pub mod places;
pub mod ports;
mod precheck;
pub mod running;
mod start_log;

use std::error::Error;

use dpdk_wrapper::RuntimeFolder;

use crate::cli::Executor;
use crate::run::Plan;
use crate::serve::{FrontEnds, Signals, serve};
use crate::socket::check_free;
use backend::Optimizer;
use pairwise::Pairwise;
use start_log::StartLog;

/// Runs an appliance until it is told to stop, and leaves nothing behind.
///
/// # Errors
/// What could not be started, in one sentence.
pub fn run(mut plan: Plan) -> Result<(), Box<dyn Error>> {
    let front_ends = FrontEnds::of(&plan);
    if let Some(path) = &front_ends.socket {
        // Before a device is touched that another tpo may be using.
        check_free(path)?;
    }
    if let Some((_, config)) = &plan.config {
        precheck::check(config, &precheck::System::detect())?;
    }
    // From here on something is there that has to be taken away again.
    let signals = Signals::register()?;
    let _folder = RuntimeFolder::of(&plan.eal_args, std::env::args_os());
    let log = StartLog::hold(&plan.eal_args);
    if let Some(config) = plan.config.take() {
        let opened = Optimizer::open(&plan, config);
        let mut executor = Executor::new(opened.map_err(|error| log.explain(&error))?);
        log.release();
        serve(&mut executor, &front_ends, &signals, |executor| executor.backend_mut().tick())?;
    } else {
        let mut executor = Executor::new(Pairwise::open(&plan)?);
        log.release();
        serve(&mut executor, &front_ends, &signals, |executor| executor.backend_mut().tick())?;
    }
    Ok(())
}
