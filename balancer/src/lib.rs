//! The balancer of Sociable: every request of a session reaches the node that owns it.
//!
//! A session id bears the tag of the node that made it, so nothing has to be remembered, and any number of replicas agree without a word:
//! [`Table`] says who is there, a request with a session id goes to its owner, and one without is placed.
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
//! * `worker`: what the connections of a worker share: a read buffer, deadlines, pooled connections to nodes, a budget for retries.
//! * `client`: who is behind a proxy (`Forwarded` and its like, the PROXY protocol). `tls`: certificates. `tcp`: options of sockets.
//! * `proxy`: `connection` serves HTTP/1.1 and `h2` HTTP/2: each reads requests, connects to a node (`upstream`) and lets both talk (`exchange`). A
//!   WebSocket becomes a `tunnel`.
//! * `http`: heads and bodies of HTTP/1.1, without I/O.
//! * `route`: which node a request is for: `target` reads the session id, `placement` finds a node for a new session.
//! * `state`: what all workers share; `options` and `table` are in it.
//! * `limits`: rates, connections, descriptors, wrong session ids, and bytes that wait.
//! * `balancer`: the public face: listeners, threads, drain and stop. `handover`: the next process takes the sockets.
//!
//! # Which nodes there are
//!
//! * `discovery`: the thread that looks for nodes and gives out tables. `config`, `address`, `error`: what the configuration says of it.
//! * `discovery::sources`: who names nodes. `discovery::probe`: how they are asked for their health. `discovery::evidence`: what both see.
//! * `discovery::registry`: what follows from all that is seen: a state machine.
//!
//! # What an operator sees
//!
//! * `metrics`: what is counted. `admin`: where an operator asks, with a page for people and metrics for Prometheus.

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
mod maps;
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
