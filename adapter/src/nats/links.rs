//! The connections of the adapter, and which of them are up.

use std::sync::atomic::{AtomicBool, Ordering};

use sociable_nats::Role;
use tokio::sync::Notify;

/// Messages that one subscription holds. Beyond it the client drops what comes, which is counted and seen as a gap.
///
/// It has to hold what the client reads in one go, before anybody else gets a turn on its thread: 128 times its buffer of 64 KiB. That is as
/// many messages of 128 bytes, about the shortest that a node sends. Its memory is bounded by that too (see `Backlog`), and used only while
/// messages wait.
const SUBSCRIPTION: usize = 65_536;
/// The same for the stream, whose messages are longer, up to 256 KiB. What the client drops of them is read from the stream.
const STREAM_SUBSCRIPTION: usize = 1024;

/// One of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Events, questions and answers.
    Data,
    /// Announcements of members. A flood of events does not make a node look dead.
    Control,
    /// The shared history, if there is one.
    History,
}

impl Link {
    /// The role of the connection.
    pub(crate) fn role(self) -> Role {
        let (name, subscription_capacity) = match self {
            Self::Data => ("data", SUBSCRIPTION),
            Self::Control => ("control", SUBSCRIPTION),
            Self::History => ("history", STREAM_SUBSCRIPTION),
        };
        Role { name, subscription_capacity, retry_on_initial_connect: false }
    }
}

/// The state of all connections.
#[derive(Debug, Default)]
pub(crate) struct Links {
    data: AtomicBool,
    control: AtomicBool,
    history: AtomicBool,
    needs_history: AtomicBool,
    changed: Notify,
}

impl Links {
    fn state(&self, link: Link) -> &AtomicBool {
        match link {
            Link::Data => &self.data,
            Link::Control => &self.control,
            Link::History => &self.history,
        }
    }

    /// From now on all connections are up only with that of the history.
    pub(crate) fn require_history(&self) {
        self.needs_history.store(true, Ordering::Release);
    }

    /// True if all connections are up.
    pub(crate) fn are_up(&self) -> bool {
        let history = || self.is_up(Link::History) || !self.needs_history.load(Ordering::Acquire);
        self.is_up(Link::Data) && self.is_up(Link::Control) && history()
    }

    /// True if a connection is up.
    pub(crate) fn is_up(&self, link: Link) -> bool {
        self.state(link).load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, link: Link, up: bool) {
        self.state(link).store(up, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until a connection is up.
    pub(crate) async fn wait_until_up(&self, link: Link) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_up(link) {
                return;
            }
            changed.await;
        }
    }
}
