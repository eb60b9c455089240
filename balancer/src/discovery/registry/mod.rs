//! The registry: a state machine without I/O. Observations and their times go in, and tables of nodes come out.
//!
//! The evidence has three kinds. Lists (configured, or from DNS) give addresses. Probes of an address give the tag of
//! its process, and show that it answers. Announcements on NATS give a tag and its address.
//!
//! The registry merges them by the tag, which each start of a process draws anew. Requests are routed by the resulting
//! [`Table`].
//!
//! * Any client of NATS can announce in a node's name. An announced address is therefore used only after a probe of it
//!   returned the announced tag. The announcement triggers that probe at once.
//! * An address that answers with another tag belongs to another process. The former tag is removed at once, unless it
//!   is announced elsewhere or answers at another address.
//! * A node that said farewell has closed its sessions, and is removed at once. If its probes still succeed, a new
//!   probe decides: a failure or a drain removes the node. A later probe restores a removed node, unless it reports a
//!   drain.
//! * Another start of a process under a known tag replaces it, unless probes reach that tag and it serves.
//! * A node that neither answered a probe nor announced itself for `dead_after` is removed.
//! * A node that answers but that no source names any more keeps its sessions and gets no new ones.
//! * A node that stops announcing itself gets no new sessions while others are heard: the fault is on its side. If NATS
//!   is down, or no node is heard, only probes decide.
//! * An empty or missing list changes nothing.
//! * If fewer than half of the eligible nodes are reachable, the fault is likely on this side. New sessions then go to
//!   the unreachable ones too.
//! * If no node is well and connected to the others, isolated nodes get new sessions. NATS is down then, and an
//!   isolated node is better than none.
//! * Draining, full and never reached nodes neither count for these two rules nor get sessions by them.
//!
//! # Layout
//!
//! * `state`: the registry's data. `observe`: applies an observation.
//! * `rules`: the thresholds.
//! * `sources`: the current lists, and the state of NATS.
//! * `endpoint`: an address, and the results of its probes.
//! * `process`: a node, from its own and others' evidence.
//! * `evaluate`: derives the addresses to probe, the dead nodes, and the table. `verdict`: the state of a node, and its
//!   reason.
//! * `view`: the overview for operators.

mod endpoint;
mod evaluate;
mod observe;
mod process;
#[cfg(test)]
mod properties;
pub(super) mod rules;
mod sources;
mod state;
#[cfg(test)]
mod tests;
mod verdict;
mod view;

pub use self::rules::Rules;
pub use self::state::Registry;
pub use self::view::{NodeView, Overview, SourceView};
