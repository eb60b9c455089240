//! The registry: a state machine without I/O. Observations and their times go in, and tables of nodes come out.
//!
//! Three kinds of witnesses speak of nodes. Lists (configured, or out of DNS) give addresses. Probes of an address tell whose tag it is, and
//! that it answers. Announcements on NATS tell a tag and its address. They are merged by the tag, which is another for each start of a
//! process; what a request needs of all this is one [`Table`].
//!
//! * Anybody on the bus can speak in the name of a node. So an address that was announced counts when a probe of it has told the announced
//!   tag: nothing is sent there before. It is probed at once.
//! * An address that answers with another tag than before is another process: the tag before is gone at once, unless it is announced
//!   elsewhere or answers at another address.
//! * A node that said goodbye is gone at once: it says so when it has closed its sessions. But if its probes say that it serves, it is
//!   probed first, and is gone when it fails that probe or says that it drains. A later probe of a node that is gone brings it back if it
//!   does not say that it drains.
//! * Another start of a process under a known tag is another process, unless probes reach that tag and it serves.
//! * A node that neither answered a probe nor announced itself for `dead_after` is gone.
//! * A node that no source names any more, but that answers, keeps its sessions and gets no new ones.
//! * A node that announced itself and fell silent gets no new sessions, if others are heard: the fault is on its side. If NATS is down,
//!   or nobody is heard, its silence says nothing, and only probes decide.
//! * A list that is empty, or that could not be had, changes nothing.
//! * If fewer than half of the nodes that could take sessions can be reached, the fault is likely here: new sessions are sent to the rest
//!   too. If there is none that is well and reaches the others, those that are cut off or silent get new sessions: NATS is down, and an
//!   island is better than nothing. Nodes that are leaving or full, and those that no probe ever reached, neither count nor get anything by this.
//!
//! # Layout
//!
//! * `state`: what is known. `observe`: how an observation changes it.
//! * `rules`: after how much of what a node is well, unwell or gone.
//! * `sources`: which lists there are, and whether NATS is heard.
//! * `endpoint`: an address, and how probes of it went.
//! * `process`: a node, and what it and others tell of it.
//! * `evaluate`: what follows: which addresses are probed, who is gone, and the table. `verdict`: what a node may be sent, and why.
//! * `view`: the same for people.

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
