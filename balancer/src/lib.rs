//! The balancer of Sociable: every request of a session reaches the node that owns it.
//!
//! A session id contains the tag of its node. The balancer therefore stores no sessions, and any number of replicas
//! agree without communication. The [`Table`] lists the nodes. A request with a session id goes to its owner, and one
//! without is placed.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use sociable_balancer_core::{Balancer, Discovery, DiscoveryConfig, Options};
//!
//! let discovery = Discovery::start(DiscoveryConfig { nodes: vec!["127.0.0.1:3000".parse()?], ..DiscoveryConfig::default() })?;
//! let balancer = Balancer::new(Options::default(), discovery.tables(), discovery.reports())?;
//! let running = balancer.bind("127.0.0.1:8080".parse()?, None, false)?.start()?;
//! tokio::signal::ctrl_c().await?;
//! running.stop(std::time::Duration::from_secs(20)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a request
//!
//! * `serve`: a thread accepts connections and deals them to the workers; each worker is a thread.
//! * `worker`: the shared state of a worker's connections: a read buffer, deadlines, pooled connections to nodes, a
//!   budget for retries.
//! * `client`: the client behind proxies (`Forwarded` and its like, the PROXY protocol). `tls`: certificates. `tcp`:
//!   options of sockets.
//! * `proxy`: `connection` serves HTTP/1.1 and `h2` HTTP/2. Each reads requests, connects to a node (`upstream`) and
//!   runs the exchange with it (`exchange`). A WebSocket becomes a `tunnel`.
//! * `http`: heads and bodies of HTTP/1.1, without I/O.
//! * `route`: the node of a request: `target` reads the session id, `placement` finds a node for a new session.
//! * `state`: state that all workers share, with `options` and `table`.
//! * `limits`: rates, connections, descriptors, wrong session ids, and buffered bytes.
//! * `balancer`: the public interface: listeners, threads, drain and stop. `handover`: the next process takes the
//!   sockets.
//!
//! # Discovery
//!
//! * `discovery`: the thread that finds nodes and publishes tables. `config`, `address`, `error`: its configuration.
//! * `discovery::sources`: the sources of nodes. `discovery::probe`: health probes. `discovery::evidence`: the
//!   observations of both.
//! * `discovery::registry`: a state machine that derives the table from the observations.
//!
//! # For operators
//!
//! * `metrics`: counters. `admin`: an address with a page, JSON, and metrics for Prometheus.

mod admin;
mod balancer;
mod client;
mod discovery;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod http;
mod limits;
mod metrics;
mod options;
mod proxy;
mod route;
mod serve;
mod state;
mod table;
mod tcp;
#[cfg(test)]
mod testing;
mod tls;
mod worker;

pub use admin::Admin;
pub use balancer::{Balancer, Handle};
pub use client::forwarded::ForwardedHeader;
pub use discovery::{
    Answer, Counter, Discovery, DiscoveryConfig, DiscoveryCounters, DiscoveryError, DnsTarget, HostPort, NatsAuth, NatsConfigError,
    NatsSource, NodeView, Observation, Overview, ProbeError, Probing, Registry, Report, Reports, Rules, SourceId, SourceView, Tables,
    probe,
};
pub use handover::{Handover, HandoverError, HandoverServer, take_over};
pub use options::{Options, OptionsError};
pub use route::affinity::{Affinity, AffinityError};
pub use table::{Limits, Load, LoadGuard, Node, State, Table};
pub use tls::{Pair, Tls, TlsError};
