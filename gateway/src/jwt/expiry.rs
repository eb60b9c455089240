//! Sockets whose tokens expire.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sociable::{Id, Socket};
use tokio::time::{MissedTickBehavior, interval};

use super::counters::Counters;

/// The interval between two searches for expired tokens.
const TICK: Duration = Duration::from_secs(1);

/// The connected sockets whose tokens expire, by that time.
#[derive(Debug)]
pub(super) struct Expiries {
    sockets: Mutex<BTreeMap<(SystemTime, Id), Socket>>,
    counters: Arc<Counters>,
}

impl Expiries {
    pub(super) fn new(counters: &Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { sockets: Mutex::default(), counters: Arc::clone(counters) })
    }

    /// Disconnects a connecting socket at this time, once it is let in.
    pub(super) fn watch(self: &Arc<Self>, socket: &Socket, at: SystemTime) {
        let this = Arc::clone(self);
        socket.on_connect(move |socket: Socket| {
            this.sockets.lock().insert((at, socket.id()), socket.clone());
            let this = Arc::clone(&this);
            socket.on_disconnect(move |socket: Socket| {
                let gone = this.sockets.lock().remove(&(at, socket.id()));
                drop(gone);
                ready(())
            });
            ready(())
        });
    }

    /// Disconnects sockets whose tokens expire, until there is nobody left who adds one.
    pub(super) async fn disconnect_expired(this: Weak<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(expiries) = this.upgrade() else { return };
            for socket in expiries.take_due(SystemTime::now()) {
                expiries.counters.expired.fetch_add(1, Relaxed);
                tracing::debug!(id = %socket.id().shortened(), "token expired; disconnecting the socket");
                socket.disconnect();
            }
        }
    }

    fn take_due(&self, now: SystemTime) -> Vec<Socket> {
        let mut sockets = self.sockets.lock();
        let mut due = vec![];
        while let Some(first) = sockets.first_entry().filter(|first| first.key().0 <= now) {
            due.push(first.remove());
        }
        due
    }
}
