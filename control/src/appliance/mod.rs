//! The appliance: devices, workers, and what the commands see of it.

pub mod convert;
pub mod devices;
pub mod running;

use std::error::Error;

use crate::run::Plan;

/// Runs an appliance until it is told to stop.
///
/// # Errors
/// What could not be started, in one sentence.
pub fn run(plan: Plan) -> Result<(), Box<dyn Error>> {
    let (_, config) = plan.config.as_ref().ok_or("no config")?;
    let mut devices = devices::Devices::open(&plan.eal_args, &plan.args, config)?;
    let running = running::Running::start(&mut devices, &plan.args, config)?;
    println!("ready");
    let mut signals = signal_hook::iterator::Signals::new([2, 15])?;
    signals.forever().next();
    running.stop(&mut devices, config.limits.stop_timeout);
    Ok(())
}
