//! What all workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use crate::descriptors::Descriptors;
use crate::http::head::Request;
use crate::http::refusal::Refusal;
use crate::http::target::Route;
use crate::limits::{Bucket, Buckets};
use crate::lookout::{Reports, Tables};
use crate::metrics::Metrics;
use crate::options::{Options, OptionsError, Policy, rate_of};
use crate::table::{Node, State};

/// The most addresses whose sessions and guesses are counted one by one: those on top share a limit.
const MAX_ADDRESSES: usize = 100_000;
/// Those who are told to come back do so after this many seconds, and at most so many later.
const RETRY_AFTER: u32 = 1;
const RETRY_SPREAD: u32 = 5;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    policy: ArcSwap<Policy>,
    pub(crate) table: Tables,
    pub(crate) reports: Reports,
    pub(crate) metrics: Metrics,
    pub(crate) descriptors: Arc<Descriptors>,
    /// How fast connections are accepted.
    pub(crate) accepts: ArcSwap<Bucket>,
    sessions: ArcSwap<Buckets>,
    guesses: ArcSwap<Buckets>,
    /// Where the next request for another path goes.
    turn: AtomicUsize,
    /// How long the next who is to come back waits.
    spread: AtomicUsize,
    /// When what is left is cut off, if the balancer leaves.
    ends: ArcSwapOption<Instant>,
}

impl Shared {
    pub(crate) fn new(options: Options, table: Tables, reports: Reports) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            accepts: ArcSwap::from_pointee(Bucket::new(rate_of(options.accept_rate, 1.0)?)),
            sessions: ArcSwap::from_pointee(buckets(options.session_rate)?),
            guesses: ArcSwap::from_pointee(buckets(options.guess_rate)?),
            policy: ArcSwap::from_pointee(Policy::new(options)),
            table,
            reports,
            metrics: Metrics::default(),
            descriptors: Descriptors::of_this_process(),
            turn: AtomicUsize::new(0),
            spread: AtomicUsize::new(0),
            ends: ArcSwapOption::empty(),
        })
    }

    /// The options of now.
    pub(crate) fn options(&self) -> Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// Takes other options. Who counts by a rate that stays goes on counting.
    pub(crate) fn change(&self, options: Options) -> Result<(), OptionsError> {
        options.check()?;
        let before = self.options();
        if before.accept_rate != options.accept_rate {
            self.accepts.store(Arc::new(Bucket::new(rate_of(options.accept_rate, 1.0)?)));
        }
        if before.session_rate != options.session_rate {
            self.sessions.store(Arc::new(buckets(options.session_rate)?));
        }
        if before.guess_rate != options.guess_rate {
            self.guesses.store(Arc::new(buckets(options.guess_rate)?));
        }
        self.policy.store(Arc::new(Policy::new(options)));
        Ok(())
    }

    /// Notes that the balancer leaves within this time.
    pub(crate) fn leave(&self, time: Duration) {
        self.ends.store(Some(Arc::new(Instant::now() + time)));
    }

    /// How long it has still, if it leaves.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.ends.load().as_ref().map(|ends| ends.saturating_duration_since(Instant::now()))
    }

    /// The node that a request is for.
    pub(crate) fn assign(&self, request: &Request) -> Result<Arc<Node>, Refusal> {
        match request.route {
            Route::Session(id) => match self.table.load().owner(id.tag()) {
                Some(node) => Ok(Arc::clone(node)),
                None => Err(self.wrong(request, Refusal::UnknownSession)),
            },
            Route::BadSession => Err(self.wrong(request, Refusal::BadSession)),
            Route::Repeated => Err(Refusal::Repeated),
            Route::Handshake => {
                if self.sessions.load().take(request.client, Instant::now()).is_err() {
                    return Err(Refusal::TooManySessions);
                }
                let node = self.other(request, &[]).ok_or(Refusal::NoNode)?;
                self.metrics.placements.inc();
                node.load.place();
                Ok(node)
            }
            Route::Other => self.other(request, &[]).ok_or(Refusal::NoNode),
        }
    }

    /// A node for what no node owns, which is none of those that were tried.
    pub(crate) fn other(&self, request: &Request, tried: &[Arc<Node>]) -> Option<Arc<Node>> {
        let table = self.table.load();
        let fresh = |node: &&Arc<Node>| !tried.iter().any(|tried| tried.tag == node.tag);
        if request.route == Route::Handshake {
            let tags: Vec<_> = tried.iter().map(|node| node.tag).collect();
            return self.options().placement.choose_except(&tags, &table, request.affinity.as_deref(), Instant::now());
        }
        // In turn, among those that are well; and one that goes still serves, if there is no other.
        let well: Vec<_> = table.ready().filter(fresh).collect();
        let left: Vec<_> = match well.is_empty() {
            true => table.nodes().iter().filter(fresh).filter(|node| node.state != State::Unwell).collect(),
            false => well,
        };
        let turn = self.turn.fetch_add(1, Relaxed);
        left.get(turn % left.len().max(1)).map(|node| Arc::clone(node))
    }

    /// Counts a wrong session id. Who shows too many is told no more than that.
    fn wrong(&self, request: &Request, refusal: Refusal) -> Refusal {
        match self.guesses.load().take(request.client, Instant::now()) {
            Ok(()) => refusal,
            Err(_) => Refusal::TooManyGuesses,
        }
    }

    /// What a node's answer tells of it, and of the client.
    pub(crate) fn answered(&self, node: &Node, request: &Request, status: u16) {
        match (status, request.route) {
            (503, Route::Handshake) => self.reports.refused(node.tag),
            // Likely a guess with the tag of a node that lives. It counts with those that are refused here; but whoever shares the address with a
            // live session is not to cut it off, so that what bears such a tag always goes to its node.
            (400, Route::Session(_)) => drop(self.guesses.load().take(request.client, Instant::now())),
            _ => {}
        }
    }

    /// After how many seconds one may try again: not all at once.
    pub(crate) fn retry_after(&self) -> u32 {
        RETRY_AFTER + self.spread.fetch_add(1, Relaxed) as u32 % RETRY_SPREAD
    }
}

fn buckets(rate: f64) -> Result<Buckets, OptionsError> {
    Ok(Buckets::new(rate_of(rate, 10.0)?, MAX_ADDRESSES))
}
