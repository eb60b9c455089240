//! The sources: which lists there are, what each names, and whether NATS is heard.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sociable_protocol::maps::{Map, Set};

use crate::discovery::evidence::SourceId;

#[derive(Debug)]
pub(super) struct List {
    pub(super) label: String,
    /// The last addresses that were not none.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) trouble: Option<String>,
    /// The list is of an earlier configuration.
    former: bool,
}

/// NATS, where nodes announce themselves.
#[derive(Debug)]
pub(super) struct Nats {
    id: SourceId,
    pub(super) label: String,
    pub(super) up_since: Option<Instant>,
    /// Somebody spoke there.
    heard: bool,
    former: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sources {
    next: u64,
    lists: Map<SourceId, List>,
    nats: Option<Nats>,
}

impl Sources {
    pub(super) fn replace(&mut self, lists: Vec<String>, nats: Option<String>) -> (Vec<SourceId>, Option<SourceId>) {
        // A list without addresses has nothing to keep.
        self.lists.retain(|_, list| !list.addresses.is_empty());
        self.lists.values_mut().for_each(|list| list.former = true);
        let lists = lists.into_iter().map(|label| {
            let id = Self::draw(&mut self.next);
            self.lists.insert(id, List { label, addresses: vec![], trouble: None, former: false });
            id
        });
        let lists = lists.collect();
        let nats = nats.map(|label| {
            let id = Self::draw(&mut self.next);
            self.nats = Some(Nats { id, label, up_since: None, heard: false, former: false });
            id
        });
        if let Some(former) = self.nats.as_mut().filter(|_| nats.is_none()) {
            (former.former, former.up_since) = (true, None);
        }
        (lists, nats)
    }

    fn draw(next: &mut u64) -> SourceId {
        *next += 1;
        SourceId::new(*next)
    }

    /// A list gives its addresses. Returns true if it could not, or not all of them.
    pub(super) fn on_listed(&mut self, source: SourceId, mut addresses: Vec<SocketAddr>, mut trouble: Option<String>) -> bool {
        let Some(list) = self.lists.get_mut(&source).filter(|list| !list.former) else { return false };
        if addresses.is_empty() {
            trouble.get_or_insert_with(|| "no addresses".into());
        } else {
            addresses.sort_unstable();
            addresses.dedup();
            list.addresses = addresses;
        }
        let (label, kept) = (&list.label, list.addresses.len());
        match (&list.trouble, &trouble) {
            (None, Some(trouble)) => {
                tracing::warn!(target: "sociable::balancer", source = label, trouble, kept, "source of nodes incomplete; keeping its last addresses");
            }
            (Some(_), None) => tracing::info!(target: "sociable::balancer", source = label, kept, "source of nodes complete again"),
            _ => {}
        }
        list.trouble = trouble;
        list.trouble.is_some()
    }

    pub(super) fn on_link(&mut self, source: SourceId, up: bool, now: Instant) {
        if let Some(nats) = self.current(source) {
            nats.up_since = up.then_some(now);
        }
    }

    pub(super) fn is_heard_on(&mut self, source: SourceId) -> bool {
        self.current(source).is_some()
    }

    pub(super) fn on_announced(&mut self) {
        if let Some(nats) = &mut self.nats {
            nats.heard = true;
        }
    }

    fn current(&mut self, source: SourceId) -> Option<&mut Nats> {
        self.nats.as_mut().filter(|nats| nats.id == source && !nats.former)
    }

    /// Forgets the former sources once all new ones have reported. A list reports with its first address. NATS reports
    /// when all nodes had time to announce themselves and one did.
    pub(super) fn settle(&mut self, silence: Duration, now: Instant) {
        let lists = self.lists.values().filter(|list| !list.former).all(|list| !list.addresses.is_empty());
        let spoken = |nats: &Nats| nats.former || nats.heard && nats.up_since.is_some_and(|since| now.duration_since(since) > silence);
        if lists && self.nats.as_ref().is_none_or(spoken) {
            self.lists.retain(|_, list| !list.former);
            self.nats.take_if(|nats| nats.former);
        }
    }

    /// Extends the time by a pause in which NATS could not be heard.
    pub(super) fn forgive_pause(&mut self, pause: Duration) {
        if let Some(since) = self.nats.as_mut().and_then(|nats| nats.up_since.as_mut()) {
            *since += pause;
        }
    }

    /// Returns all addresses of the lists.
    pub(super) fn addresses(&self) -> Set<SocketAddr> {
        self.lists.values().flat_map(|list| &list.addresses).copied().collect()
    }

    pub(super) fn lists(&self) -> impl Iterator<Item = &List> {
        self.lists.values()
    }

    pub(super) fn nats(&self) -> Option<&Nats> {
        self.nats.as_ref()
    }
}
