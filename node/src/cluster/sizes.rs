//! The sizes of rooms and of selections on this node, over all threads.

use std::collections::HashMap;

use bytestring::ByteString;
use sociable_adapter::{Room, Target};
use tokio::sync::mpsc;

use crate::namespace::Namespace;
use crate::socket::Socket;
use crate::thread::namespace::LocalNamespace;
use crate::thread::namespace_actor::NamespaceActor;

impl Namespace {
    /// Returns the rooms of this node with their numbers of sockets, including the room of each socket's id.
    pub async fn local_rooms(&self) -> HashMap<Room, usize> {
        self.local_sizes(NamespaceActor::sizes).await
    }

    /// Returns the rooms of this node whose names begin with `prefix`, with their numbers of sockets. The rooms of the sockets' ids are left out.
    pub async fn local_rooms_with_prefix(&self, prefix: &str) -> HashMap<Room, usize> {
        let prefix = ByteString::from(prefix);
        self.local_sizes(move |actor| actor.sizes_of(&prefix)).await
    }

    /// Returns the number of sockets of a target on this node.
    pub(crate) async fn count_local(&self, target: Target) -> usize {
        let only = self.only_worker(&target);
        let mut count = 0;
        self.each_worker(only, move |part| part.count(&target), |counted| count += counted).await;
        count
    }

    /// Returns the sockets of a target on this node.
    pub(crate) async fn find_local(&self, target: Target) -> Vec<Socket> {
        let only = self.only_worker(&target);
        let mut sockets = vec![];
        let find = move |part: &LocalNamespace| part.find(&target).iter().map(|socket| socket.socket()).collect::<Vec<_>>();
        self.each_worker(only, find, |found| sockets.extend(found)).await;
        sockets
    }

    async fn local_sizes(&self, sizes: impl Fn(&NamespaceActor) -> Vec<(Room, usize)> + Send + Sync + 'static) -> HashMap<Room, usize> {
        let mut rooms = HashMap::new();
        let collect = |sizes: Option<Vec<(Room, usize)>>| {
            for (room, size) in sizes.into_iter().flatten() {
                *rooms.entry(room).or_default() += size;
            }
        };
        self.each_worker(None, move |part| part.read(&sizes), collect).await;
        rooms
    }

    /// Calls `look` on each worker thread that knows the namespace, or on one thread, and `collect` here with each result.
    async fn each_worker<T: Send + 'static>(
        &self,
        only: Option<usize>,
        look: impl Fn(&LocalNamespace) -> T + Send + Sync + 'static,
        mut collect: impl FnMut(T),
    ) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let namespace = self.clone();
        let mut reports = self.on_workers(only, 0, move |local| {
            drop(sender.send(local.known(namespace.name()).map(|part| look(&part))));
        });
        while reports > 0 {
            // A worker that ends meanwhile drops its sender.
            let Some(report) = receiver.recv().await else { break };
            reports -= 1;
            report.into_iter().for_each(&mut collect);
        }
    }
}
