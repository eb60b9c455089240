//! A node, from its own and others' evidence.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sociable_protocol::{Announcement, Health};

use super::rules::Rules;
use super::verdict::{Reachability, Verdict};
use crate::discovery::address::HostPort;
use crate::table::{Limits, Load};

/// The most addresses of one announced name. Further ones are ignored.
const MAX_ADDRESSES: usize = 8;
/// The longest name that is kept, in characters.
const MAX_NAME: usize = 128;

/// A process with a tag.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    pub(super) load: Arc<Load>,
    pub(super) since: Instant,
    /// The time of the node's last announcement or answer.
    pub(super) alive: Instant,
    pub(super) announced: Option<Announced>,
    /// The node drains, as it said last by any way.
    pub(super) draining: bool,
    /// A probe reached it last, and it did not say that it drains.
    serves: bool,
    /// The start of its process that was said to have left, and when. No probe has been made since then.
    pub(super) leaving: Option<(u64, Instant)>,
    full: bool,
    pub(super) cut_off: bool,
    pub(super) limits: Limits,
    /// The node's address at the last evaluation.
    pub(super) address: Option<SocketAddr>,
    /// And how it stood there.
    pub(super) reachability: Option<Reachability>,
    /// A probe has reached it.
    pub(super) was_reached: bool,
    /// The times of recent failed connections to the node.
    connect_errors: Vec<Instant>,
    /// Since when that was too often.
    pub(super) connect_fails_since: Option<Instant>,
    /// Until when it is taken for full, since it refused a session.
    refuses_until: Option<Instant>,
    pub(super) verdict: Option<Verdict>,
}

/// The last announcement of a node on NATS.
#[derive(Debug)]
pub(super) struct Announced {
    epoch: u64,
    /// The time of the last announcement.
    pub(super) heard: Instant,
    /// The node's address, as announced.
    pub(super) address: Option<String>,
    /// The addresses that it resolves to.
    at: Vec<SocketAddr>,
}

impl Process {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            name: String::new(),
            load: Arc::default(),
            since: now,
            alive: now,
            announced: None,
            draining: false,
            serves: false,
            leaving: None,
            full: false,
            cut_off: false,
            limits: Limits::default(),
            address: None,
            reachability: None,
            was_reached: false,
            connect_errors: vec![],
            connect_fails_since: None,
            refuses_until: None,
            verdict: None,
        }
    }

    /// Records an announcement. The announced state counts only while no probe reaches the node: others may announce in
    /// its name.
    pub(super) fn on_announcement(&mut self, announcement: &Announcement, now: Instant) {
        self.alive = now;
        self.set_name(&announcement.name);
        if !self.is_proven() {
            self.draining = announcement.draining;
            self.full = announcement.full;
            self.load.set_reported(announcement.sessions);
        }
        let before = self.announced.take().filter(|before| before.address == announcement.address);
        let at = match announcement.address.as_deref().and_then(|text| text.parse::<HostPort>().ok()?.socket_addr()) {
            Some(address) => vec![address],
            // The name is not resolved yet. Until then the earlier addresses stay.
            None => before.map(|before| before.at).unwrap_or_default(),
        };
        let address = announcement.address.clone();
        self.announced = Some(Announced { epoch: announcement.epoch, heard: now, address, at });
    }

    /// Records the addresses of the announced name. Returns true if they are new.
    pub(super) fn on_resolved(&mut self, announced: &str, mut addresses: Vec<SocketAddr>) -> bool {
        let Some(known) = self.announced.as_mut().filter(|known| known.address.as_deref() == Some(announced)) else { return false };
        addresses.truncate(MAX_ADDRESSES);
        let news = !addresses.is_empty() && known.at != addresses;
        if news {
            known.at = addresses;
        }
        news
    }

    /// Records the health of an answer to a probe.
    pub(super) fn on_health(&mut self, health: &Health, begun: Instant, now: Instant) {
        self.alive = now;
        self.serves = !health.draining;
        self.leaving.take_if(|(_, said)| *said < begun);
        self.set_name(&health.name);
        self.draining = health.draining;
        // The session count and its limit now show whether the node is full.
        self.full = false;
        self.cut_off = health.cut_off;
        self.limits = Limits {
            max_sessions: health.max_sessions,
            max_payload: health.max_payload,
            max_silence: health.ping_interval.zip(health.ping_timeout).map(|(interval, timeout)| interval.saturating_add(timeout)),
        };
        self.load.set_reported(health.sessions);
    }

    fn set_name(&mut self, name: &str) {
        if !name.is_empty() && name != self.name {
            self.name = name.chars().take(MAX_NAME).collect();
        }
    }

    /// Takes a failure of a worker to connect.
    pub(super) fn on_connect_failed(&mut self, rules: &Rules, now: Instant) {
        self.connect_errors.retain(|at| now.duration_since(*at) < rules.connect_window);
        self.connect_errors.push(now);
        if self.connect_errors.len() >= rules.connect_errors as usize {
            self.connect_errors.clear();
            self.connect_fails_since = Some(now);
        }
    }

    /// Takes the refusal of a session: the node gets none until then.
    pub(super) fn on_refused(&mut self, until: Instant) {
        self.refuses_until = Some(until);
    }

    /// Returns true if the node takes no more sessions.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full
            || self.limits.max_sessions.is_some_and(|most| self.load.sessions() >= most)
            || self.refuses_until.is_some_and(|until| now < until)
    }

    /// Returns the node's name, empty if unknown.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the announced addresses.
    pub(super) fn announced_at(&self) -> &[SocketAddr] {
        self.announced.as_ref().map_or(&[], |announced| &announced.at)
    }

    /// Returns false if the node announced another epoch.
    pub(super) fn is_of(&self, epoch: u64) -> bool {
        self.announced.as_ref().is_none_or(|announced| announced.epoch == epoch)
    }

    /// Returns true if probes reach the node and it serves. A contrary announcement in its name is doubtful.
    pub(super) fn is_proven(&self) -> bool {
        self.serves && self.reachability == Some(Reachability::Reachable)
    }

    /// Returns the epoch of a process whose farewell came before this probe started.
    pub(super) fn left_before(&self, begun: Instant) -> Option<u64> {
        self.leaving.filter(|(_, said)| *said < begun).map(|(epoch, _)| epoch)
    }

    /// Returns true if the node announced itself on NATS recently.
    pub(super) fn was_heard(&self, silence: Duration, now: Instant) -> bool {
        self.announced.as_ref().is_some_and(|announced| now.duration_since(announced.heard) <= silence)
    }

    /// Extends the deadlines by a pause in which no node could be heard.
    pub(super) fn forgive_pause(&mut self, pause: Duration) {
        self.alive += pause;
        if let Some(announced) = &mut self.announced {
            announced.heard += pause;
        }
    }
}
