//! The balancer of Sociable: every request of a session reaches the node that owns it.
//!
//! A session id bears the tag of the node that made it, so nothing has to be remembered, and any number of replicas agree without a word:
//! [`Table`] says who is there, a request with a session id goes to its owner, and one without is placed.
//!
//! # Which nodes there are
//!
//! * `discovery`: what the configuration says of how they are found.
//! * `sources`: who names them. `probe`: how they are asked for their health.
//! * `registry`: what follows from all that is seen: a state machine.
//! * `lookout`: the thread that runs all this and gives out tables.

mod discovery;
mod lookout;
mod probe;
mod registry;
mod sources;
mod table;

pub use discovery::{Discovery, DiscoveryError, Probing};
pub use lookout::{Counter, DiscoveryCounters, Lookout, Report, Reports, Tables};
pub use probe::{Answer, ProbeError, probe};
pub use registry::{NodeView, Overview, Registry, Rules, Sighting, SourceId, SourceView};
pub use sources::{DnsTarget, HostPort, NatsAuth, NatsSource};
pub use table::{Counted, Limits, Load, Node, State, Table};
