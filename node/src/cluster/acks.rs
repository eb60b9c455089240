//! Acknowledgements of broadcasts, over all threads and nodes.

use std::pin::Pin;
use std::time::Duration;

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt};
use sociable_adapter::{Answer, Ask, Request, Target};
use sociable_protocol::maps::Set;
use sociable_protocol::{Args, Frames, Id, NodeTag};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::ack::{AckError, AckReply, BroadcastAckError, Waiter};
use crate::broadcast::Flags;
use crate::cluster::frames::for_sockets;
use crate::cluster::questions::AskedNodes;
use crate::emit::EmitError;
use crate::namespace::Namespace;
use crate::stats::Count;

impl Namespace {
    /// Sends an event that asks for acknowledgements to sockets of this node. Returns the number of threads that will answer by [`Answer::Clients`].
    fn ask_sockets(&self, target: Target, frames: Frames, id: u64, flags: Flags, answers: mpsc::UnboundedSender<Answer>) -> usize {
        let namespace = self.clone();
        let frames = for_sockets(self.engine(), &target, flags.compress, &frames);
        self.on_workers(self.only_worker(&target), frames.len(), move |local| {
            let sockets = local.known(namespace.name()).map(|part| part.find(&target)).unwrap_or_default();
            // The asking side may have stopped waiting.
            drop(answers.send(Answer::Clients(sockets.iter().map(|socket| socket.shared.id).collect())));
            for socket in sockets {
                socket.await_ack(id, Waiter::Many(answers.clone()));
                if socket.send(frames.clone(), flags.volatile, flags.compress).is_err() {
                    socket.forget_ack(id);
                    drop(answers.send(Answer::Gone(socket.shared.id)));
                }
            }
        })
    }

    pub(crate) fn broadcast_with_ack(
        &self,
        target: Target,
        flags: Flags,
        name: ByteString,
        args: Result<Args, EmitError>,
    ) -> BoxFuture<'static, Result<Vec<AckReply>, BroadcastAckError>> {
        match self.ask_all(target, flags, name, args) {
            Ok(Some(collect)) => collect.run().boxed(),
            Ok(None) => ready(Ok(vec![])).boxed(),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    pub(crate) fn broadcast_with_ack_stream(
        &self,
        target: Target,
        flags: Flags,
        name: ByteString,
        args: Result<Args, EmitError>,
    ) -> BoxStream<'static, Result<AckReply, BroadcastAckError>> {
        match self.ask_all(target, flags, name, args) {
            Ok(Some(collect)) => collect.stream(),
            Ok(None) => futures_util::stream::empty().boxed(),
            Err(error) => futures_util::stream::once(ready(Err(error))).boxed(),
        }
    }

    /// Sends an event that asks for acknowledgements to all sockets of a target. `None` if the server has been dropped.
    fn ask_all(
        &self,
        target: Target,
        flags: Flags,
        name: ByteString,
        args: Result<Args, EmitError>,
    ) -> Result<Option<Collect>, BroadcastAckError> {
        let Some(server) = self.server_state() else { return Ok(None) };
        let args =
            args.map_err(|error| BroadcastAckError { replies: vec![], missing: vec![], missing_nodes: vec![], reason: error.into() })?;
        let elsewhere = (!flags.local && !server.alone).then(|| {
            let ask = Ask::Ack { target: target.clone(), name: name.clone(), args: args.clone(), compress: flags.compress };
            let (_span, trace) = self.sending(&name, false);
            server.cluster().request(Request { namespace: self.name().clone(), ask, trace })
        });
        let id = self.next_ack_id();
        let frames = self.event_frames(&name, args, Some(id));
        let (answers, answered) = mpsc::unbounded_channel();
        let reports = self.ask_sockets(target, frames, id, flags, answers);
        let awaited = Awaited { namespace: self.clone(), id, reports, sockets: Set::default() };
        let timeout = flags.timeout.unwrap_or(server.ack_timeout);
        let (nodes, heard) = (AskedNodes::default(), Set::default());
        Ok(Some(Collect { answered, elsewhere, awaited, replies: vec![], left: vec![], nodes, heard, timeout, deadline: None }))
    }
}

impl Namespace {
    /// Sends another node's event to sockets of this node, and relays their acknowledgements.
    ///
    /// The stream may be dropped when that node stops listening.
    pub(crate) fn relay_acks(&self, target: Target, flags: Flags, name: &str, args: Args) -> BoxStream<'static, Answer> {
        let id = self.next_ack_id();
        let (answers, answered) = mpsc::unbounded_channel();
        let reports = self.ask_sockets(target, self.event_frames(name, args, Some(id)), id, flags, answers);
        let awaited = Awaited { namespace: self.clone(), id, reports, sockets: Set::default() };
        // Each socket that owes an answer holds a sender, so the stream ends with the last answer.
        futures_util::stream::unfold((answered, awaited), |(mut answered, mut awaited)| async {
            let answer = answered.recv().await?;
            match &answer {
                Answer::Clients(ids) => {
                    awaited.reports -= 1;
                    awaited.sockets.extend(ids);
                }
                Answer::Ack(id, _) | Answer::Gone(id) => drop(awaited.sockets.remove(id)),
                _ => {}
            }
            Some((answer, (answered, awaited)))
        })
        .boxed()
    }
}

