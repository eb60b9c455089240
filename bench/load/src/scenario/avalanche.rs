//! A server that is replaced: all of its clients come back at once.

use std::time::Duration;

use super::crowd::Crowd;
use crate::net::Net;
use crate::operator::{Ending, Operator};
use crate::plan::Plan;
use crate::process::{Peaks, Snapshot};
use crate::report::{Report, Unit};
use crate::{RunError, limits};

/// The time between two looks at the processes.
const LOOK: Duration = Duration::from_millis(100);

/// The looks in a row at which all clients have to be served.
const STEADY: u32 = 5;

pub(super) fn run(
    net: &mut Net,
    plan: &Plan,
    operator: &mut dyn Operator,
    ending: Ending,
    rate: f64,
    size: usize,
) -> Result<Report, RunError> {
    let mut targets = plan.targets.clone();
    let mut crowd = Crowd::new(plan, size);
    crowd.connect(net, plan)?;
    crowd.publish_at(net, rate);
    net.run(&mut crowd, Duration::from_secs_f64(plan.warmup), |_| false);

    let mut before = Snapshot::take(&targets);
    let mut peaks = Peaks::default();
    crowd.note_signal(net);
    operator.replace(ending).map_err(|error| RunError::NotReplaced(error.to_string()))?;
    let limit = net.now() + limits::RETURNING.as_nanos() as u64;
    let (mut is_replaced, mut steady) = (false, 0);
    while steady < STEADY && net.now() < limit {
        net.run(&mut crowd, LOOK, |_| false);
        if let Some(successor) = operator.replaced().map_err(|error| RunError::NotReplaced(error.to_string()))? {
            is_replaced = true;
            before.restart(&targets, &successor.name);
            peaks.restart();
            for target in targets.iter_mut().filter(|target| target.name == successor.name) {
                target.id = successor.id;
            }
        }
        peaks.sample(&targets);
        steady = if is_replaced && crowd.are_settled() { steady + 1 } else { 0 };
    }
    if !is_replaced {
        return Err(RunError::NotReplaced("the operator has not named the successor in time".into()));
    }
    let after = Snapshot::take(&targets);
    net.run(&mut crowd, Duration::from_secs_f64(plan.seconds), |_| false);
    crowd.settle(net);
    let mut report = super::empty("avalanche", plan, Unit::Connection, crowd.back.count());
    before.report_cpu(&after, &targets, &mut report);
    peaks.report(&mut report);
    crowd.report(&mut report);
    Ok(report)
}
