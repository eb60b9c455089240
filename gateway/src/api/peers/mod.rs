//! Questions to all nodes of the cluster: counts of sockets, rooms with their sizes, and facts about nodes.
//!
//! A question is an event between servers with a reserved name. Each node answers with numbers, never with its sockets. An answer of the cluster
//! names the nodes that are missing from it.
//!
//! * `question.rs`: questions and answers on their way between nodes. `local.rs`: the answers of this node.

mod local;
mod question;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sociable::{Ack, Data, NodeTag, Server};

use self::question::{Answered, LocalRooms, Question};

/// The event of the questions. Applications use other names.
const EVENT: &str = "sociable:gateway";
/// The most rooms of one answer.
pub(super) const MAX_ROOMS: usize = 10_000;

/// Facts about this node for the other nodes, and the bound of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    name: String,
    version: String,
    max_answer_bytes: usize,
}

impl PeerOptions {
    /// Returns options with the name of this node and the version of its program.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into(), max_answer_bytes: 512 << 10 }
    }

    /// Sets the most bytes of room names in an answer of this node: 512 KiB by default. The rest is left out, and the answer says so.
    #[must_use]
    pub fn max_answer_bytes(mut self, bytes: usize) -> Self {
        self.max_answer_bytes = bytes;
        self
    }
}

/// Questions to all nodes of a cluster, and the answers of this node to those of others. Clones share both.
///
/// ```
/// # async fn show() -> Result<(), sociable::ConfigError> {
/// use sociable_gateway::api::peers::{PeerOptions, Peers};
///
/// let io = sociable::Server::builder().build()?;
/// let peers = Peers::install(&io, PeerOptions::new("node-1", "1.0.0"));
/// let count = peers.count("/", &["orders".into()], &[]).await;
/// println!("{} sockets, without the nodes {:?}", count.sockets, count.missing);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Peers {
    server: Server,
    node: Arc<LocalNode>,
}

/// This node, as it answers.
#[derive(Debug)]
struct LocalNode {
    options: PeerOptions,
    since: Instant,
}

/// A number of sockets of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCount {
    /// The number of sockets.
    pub sockets: u64,
    /// The names of the nodes that did not answer.
    pub missing: Vec<String>,
}

/// Rooms of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerRooms {
    /// The names of the rooms with their numbers of sockets, in the order of the names.
    pub rooms: Vec<(String, u64)>,
    /// Whether there are more rooms after these.
    pub truncated: bool,
    /// The names of the nodes that did not answer.
    pub missing: Vec<String>,
}

