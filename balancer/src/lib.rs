//! The balancer of Sociable: every request of a session reaches the node that owns it.
//!
//! A session id bears the tag of the node that made it, so nothing has to be remembered, and any number of replicas agree without a word:
//! [`Table`] says who is there, a request with a session id goes to its owner, and one without is placed.

pub mod affinity;
pub mod descriptors;
pub mod forwarded;
pub mod handover;
pub mod limits;
pub mod network;
pub mod placement;
pub mod proxy_protocol;
mod ring;
mod table;
#[cfg(test)]
mod testing;
pub mod tls;

pub use affinity::Affinity;
pub use balancer::{Balancer, Handle};
pub use options::{Options, OptionsError};
pub use registry::Reports;
pub use table::{Counted, Limits, Load, Node, State, Table};
