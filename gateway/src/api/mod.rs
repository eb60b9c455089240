//! The API for backends: events to sockets, rooms, and questions about the cluster.
//!
//! Any node answers for the whole cluster. A request names its key as a bearer token. Errors are [problems](problem).
//!
//! # Layout of the source
//!
//! * `routes.rs`: the names of the operations. `model.rs`: their requests and answers. `operations.rs`: the operations themselves.
//! * `exchange.rs`: one request and its answer, on any transport. `format.rs`: JSON and MessagePack.
//! * `http.rs`, `query.rs`: the API over HTTP.
//! * `keys.rs`, `scope.rs`: the keys and their permissions. `limits.rs`: the limits. `problem.rs`: the errors.
//! * [`idempotency`]: keys by which a repeated request does nothing twice. `repetition.rs`: their use. [`peers`]: questions to all nodes.
//! * [`openapi`]: the description of the API. `page.rs`: the page to read it.
//! * `counts.rs`: counts and metrics.
//! * `link.rs`: the connection to the NATS servers. `nats.rs`: the API over NATS. Both need the feature `nats`.

mod counts;
mod exchange;
mod format;
mod http;
pub mod idempotency;
mod keys;
mod limits;
#[cfg(feature = "nats")]
pub mod link;
mod model;
#[cfg(feature = "nats")]
pub mod nats;
pub mod openapi;
mod operations;
mod page;
pub mod peers;
pub mod problem;
mod query;
mod repetition;
mod routes;
mod scope;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sociable::Server;

use self::counts::Counts;
use self::idempotency::{Idempotency, IdempotencyOptions};
use self::peers::{PeerOptions, Peers};

pub use self::format::Format;
pub use self::http::PATH;
pub use self::keys::{KeyFile, Keys, KeysError};
pub use self::limits::Limits;
pub use self::model::{
    Answer, Answers, Batch, Count, Disconnect, Done, Emit, EmitWithAck, Emitted, Info, Join, Leave, MissingAnswers, MissingNodes, NodeList,
    Operation, Outcome, RoomList, RoomReport, Rooms, SocketCount, SocketList, SocketReport, Sockets,
};
use self::problem::ProblemKind;
pub use self::routes::Route;

/// The API of a server. Clones share the same API.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    server: Server,
    keys: Keys,
    limits: Limits,
    idempotency: Idempotency,
    peers: Peers,
    counts: Counts,
    /// The description, written for the first request.
    document: OnceLock<Bytes>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("keys", &self.0.keys).field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

/// The options of an API.
#[derive(Clone, Debug)]
#[must_use = "it does nothing by itself: call `build`"]
pub struct ApiBuilder {
    server: Server,
    keys: Keys,
    limits: Limits,
    idempotency: Option<Idempotency>,
    peers: Option<Peers>,
}

impl Api {
    /// Returns the builder of the API of a server, with these keys.
    pub fn builder(server: &Server, keys: Keys) -> ApiBuilder {
        ApiBuilder { server: server.clone(), keys, limits: Limits::default(), idempotency: None, peers: None }
    }

    /// Returns the number of answers since the start, by operation and status code. Each operation of a batch counts too.
    pub fn counts(&self) -> BTreeMap<(Route, u16), u64> {
        self.0.counts.answers()
    }

    pub(crate) fn server(&self) -> &Server {
        &self.0.server
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn idempotency(&self) -> &Idempotency {
        &self.0.idempotency
    }

    pub(crate) fn peers(&self) -> &Peers {
        &self.0.peers
    }

    pub(crate) fn document(&self) -> Bytes {
        self.0.document.get_or_init(|| openapi::document(self.limits()).into()).clone()
    }

    pub(crate) fn count(&self, route: Route, status: u16, problem: Option<ProblemKind>) {
        self.0.counts.count(route, status, problem);
    }
}

impl ApiBuilder {
    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the records of requests with an idempotency key: in the memory of this node by default.
    pub fn idempotency(mut self, records: Idempotency) -> Self {
        self.idempotency = Some(records);
        self
    }

    /// Sets the questions to the other nodes. By default, [`build`](Self::build) installs some that name this node by its tag.
    pub fn peers(mut self, peers: Peers) -> Self {
        self.peers = Some(peers);
        self
    }

    /// Returns the API, and adds its metrics to those of the server.
    pub fn build(self) -> Api {
        let Self { server, keys, limits, idempotency, peers } = self;
        let idempotency = idempotency.unwrap_or_else(|| Idempotency::memory(IdempotencyOptions::default()));
        let options = || PeerOptions::new(server.tag().to_string(), env!("CARGO_PKG_VERSION"));
        let peers = peers.unwrap_or_else(|| Peers::install(&server, options()));
        let inner = Arc::new(Inner { server, keys, limits, idempotency, peers, counts: Counts::default(), document: OnceLock::new() });
        // The server must not keep the API, which keeps the server.
        let weak = Arc::downgrade(&inner);
        inner.server.add_metrics(move || weak.upgrade().map(|inner| counts::metrics(&inner)).unwrap_or_default());
        Api(inner)
    }
}
