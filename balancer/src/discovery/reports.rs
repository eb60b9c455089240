//! Reports: what workers find when they turn to nodes.

use std::sync::Arc;

use sociable_protocol::NodeTag;
use tokio::sync::mpsc;

use super::counters::DiscoveryCounters;
use super::evidence::Report;

/// The most waiting reports. Further ones are dropped and counted: so many mean failing nodes, which probes find too.
const MAX_WAITING: usize = 1024;

/// The workers' reports about nodes. Clones are cheap, and no call waits.
#[derive(Clone, Debug)]
pub struct Reports {
    waiting: mpsc::Sender<Report>,
    counters: Arc<DiscoveryCounters>,
}

impl Reports {
    pub(super) fn new(counters: Arc<DiscoveryCounters>) -> (Self, mpsc::Receiver<Report>) {
        let (waiting, taken) = mpsc::channel(MAX_WAITING);
        (Self { waiting, counters }, taken)
    }

    /// The node could not be connected to.
    pub fn connect_failed(&self, tag: NodeTag) {
        self.send(Report::ConnectFailed(tag));
    }

    /// The node answered 503 to a new session.
    pub fn refused(&self, tag: NodeTag) {
        self.send(Report::Refused(tag));
    }

    fn send(&self, report: Report) {
        if self.waiting.try_send(report).is_err() {
            self.counters.reports_dropped.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_is_dropped_and_counted_when_queue_is_full() {
        let counters = Arc::new(DiscoveryCounters::default());
        let (reports, mut taken) = Reports::new(Arc::clone(&counters));
        let tag = NodeTag::random();
        reports.refused(tag);
        assert_eq!(taken.try_recv(), Ok(Report::Refused(tag)));
        for _ in 0..MAX_WAITING + 3 {
            reports.connect_failed(tag);
        }
        assert_eq!(counters.reports_dropped.get(), 3);
    }
}
