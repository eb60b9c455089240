//! Serving: connections are accepted on one thread and served by workers, each a thread.

pub(crate) mod accept;
pub(crate) mod worker_thread;
