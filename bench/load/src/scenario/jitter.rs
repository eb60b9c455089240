//! Broadcasts to clients on bad networks: their connections are cut, and they come back.

use std::time::Duration;

use super::crowd::Crowd;
use crate::RunError;
use crate::net::Net;
use crate::plan::{Cuts, Plan};
use crate::process::Snapshot;
use crate::report::{Report, Unit};

pub(super) fn run(net: &mut Net, plan: &Plan, cuts: Cuts, rate: f64, size: usize) -> Result<Report, RunError> {
    let mut crowd = Crowd::new(plan, size);
    crowd.connect(net, plan)?;
    crowd.publish_at(net, rate);
    net.run(&mut crowd, Duration::from_secs_f64(plan.warmup), |_| false);
    let before = Snapshot::take(&plan.targets);
    crowd.is_measuring = true;
    crowd.cut_at_random(net, cuts);
    net.run(&mut crowd, Duration::from_secs_f64(plan.seconds), |_| false);
    crowd.is_measuring = false;
    let after = Snapshot::take(&plan.targets);
    crowd.settle(net);
    let mut report = super::empty("jitter", plan, Unit::Delivery, crowd.measured);
    before.report_cpu(&after, &plan.targets, &mut report);
    crowd.report(&mut report);
    Ok(report)
}