/// The nodes of the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerInfo {
    /// The nodes that answered, in the order of their names.
    pub nodes: Vec<NodeInfo>,
    /// The names of the nodes that did not answer.
    pub missing: Vec<String>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeInfo {
    /// The name.
    pub name: String,
    /// The first part of all ids of the node.
    pub tag: String,
    /// The version of its program.
    pub version: String,
    /// The number of sessions.
    pub sessions: u64,
    /// The number of sockets, over all namespaces.
    pub sockets: u64,
    /// The number of namespaces.
    pub namespaces: u64,
    /// The seconds since its start.
    pub uptime: u64,
    /// Whether the node is draining.
    pub draining: bool,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Peers {
    /// Lets a server answer the questions of other nodes. Call this once for a server, before it serves.
    ///
    /// Every node of the cluster needs this. Answers name the nodes without it as missing.
    pub fn install(server: &Server, options: PeerOptions) -> Self {
        let node = Arc::new(LocalNode { options, since: Instant::now() });
        let answering = Arc::clone(&node);
        server.on_server_event(EVENT, move |server: Server, Data(question): Data<Question>, ack: Ack| {
            let node = Arc::clone(&answering);
            async move { node.send_answer(&server, question, &ack).await }
        });
        Self { server: server.clone(), node }
    }

    /// Returns the number of sockets of a namespace in any of these rooms, or in all of it without rooms. Sockets in an excepted room are left out.
    pub async fn count(&self, namespace: &str, rooms: &[String], except: &[String]) -> PeerCount {
        let question = Question::Count { namespace: namespace.into(), rooms: rooms.to_vec(), except: except.to_vec() };
        let (others, here) = tokio::join!(self.ask::<u64>(&question), self.node.count(&self.server, namespace, rooms, except));
        let (counts, missing) = others;
        PeerCount { sockets: counts.into_iter().sum::<u64>() + here, missing }
    }

    /// Returns the first rooms of a namespace whose names begin with a prefix, with their numbers of sockets. Rooms of the ids of sockets are left out.
    ///
    /// At most `limit` rooms are returned, and never more than 10,000.
    pub async fn rooms(&self, namespace: &str, prefix: &str, limit: usize) -> PeerRooms {
        let limit = limit.min(MAX_ROOMS);
        let question = Question::Rooms { namespace: namespace.into(), prefix: prefix.into(), limit };
        let (others, here) = tokio::join!(self.ask::<LocalRooms>(&question), self.node.rooms(&self.server, namespace, prefix, limit));
        let (mut answers, missing) = others;
        answers.push(here);
        let (rooms, truncated) = merged(answers, limit);
        PeerRooms { rooms, truncated, missing }
    }

    /// Returns the nodes of the cluster.
    pub async fn info(&self) -> PeerInfo {
        let (mut nodes, missing) = self.ask::<NodeInfo>(&Question::Info).await;
        nodes.push(self.node.info(&self.server));
        nodes.sort_by(|a, b| (&a.name, &a.tag).cmp(&(&b.name, &b.tag)));
        PeerInfo { nodes, missing }
    }

    /// Asks the other nodes. Returns their answers, and the names of the nodes that did not answer.
    async fn ask<T: DeserializeOwned>(&self, question: &Question) -> (Vec<T>, Vec<String>) {
        let asked = self.server.other_nodes();
        let (replies, failed) = match self.server.server_side_emit_with_ack(EVENT, question).await {
            Ok(replies) => (replies, vec![]),
            Err(error) => (error.responses, error.missing),
        };
        let answers: Vec<Answered<T>> = replies.iter().filter_map(|args| args.decode(0).ok()).collect();
        let answered: BTreeSet<NodeTag> = answers.iter().map(|answer| answer.node).collect();
        let living = self.server.other_nodes();
        // A node that left meanwhile has no sockets. One that answered nothing cannot read the question.
        let silent = asked.iter().filter(|node| !answered.contains(&node.tag) && living.iter().any(|other| other.tag == node.tag));
        let missing: BTreeSet<String> = silent.map(|node| node.name.to_string()).chain(failed).collect();
        (answers.into_iter().map(|answer| answer.answer).collect(), missing.into_iter().collect())
    }
}

/// Returns the first rooms of several nodes, and whether there are more.
fn merged(answers: Vec<LocalRooms>, limit: usize) -> (Vec<(String, u64)>, bool) {
    // A node that left rooms out knows nothing about names after its last one.
    let end =
        answers.iter().filter(|answer| answer.more).map(|answer| answer.rooms.last().map(|(name, _)| name.clone()).unwrap_or_default());
    let end = end.min();
    let mut truncated = answers.iter().any(|answer| answer.more);
    let mut rooms = BTreeMap::new();
    for (name, sockets) in answers.into_iter().flat_map(|answer| answer.rooms) {
        if end.as_ref().is_none_or(|end| name <= *end) {
            *rooms.entry(name).or_default() += sockets;
        }
    }
    truncated |= rooms.len() > limit;
    (rooms.into_iter().take(limit).collect(), truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(names: &[(&str, u64)], more: bool) -> LocalRooms {
        LocalRooms { rooms: names.iter().map(|(name, sockets)| ((*name).to_owned(), *sockets)).collect(), more }
    }

    fn of(names: &[(&str, u64)]) -> Vec<(String, u64)> {
        rooms(names, false).rooms
    }

    #[test]
    fn rooms_of_nodes_are_added_up() {
        let all = merged(vec![rooms(&[("a", 1), ("c", 2)], false), rooms(&[("b", 3), ("c", 4)], false)], 10);
        assert_eq!(all, (of(&[("a", 1), ("b", 3), ("c", 6)]), false));
        let two = merged(vec![rooms(&[("a", 1), ("c", 2)], false), rooms(&[("b", 3), ("c", 4)], false)], 2);
        assert_eq!(two, (of(&[("a", 1), ("b", 3)]), true));
    }

    #[test]
    fn rooms_end_where_a_node_left_some_out() {
        // The second node may have more sockets in "c".
        let cut = merged(vec![rooms(&[("a", 1), ("c", 2)], false), rooms(&[("b", 3)], true)], 10);
        assert_eq!(cut, (of(&[("a", 1), ("b", 3)]), true));
        let none = merged(vec![rooms(&[("a", 1)], false), rooms(&[], true)], 10);
        assert_eq!(none, (vec![], true));
    }
}