/// Awaited acknowledgements. When this is dropped, the sockets forget them.
struct Awaited {
    namespace: Namespace,
    id: u64,
    /// The number of threads that have not reported their sockets yet.
    reports: usize,
    sockets: Set<Id>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if self.sockets.is_empty() && self.reports == 0 {
            return;
        }
        // Sockets of unreported threads are unknown here. Each unreported thread has asked them before this call runs there.
        let unknown = self.reports > 0;
        let (namespace, id, sockets) = (self.namespace.clone(), self.id, std::mem::take(&mut self.sockets));
        self.namespace.on_workers(None, 0, move |local| {
            let Some(part) = local.known(namespace.name()) else { return };
            if unknown {
                return part.find(&Target::default()).iter().for_each(|socket| socket.forget_ack(id));
            }
            let late = part.read(|rooms| sockets.iter().filter_map(|socket| rooms.socket(socket).cloned()).collect::<Vec<_>>());
            late.into_iter().flatten().for_each(|socket| socket.forget_ack(id));
        });
    }
}

/// Collects the acknowledgements of a broadcast.
struct Collect {
    answered: mpsc::UnboundedReceiver<Answer>,
    elsewhere: Option<BoxStream<'static, Answer>>,
    awaited: Awaited,
    replies: Vec<AckReply>,
    /// The sockets that left without an answer.
    left: Vec<Id>,
    /// The nodes that were asked.
    nodes: AskedNodes,
    /// The tags of the nodes whose sockets are known.
    heard: Set<NodeTag>,
    timeout: Duration,
    /// Begins with the first poll.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Collect {
    /// Returns all acknowledgements together.
    async fn run(mut self) -> Result<Vec<AckReply>, BroadcastAckError> {
        while !self.is_complete() {
            if !self.step().await {
                return Err(self.timed_out());
            }
        }
        self.finish()
    }

    /// Returns each acknowledgement as it arrives, and last the error if some are missing.
    fn stream(self) -> BoxStream<'static, Result<AckReply, BroadcastAckError>> {
        let next = |collect: Option<Self>| async {
            let mut collect = collect?;
            loop {
                // A step adds one at most.
                if let Some(reply) = collect.replies.pop() {
                    return Some((Ok(reply), Some(collect)));
                }
                if collect.is_complete() {
                    return collect.finish().err().map(|error| (Err(error), None));
                }
                if !collect.step().await {
                    return Some((Err(collect.timed_out()), None));
                }
            }
        };
        futures_util::stream::unfold(Some(self), next).boxed()
    }

    fn is_complete(&self) -> bool {
        self.awaited.reports == 0 && self.elsewhere.is_none() && self.awaited.sockets.is_empty()
    }

    /// Waits for the next answer. False if the deadline passed before.
    async fn step(&mut self) -> bool {
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.timeout)));
        let elsewhere = async {
            match &mut self.elsewhere {
                Some(answers) => answers.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(answer) = self.answered.recv() => {
                if matches!(answer, Answer::Clients(_)) {
                    self.awaited.reports -= 1;
                }
                self.collect(answer);
            }
            answer = elsewhere => match answer {
                Some(answer) => {
                    self.nodes.note(&answer);
                    self.collect(answer);
                }
                None => self.elsewhere = None,
            },
            () = deadline => return false,
        }
        true
    }

    /// Returns the error of a passed deadline.
    fn timed_out(mut self) -> BroadcastAckError {
        let missing: Vec<_> = self.left.drain(..).chain(self.awaited.sockets.iter().copied()).collect();
        self.awaited.namespace.count(Count::AcksTimedOut);
        let heard = self.names_of_heard();
        let (missing_nodes, failed) = self.nodes.missing_besides(&heard);
        let reason = failed.map_or(AckError::Timeout, AckError::Emit);
        BroadcastAckError { replies: self.replies, missing, missing_nodes, reason }
    }

    /// Returns the result after all answers.
    fn finish(self) -> Result<Vec<AckReply>, BroadcastAckError> {
        let (missing_nodes, failed) = self.nodes.missing(true);
        if self.left.is_empty() && missing_nodes.is_empty() {
            return Ok(self.replies);
        }
        let reason = failed.map_or(AckError::Disconnected, AckError::Emit);
        Err(BroadcastAckError { replies: self.replies, missing: self.left, missing_nodes, reason })
    }

    fn collect(&mut self, answer: Answer) {
        match answer {
            Answer::Clients(ids) => {
                self.heard.extend(ids.first().map(Id::tag));
                self.awaited.sockets.extend(ids);
            }
            Answer::Ack(id, args) if self.awaited.sockets.remove(&id) => self.replies.push(AckReply { id, args }),
            Answer::Gone(id) if self.awaited.sockets.remove(&id) => self.left.push(id),
            // The node was already noted, and its unanswered clients are reported one by one.
            _ => {}
        }
    }

    /// Returns the names of the nodes whose sockets are known. A node without sockets has finished.
    fn names_of_heard(&self) -> Vec<ByteString> {
        let Some(server) = self.awaited.namespace.server_state() else { return vec![] };
        let known = server.cluster().other_nodes().into_iter();
        known.filter(|node| self.heard.contains(&node.tag)).map(|node| node.name).collect()
    }
}
