//! The answers of this node.

use serde::Serialize;
use sociable::adapter::own_room;
use sociable::{Ack, Namespace, Server};

use super::question::{Answered, LocalRooms, Question};
use super::{LocalNode, MAX_ROOMS, NodeInfo};

impl LocalNode {
    /// Answers a question of another node.
    pub(super) async fn send_answer(&self, server: &Server, question: Question, ack: &Ack) {
        match question {
            Question::Count { namespace, rooms, except } => {
                send(server, ack, self.count(server, &namespace, &rooms, &except).await);
            }
            Question::Rooms { namespace, prefix, limit } => {
                send(server, ack, self.rooms(server, &namespace, &prefix, limit.min(MAX_ROOMS)).await);
            }
            Question::Info => send(server, ack, self.info(server)),
        }
    }

    pub(super) async fn count(&self, server: &Server, namespace: &str, rooms: &[String], except: &[String]) -> u64 {
        match server.namespace(namespace) {
            Some(namespace) => namespace.to(rooms).except(except).local_count().await as u64,
            None => 0,
        }
    }

    pub(super) async fn rooms(&self, server: &Server, namespace: &str, prefix: &str, limit: usize) -> LocalRooms {
        let Some(namespace) = server.namespace(namespace) else { return LocalRooms::default() };
        let rooms = namespace.local_rooms_with_prefix(prefix).await;
        let mut rooms: Vec<_> = rooms.into_iter().filter(|(name, _)| own_room(name).is_none()).collect();
        rooms.sort_unstable();
        let mut bytes = 0;
        let fits = rooms.iter().take(limit).take_while(|(name, _)| {
            bytes += name.len();
            bytes <= self.options.max_answer_bytes
        });
        let fits = fits.count();
        let more = fits < rooms.len();
        LocalRooms { rooms: rooms.into_iter().take(fits).map(|(name, sockets)| (name.to_string(), sockets as u64)).collect(), more }
    }

    pub(super) fn info(&self, server: &Server) -> NodeInfo {
        let (namespaces, health) = (server.namespaces(), server.health());
        NodeInfo {
            name: self.options.name.clone(),
            tag: server.tag().to_string(),
            version: self.options.version.clone(),
            sessions: server.session_count() as u64,
            sockets: namespaces.iter().map(Namespace::socket_count).sum::<usize>() as u64,
            namespaces: namespaces.len() as u64,
            uptime: self.since.elapsed().as_secs(),
            draining: health.draining,
        }
    }
}

fn send<T: Serialize>(server: &Server, ack: &Ack, answer: T) {
    if let Err(error) = ack.send(&Answered { node: server.tag(), answer }) {
        tracing::debug!(target: "sociable::gateway", %error, "answer to another node not sent");
    }
}
