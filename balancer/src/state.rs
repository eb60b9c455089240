//! The state that all workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use crate::discovery::{Reports, Tables};
use crate::http::refusal::Refusal;
use crate::http::request::Request;
use crate::limits::addresses::Addresses;
use crate::limits::descriptors::Descriptors;
use crate::limits::guesses::{Guesses, KnownIds};
use crate::limits::rate::{Bucket, Buckets};
use crate::limits::waiting::WaitingBudget;
use crate::metrics::Metrics;
use crate::options::{Options, OptionsError, Policy, rate_of};
use crate::route::target::Route;
use crate::table::{Node, State};

/// The most addresses whose sessions are counted separately. Further ones share a limit.
const MAX_ADDRESSES: usize = 100_000;
/// The default part of all connections that one address may have, and its lower bound.
const SHARE: usize = 10;
const LEAST_SHARE: usize = 64;
/// The seconds after which a refused client may try again, and the spread on top.
const RETRY_AFTER: u32 = 1;
const RETRY_SPREAD: u32 = 5;

/// The state that all workers share.
#[derive(Debug)]
pub(crate) struct BalancerState {
    policy: ArcSwap<Policy>,
    pub(crate) table: Tables,
    pub(crate) reports: Reports,
    pub(crate) metrics: Metrics,
    /// Bytes that wait for peers that do not read.
    pub(crate) waiting: WaitingBudget,
    pub(crate) descriptors: Arc<Descriptors>,
    /// The rate of accepted connections.
    pub(crate) accepts: ArcSwap<Bucket>,
    sessions: ArcSwap<Buckets>,
    guesses: ArcSwap<Guesses>,
    known_ids: KnownIds,
    /// The connections of each address, and the default limit of one.
    pub(crate) addresses: Addresses,
    pub(crate) share: usize,
    /// The turn of the next request for another path.
    turn: AtomicUsize,
    /// The next value of `Retry-After`, which spreads retries.
    spread: AtomicUsize,
    /// The end of the drain, if one runs: the same moment by both clocks.
    ends: ArcSwapOption<(Instant, SystemTime)>,
}

impl BalancerState {
    pub(crate) fn new(options: Options, table: Tables, reports: Reports) -> Result<Self, OptionsError> {
        options.check()?;
        let descriptors = Descriptors::of_this_process();
        let metrics = Metrics::default();
        Ok(Self {
            waiting: WaitingBudget::new(options.max_waiting, metrics.waiting.clone()),
            addresses: Addresses::new(),
            share: (options.max_connections.min(descriptors.room()) / SHARE).max(LEAST_SHARE),
            accepts: ArcSwap::from_pointee(Bucket::new(rate_of(options.accept_rate, 1.0)?)),
            sessions: ArcSwap::from_pointee(buckets(options.session_rate)?),
            guesses: ArcSwap::from_pointee(Guesses::new(rate_of(options.guess_rate, 10.0)?)),
            known_ids: KnownIds::new(),
            policy: ArcSwap::from_pointee(Policy::new(options)),
            table,
            reports,
            metrics,
            descriptors,
            turn: AtomicUsize::new(0),
            spread: AtomicUsize::new(0),
            ends: ArcSwapOption::empty(),
        })
    }

    /// Returns the current options.
    pub(crate) fn options(&self) -> Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// Changes the options. A limit whose rate stays keeps its counts.
    pub(crate) fn reload(&self, options: Options) -> Result<(), OptionsError> {
        options.check()?;
        let before = self.options();
        if before.accept_rate != options.accept_rate {
            self.accepts.store(Arc::new(Bucket::new(rate_of(options.accept_rate, 1.0)?)));
        }
        if before.session_rate != options.session_rate {
            self.sessions.store(Arc::new(buckets(options.session_rate)?));
        }
        if before.guess_rate != options.guess_rate {
            self.guesses.store(Arc::new(Guesses::new(rate_of(options.guess_rate, 10.0)?)));
        }
        self.waiting.set_limit(options.max_waiting);
        self.policy.store(Arc::new(Policy::new(options)));
        Ok(())
    }

