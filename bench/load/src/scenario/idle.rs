//! Clients that connect and then rest: the cost of a connection, and its memory.

use std::time::Duration;

use crate::RunError;
use crate::net::{Ignore, Net};
use crate::plan::Plan;
use crate::process::Snapshot;
use crate::report::{Report, Unit};

pub(super) fn run(net: &mut Net, plan: &Plan, rest: f64) -> Result<Report, RunError> {
    let before = Snapshot::take(&plan.targets);
    net.connect(&mut Ignore, plan)?;
    let connected = Snapshot::take(&plan.targets);
    net.run(&mut Ignore, Duration::from_secs_f64(rest), |_| false);
    let rested = Snapshot::take(&plan.targets);
    let clients = plan.clients as u64;
    let mut report = super::empty("idle", plan, Unit::Connection, clients);
    report.expected = clients;
    report.received = clients;
    before.report_cpu(&connected, &plan.targets, &mut report);
    before.report_memory(&rested, &mut report);
    Ok(report)
}
