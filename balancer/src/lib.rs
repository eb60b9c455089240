//! The balancer of Sociable: every request of a session reaches the node that owns it.
//!
//! A session id bears the tag of the node that made it, so nothing has to be remembered, and any number of replicas agree without a word:
//! [`Table`] says who is there, a request with a session id goes to its owner, and one without is placed.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use sociable_balancer::{Balancer, Discovery, Lookout, Options};
//!
//! let lookout = Lookout::start(Discovery { nodes: vec!["127.0.0.1:3000".parse()?], ..Discovery::default() })?;
//! let balancer = Balancer::new(Options::default(), lookout.tables(), lookout.reports())?;
//! let running = balancer.bind("127.0.0.1:8080".parse()?, None, false)?.start()?;
//! tokio::signal::ctrl_c().await?;
//! running.stop(std::time::Duration::from_secs(20)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a request
//!
//! * `accept` takes connections and deals them to the workers: `serve` is the life of one, `worker` what its connections share, `roll` how long
//!   each may go on. `permit`, `addresses` and
//!   `descriptors` bound them.
//! * `connection` reads requests (`http::head`), finds whom each is for (`http::target`, `shared`, `placement`, `ring`), reaches the node (`reach`,
//!   `pool`) and lets both talk (`exchange`, `http::answer`, `http::body`). A WebSocket becomes a `tunnel`. `h2` does the same for HTTP/2.
//! * `forwarded`, `proxy_protocol`: who is behind. `limits`, `guesses`: how often. `tls`: certificates. `handover`: the next process.
//!
//! # Which nodes there are
//!
//! * `discovery`: what the configuration says of how they are found.
//! * `sources`: who names them. `probe`: how they are asked for their health.
//! * `registry`: what follows from all that is seen: a state machine.
//! * `lookout`: the thread that runs all this and gives out tables.
//!
//! # What an operator sees
//!
//! * `metrics`: what is counted. `scrape`: how Prometheus is shown it. `admin`: where it is asked for, with a page for people.

mod accept;
mod addresses;
mod admin;
mod affinity;
mod balancer;
mod connection;
mod descriptors;
mod discovery;
mod exchange;
mod forwarded;
mod guesses;
mod h2;
mod handover;
mod http;
mod limits;
mod lookout;
mod maps;
mod metrics;
mod network;
mod options;
mod permit;
mod placement;
mod pool;
mod probe;
mod proxy_protocol;
mod reach;
mod registry;
mod ring;
mod roll;
mod scrape;
mod serve;
mod shared;
mod sources;
mod stream;
mod table;
mod tcp;
#[cfg(test)]
mod testing;
mod tls;
mod tunnel;
mod waiting;
mod worker;

pub use admin::Admin;
pub use affinity::{Affinity, AffinityError};
pub use balancer::{Balancer, Handle};
pub use discovery::{Discovery, DiscoveryError, Probing};
pub use forwarded::Dialect;
pub use handover::{Handover, HandoverError, HandoverServer, take_over};
pub use lookout::{Counter, DiscoveryCounters, Lookout, Report, Reports, Tables};
pub use options::{Options, OptionsError};
pub use probe::{Answer, ProbeError, probe};
pub use registry::{NodeView, Overview, Registry, Rules, Sighting, SourceId, SourceView};
pub use sources::{DnsTarget, HostPort, NatsAuth, NatsConfigError, NatsSource};
pub use table::{Counted, Limits, Load, Node, State, Table};
pub use tls::{Pair, Tls, TlsError};