    /// Notes that the balancer drains within this time.
    pub(crate) fn begin_drain(&self, time: Duration) {
        self.ends.store(Some(Arc::new((Instant::now() + time, SystemTime::now() + time))));
    }

    /// Returns the time that a drain has left.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.ends.load().as_ref().map(|ends| ends.0.saturating_duration_since(Instant::now()))
    }

    /// Returns the moment at which a drain cuts off what is left.
    pub(crate) fn drain_deadline(&self) -> Option<SystemTime> {
        self.ends.load().as_ref().map(|ends| ends.1)
    }

    /// Returns the node that a request is for.
    pub(crate) fn assign(&self, request: &Request) -> Result<Arc<Node>, Refusal> {
        match request.route {
            Route::Session(id) => match self.table.load().owner(id.tag()) {
                Some(_) if self.guesses.load().refuses(request.client, &id, &self.known_ids) => Err(Refusal::TooManyGuesses),
                Some(node) => Ok(Arc::clone(node)),
                None => Err(self.count_wrong_id(request, Refusal::UnknownSession)),
            },
            Route::BadSession => Err(self.count_wrong_id(request, Refusal::BadSession)),
            Route::Repeated => Err(Refusal::Repeated),
            Route::Handshake => {
                if self.sessions.load().acquire(request.client, Instant::now()).is_err() {
                    return Err(Refusal::TooManySessions);
                }
                let node = self.choose_node(request, &[]).ok_or(Refusal::NoNode)?;
                node.load.count_placement();
                Ok(node)
            }
            Route::Other => self.choose_node(request, &[]).ok_or(Refusal::NoNode),
        }
    }

    /// Returns a node for a request without an owner, other than those that were tried.
    pub(crate) fn choose_node(&self, request: &Request, tried: &[Arc<Node>]) -> Option<Arc<Node>> {
        let table = self.table.load();
        let fresh = |node: &&Arc<Node>| !tried.iter().any(|tried| tried.tag == node.tag);
        if request.route == Route::Handshake {
            let tags: Vec<_> = tried.iter().map(|node| node.tag).collect();
            return self.options().placement.choose_except(&tags, &table, request.affinity.as_deref(), Instant::now());
        }
        // In turn among ready nodes. A draining node serves if there is no other.
        let well: Vec<_> = table.ready().filter(fresh).collect();
        let left: Vec<_> = match well.is_empty() {
            true => table.nodes().iter().filter(fresh).filter(|node| node.state != State::Unwell).collect(),
            false => well,
        };
        let turn = self.turn.fetch_add(1, Relaxed);
        left.get(turn % left.len().max(1)).map(|node| Arc::clone(node))
    }

    /// Counts a wrong session id. A client that shows too many learns no more than that.
    fn count_wrong_id(&self, request: &Request, refusal: Refusal) -> Refusal {
        if self.guesses.load().count_dead_tag(request.client, Instant::now()) { refusal } else { Refusal::TooManyGuesses }
    }

    /// Records what an answer shows of the node and the client. `unknown` is true if the node does not know the
    /// session.
    pub(crate) fn observe_answer(&self, node: &Node, request: &Request, status: u16, unknown: bool) {
        match (status, request.route) {
            (503, Route::Handshake) => self.reports.refused(node.tag),
            (200, Route::Session(id)) => self.known_ids.remember(&id),
            (400, Route::Session(_)) if unknown => self.guesses.load().count_unknown_id(request.client, Instant::now()),
            _ => {}
        }
    }

    /// Returns the seconds after which a client may try again, spread so that not all do at once.
    pub(crate) fn retry_after(&self) -> u32 {
        RETRY_AFTER + self.spread.fetch_add(1, Relaxed) as u32 % RETRY_SPREAD
    }
}

fn buckets(rate: f64) -> Result<Buckets, OptionsError> {
    Ok(Buckets::new(rate_of(rate, 10.0)?, MAX_ADDRESSES))
}
