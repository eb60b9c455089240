//! The balancer of Sociable: every request of a session reaches the node that owns it.
//!
//! A session id bears the tag of the node that made it, so nothing has to be remembered, and any number of replicas agree without a word:
//! [`Table`] says who is there, a request with a session id goes to its owner, and one without is placed.

mod accept;
mod affinity;
mod balancer;
mod connection;
mod exchange;
mod forwarded;
mod http;
mod limits;
mod metrics;
mod network;
mod options;
mod permit;
mod placement;
mod pool;
mod reach;
mod registry;
mod ring;
mod roll;
mod serve;
mod shared;
mod stream;
mod table;
mod tcp;
mod tunnel;
mod worker;

pub use affinity::Affinity;
pub use balancer::{Balancer, Handle};
pub use options::{Options, OptionsError};
pub use registry::Reports;
pub use table::{Counted, Limits, Load, Node, State, Table};
