//! Whether someone looks: at this node, or at another one of the cluster.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sociable_protocol::Id;
use sociable_protocol::maps::Set;

/// The time for which the notice of another node counts. A node with pages repeats it every 2 s, so three notices may get lost.
const LEASE: Duration = Duration::from_secs(7);

#[derive(Default)]
pub(super) struct Interest(Mutex<State>);

#[derive(Default)]
struct State {
    /// The pages of this node.
    pages: Set<Id>,
    /// The end of the lease by which another node looks.
    until: Option<Instant>,
    /// True while a task reports.
    reporting: bool,
}

impl State {
    fn elsewhere(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

impl Interest {
    /// Adds a page of this node. Returns whether a task has to be started.
    pub(super) fn add(&self, page: Id) -> bool {
        let mut state = self.0.lock();
        state.pages.insert(page);
        !std::mem::replace(&mut state.reporting, true)
    }

    pub(super) fn remove(&self, page: Id) {
        self.0.lock().pages.remove(&page);
    }

    /// Notes that another node looks. Returns whether a task has to be started.
    pub(super) fn renew(&self) -> bool {
        let mut state = self.0.lock();
        state.until = Some(Instant::now() + LEASE);
        !std::mem::replace(&mut state.reporting, true)
    }

    /// Returns whether this node has pages, and whether another one looks.
    pub(super) fn here_and_elsewhere(&self) -> (bool, bool) {
        let state = self.0.lock();
        (!state.pages.is_empty(), state.elsewhere())
    }

    /// Returns whether nobody looks. The task has ended then.
    pub(super) fn end(&self) -> bool {
        let mut state = self.0.lock();
        let idle = state.pages.is_empty() && !state.elsewhere();
        state.reporting &= !idle;
        idle
    }

    /// Notes that the task has ended, although someone may look.
    pub(super) fn abandon(&self) {
        self.0.lock().reporting = false;
    }

    /// Returns whether a task reports.
    #[cfg(any(test, feature = "metrics"))]
    pub(super) fn is_reporting(&self) -> bool {
        self.0.lock().reporting
    }
}

#[cfg(test)]
mod tests {
    use sociable_protocol::{IdSource, NodeTag};

    use super::*;

    #[test]
    fn task_runs_while_a_page_or_another_node_looks() {
        let interest = Interest::default();
        let page = IdSource::new(NodeTag::random()).draw();
        assert!(interest.add(page) && !interest.renew());
        assert_eq!(interest.here_and_elsewhere(), (true, true));
        interest.remove(page);
        assert!(!interest.end(), "the lease of the other node");
        interest.0.lock().until = Some(Instant::now());
        assert!(interest.end() && !interest.is_reporting());
        assert!(interest.renew());
    }
}
