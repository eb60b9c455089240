//! The connections of the adapter, and which of them are up.

use std::sync::atomic::{AtomicBool, Ordering};

use sociable_nats::Role;
use tokio::sync::Notify;

/// The bound in messages of one subscription. Beyond it the client drops messages, which are counted and seen as a gap.
///
/// The bound covers one turn of the client. In a turn the client fills its buffer of 64 KiB up to 128 times before other
/// tasks run. A turn thus brings up to 65,536 messages of 128 bytes, about the shortest of a node. Memory has its own bound (see
/// `Backlog`), and is used only while messages wait.
const SUBSCRIPTION: usize = 65_536;
/// The same for the stream, whose messages are longer, up to 256 KiB. Messages that the client drops are read from the
/// stream.
const STREAM_SUBSCRIPTION: usize = 1024;

/// A connection to NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Events, questions and answers.
    Data,
    /// Announcements of members. Events on their own connection can't delay them.
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

    /// Counts the connection of the history from now on.
    pub(crate) fn require_history(&self) {
        self.needs_history.store(true, Ordering::Release);
    }

    /// Returns true if all connections are up.
    pub(crate) fn are_up(&self) -> bool {
        let history = || self.is_up(Link::History) || !self.needs_history.load(Ordering::Acquire);
        self.is_up(Link::Data) && self.is_up(Link::Control) && history()
    }

    /// Returns true if a connection is up.
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
