//! Doing on every thread of this node, and on the other nodes, what an operator asks for.

use std::rc::Rc;
use std::sync::Arc;

use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{BoxStream, StreamExt};
use sociable_adapter::{Answer, Ask, Entry, Message, Operation, Position, Request, Room, Target};
use sociable_protocol::{Args, Frames, Id};
use tokio::sync::mpsc;

use crate::ack::{AckError, AckReply, BroadcastAckError, Waiter};
use crate::emit::EmitError;
use crate::local::{Local, LocalNamespace, LocalSocket};
use crate::maps::Set;
use crate::metrics::Count;
use crate::namespace::Namespace;
use crate::operator::Flags;
use crate::reason::DisconnectReason;
use crate::recovery::Recoveries;
use crate::remote_socket::{FetchError, RemoteSocket};
use crate::server_events::AskedNodes;
use crate::trace;
use crate::worker::Worker;

impl Namespace {
    /// Does something with sockets on all nodes.
    pub(crate) fn perform(&self, target: Target, operation: Operation, local: bool) -> Result<(), EmitError> {
        // What concerns those too who are away has a place in the history. Where nodes share it, it is theirs as well.
        let is_kept = |recoveries: &&Arc<Recoveries>| operation.is_order() && !(local && recoveries.history.is_shared());
        let kept = self.recoveries().filter(is_kept).cloned();
        let shared = kept.as_ref().is_some_and(|recoveries| recoveries.history.is_shared());
        let told = match self.server_inner().filter(|server| !local && !server.alone && !shared) {
            Some(server) => {
                let message = Message { namespace: self.name().clone(), target: target.clone(), operation: operation.clone() };
                trace::published(&message);
                server.cluster().publish(message).map_err(EmitError::from)
            }
            None => Ok(()),
        };
        let done = match kept {
            Some(recoveries) => self.order(&recoveries, target, operation),
            None => self.perform_here(target, operation),
        };
        done.and(told)
    }

    /// Has sockets of this node join, leave or disconnect, and those who are away when they come back.
    pub(crate) fn order(&self, recoveries: &Recoveries, target: Target, operation: Operation) -> Result<(), EmitError> {
        let joining = matches!(operation, Operation::Join(_)).then(|| self.join_under_way());
        let order = Message { namespace: self.name().clone(), target: target.clone(), operation: operation.clone() };
        let kept = self.set_out(&target, joining, |deliver| recoveries.history.append_order(order, deliver));
        match kept {
            // Those who are here obey all the same.
            Err(error @ EmitError::Adapter(_)) => self.perform_here(target, operation).and(Err(error)),
            kept => kept,
        }
    }

    /// Does something with the sockets of this node.
    pub(crate) fn perform_here(&self, target: Target, operation: Operation) -> Result<(), EmitError> {
        let engine = self.engine();
        let here = Local::current(engine);
        let only = self.only_worker(&target);
        let meant = |index: usize| only.is_none_or(|only| only == index);
        let mut result = Ok(());
        if engine.worker_count() > usize::from(here.is_some()) {
            let bytes = cost(&target, &operation);
            let joining = matches!(operation, Operation::Join(_)).then(|| self.join_under_way());
            let job = Arc::new((self.clone(), target.clone(), operation.clone(), joining));
            for (index, worker) in engine.workers().iter().enumerate() {
                if !meant(index) || here.as_ref().is_some_and(|here| here.worker.index == index) {
                    continue;
                }
                let job = Arc::clone(&job);
                let sent = worker.run(bytes, move |worker| apply(&Local::of(worker), &job.0, &job.1, &job.2));
                if sent.is_err() && worker.is_alive() {
                    result = Err(EmitError::Busy);
                }
            }
        }
        if let Some(local) = here.filter(|local| meant(local.worker.index)) {
            apply(&local, self, &target, &operation);
        }
        result
    }

    /// Has `act` done on each worker thread of this node, or on one. Tells on how many it will be.
    pub(crate) fn on_workers(&self, only: Option<usize>, bytes: usize, act: impl Fn(&Rc<Local>) + Send + Sync + 'static) -> usize {
        let engine = self.engine();
        let here = Local::current(engine);
        let act = Arc::new(act);
        let mut reached = 0;
        for (index, worker) in engine.workers().iter().enumerate() {
            if only.is_some_and(|only| only != index) {
                continue;
            }
            if let Some(local) = here.as_ref().filter(|local| local.worker.index == index) {
                act(local);
                reached += 1;
                continue;
            }
            let act = Arc::clone(&act);
            reached += usize::from(worker.run(bytes, move |worker: &Rc<Worker>| act(&Local::of(worker))).is_ok());
        }
        reached
    }

    /// Sends an event that asks for acknowledgements to sockets of this node. Each thread answers by [`Answer::Clients`]; tells how many will.
    fn ask_sockets(&self, target: Target, frames: Frames, id: u64, flags: Flags, answers: mpsc::UnboundedSender<Answer>) -> usize {
        let namespace = self.clone();
        self.on_workers(self.only_worker(&target), frames.len(), move |local| {
            let sockets = local.known(namespace.name()).map(|part| part.select(&target)).unwrap_or_default();
            // Who asked may have stopped to wait.
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
        let (Some(server), args) = (self.server_inner(), args) else { return ready(Ok(vec![])).boxed() };
        let args = match args {
            Ok(args) => args,
            Err(error) => return ready(Err(BroadcastAckError { replies: vec![], missing: vec![], reason: error.into() })).boxed(),
        };
        let elsewhere = (!flags.local && !server.alone).then(|| {
            let ask = Ask::Ack { target: target.clone(), name: name.clone(), args: args.clone(), compress: flags.compress };
            server.cluster().request(Request { namespace: self.name().clone(), ask })
        });
        let id = self.next_ack_id();
        let frames = self.event_frames(&name, args, Some(id));
        let (answers, answered) = mpsc::unbounded_channel();
        let reports = self.ask_sockets(target, frames, id, flags, answers);
        let awaited = Awaited { namespace: self.clone(), id, reports, sockets: Set::default() };
        let timeout = flags.timeout.unwrap_or(server.ack_timeout);
        let collect = Collect { answered, elsewhere, awaited, replies: vec![], gone: vec![], lost: false, failed: None };
        collect.run(timeout).boxed()
    }

    /// Tells of the sockets of this node: an [`Answer::Sockets`] of each thread. Tells how many there will be.
    pub(crate) fn tell_sockets(&self, target: Target, answers: mpsc::UnboundedSender<Answer>) -> usize {
        let namespace = self.clone();
        self.on_workers(self.only_worker(&target), 0, move |local| {
            let sockets = local.known(namespace.name()).map(|part| part.select(&target)).unwrap_or_default();
            drop(answers.send(Answer::Sockets(sockets.iter().map(|socket| socket.shared.info()).collect())));
        })
    }

    pub(crate) fn fetch(&self, target: Target, flags: Flags) -> BoxFuture<'static, Result<Vec<RemoteSocket>, FetchError>> {
        let Some(server) = self.server_inner() else { return ready(Ok(vec![])).boxed() };
        let elsewhere = (!flags.local && !server.alone).then(|| {
            let ask = Ask::Sockets { target: target.clone() };
            server.cluster().request(Request { namespace: self.name().clone(), ask })
        });
        let (answers, answered) = mpsc::unbounded_channel();
        let reports = self.tell_sockets(target, answers);
        let (namespace, timeout) = (self.clone(), flags.timeout.unwrap_or(server.request_timeout));
        async move {
            let mut answers = merged(answered, reports, elsewhere);
            let (mut sockets, mut asked) = (vec![], AskedNodes::default());
            let collect = async {
                while let Some(answer) = answers.next().await {
                    match answer {
                        Answer::Sockets(infos) => sockets.extend(infos.into_iter().map(|info| RemoteSocket::new(namespace.clone(), info))),
                        other => asked.note(&other),
                    }
                }
            };
            let in_time = tokio::time::timeout(timeout, collect).await.is_ok();
            match asked.missing(in_time) {
                (missing, None) if missing.is_empty() && in_time => Ok(sockets),
                (missing, error) => Err(FetchError { sockets, missing, error }),
            }
        }
        .boxed()
    }
}

impl Namespace {
    /// Sends an event to sockets of this node for another node, and passes their acknowledgements on until that node stops to listen.
    pub(crate) fn relay_acks(&self, target: Target, flags: Flags, name: &str, args: Args) -> BoxStream<'static, Answer> {
        let id = self.next_ack_id();
        let (answers, answered) = mpsc::unbounded_channel();
        let reports = self.ask_sockets(target, self.event_frames(name, args, Some(id)), id, flags, answers);
        let awaited = Awaited { namespace: self.clone(), id, reports, sockets: Set::default() };
        // Each socket that owes an answer holds a sender: the stream ends with the last.
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

/// The one answer of each thread, and all answers of other nodes.
fn merged(
    answered: mpsc::UnboundedReceiver<Answer>,
    reports: usize,
    elsewhere: Option<BoxStream<'static, Answer>>,
) -> BoxStream<'static, Answer> {
    let here = futures_util::stream::unfold(answered, |mut answered| async { Some((answered.recv().await?, answered)) }).take(reports);
    match elsewhere {
        None => here.boxed(),
        Some(elsewhere) => futures_util::stream::select(here.boxed(), elsewhere).boxed(),
    }
}

/// Acknowledgements that are waited for. When nobody waits any more, the sockets forget them.
struct Awaited {
    namespace: Namespace,
    id: u64,
    /// Threads that have not told yet how many sockets they have.
    reports: usize,
    sockets: Set<Id>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if self.sockets.is_empty() && self.reports == 0 {
            return;
        }
        // Of a thread that has not told it is not known which sockets wait: by the time it does this, it has asked them.
        let unknown = self.reports > 0;
        let (namespace, id, sockets) = (self.namespace.clone(), self.id, std::mem::take(&mut self.sockets));
        self.namespace.on_workers(None, 0, move |local| {
            let Some(part) = local.known(namespace.name()) else { return };
            if unknown {
                return part.select(&Target::default()).iter().for_each(|socket| socket.forget_ack(id));
            }
            let late = part.rooms.read(|rooms| sockets.iter().filter_map(|socket| rooms.socket(socket).cloned()).collect::<Vec<_>>());
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
    /// Sockets that left without an answer.
    gone: Vec<Id>,
    /// A node was lost before all its sockets had answered.
    lost: bool,
    /// The other nodes could not be asked.
    failed: Option<EmitError>,
}

impl Collect {
    async fn run(mut self, timeout: std::time::Duration) -> Result<Vec<AckReply>, BroadcastAckError> {
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        while self.awaited.reports > 0 || self.elsewhere.is_some() || !self.awaited.sockets.is_empty() {
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
                    self.take(answer);
                }
                answer = elsewhere => match answer {
                    Some(answer) => self.take(answer),
                    None => self.elsewhere = None,
                },
                () = &mut deadline => {
                    let missing: Vec<_> = self.gone.drain(..).chain(self.awaited.sockets.iter().copied()).collect();
                    self.awaited.namespace.engine().count(Count::AcksTimedOut);
                    let reason = self.failed.map_or(AckError::Timeout, AckError::Emit);
                    return Err(BroadcastAckError { replies: self.replies, missing, reason });
                }
            }
        }
        if self.gone.is_empty() && !self.lost {
            Ok(self.replies)
        } else {
            let reason = self.failed.map_or(AckError::Disconnected, AckError::Emit);
            Err(BroadcastAckError { replies: self.replies, missing: self.gone, reason })
        }
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Clients(ids) => self.awaited.sockets.extend(ids),
            Answer::Ack(id, args) if self.awaited.sockets.remove(&id) => self.replies.push(AckReply { id, args }),
            Answer::Gone(id) if self.awaited.sockets.remove(&id) => self.gone.push(id),
            // What clients of it had not answered is told by itself; but it may not even have told who they are.
            Answer::Lost(_) => self.lost = true,
            Answer::Failed(error) => self.failed = Some(error.into()),
            _ => {}
        }
    }
}

impl LocalNamespace {
    /// The sockets that are meant.
    fn select(&self, target: &Target) -> Vec<Rc<LocalSocket>> {
        let mut sockets = vec![];
        self.rooms.call(|rooms| rooms.each(target, |socket| sockets.push(Rc::clone(socket))));
        sockets
    }

    /// Queues frames for each of the sockets that are meant.
    fn fan_out(&self, target: &Target, frames: &Frames, volatile: bool, compress: bool, cursor: Position) {
        // Where clients may come back, what has no place in the history says so; most threads have got to the same one.
        let placeless = self.namespace.recoveries().map(|_| self.namespace.with_offset(frames, cursor));
        self.queue(target, frames, compress, None, |socket| {
            if volatile && !socket.session.is_writable() {
                socket.session.worker().counters.one(Count::VolatileDropped);
                return None;
            }
            match (&placeless, &socket.marks) {
                (Some(_), Some(marks)) if marks.reached(cursor) != cursor => Some(socket.placeless(frames.clone())),
                (Some(placeless), _) => Some(placeless.clone()),
                (None, _) => Some(frames.clone()),
            }
        });
    }

    /// Queues an event of the history for each of the sockets that are meant, but for those that got it when they came back.
    pub(crate) fn fan_out_kept(&self, entry: &Entry, before: Position) {
        let mark = entry.mark();
        let has_got = |socket: &LocalSocket| socket.marks.as_ref().is_some_and(|marks| marks.has_got(&mark));
        self.queue(&entry.target, &entry.frames, entry.compress, Some((mark, before)), |socket| {
            (!has_got(socket)).then(|| entry.frames.clone())
        });
    }

    /// Carries out an order of the history, but for the sockets that obeyed it when they came back.
    pub(crate) fn obey(&self, entry: &Entry, operation: &Operation) {
        let mark = entry.mark();
        let mut sockets = self.select(&entry.target);
        sockets.retain(|socket| !socket.marks.as_ref().is_some_and(|marks| marks.served.get().covers(&mark)));
        carry_out(&sockets, operation);
    }

    /// Queues what `choose` gives for each of the sockets that are meant.
    #[inline]
    fn queue(
        &self,
        target: &Target,
        frames: &Frames,
        compress: bool,
        kept: Option<(Position, Position)>,
        choose: impl Fn(&LocalSocket) -> Option<Frames>,
    ) {
        // What may call users' code waits until the rooms are free again.
        let (mut slow, mut listened) = (vec![], vec![]);
        self.rooms.call(|rooms| {
            rooms.each(target, |socket| {
                let Some(chosen) = choose(socket) else { return };
                if socket.listens_outgoing.get() {
                    listened.push(Rc::clone(socket));
                }
                let sent = socket.session.offer(chosen, compress);
                if sent == Err(crate::engine::SendError::SlowClient) {
                    slow.push(Rc::clone(socket));
                }
                if let (Some((mark, before)), Some(marks)) = (kept, &socket.marks) {
                    marks.count(mark, before, sent.is_ok());
                }
            });
        });
        listened.iter().for_each(|socket| socket.tell_outgoing(frames));
        slow.iter().for_each(|socket| socket.session.end_slow());
    }
}

/// About what it takes to keep this for a thread.
fn cost(target: &Target, operation: &Operation) -> usize {
    let names = |rooms: &[Room]| rooms.iter().map(|room| size_of::<Room>() + room.len()).sum::<usize>();
    let content = match operation {
        Operation::Emit { frames, .. } => frames.len(),
        Operation::Join(rooms) | Operation::Leave(rooms) => names(rooms),
        Operation::Disconnect { .. } | Operation::ServerEvent { .. } => 0,
    };
    256 + names(&target.rooms) + names(&target.except) + content
}

/// Does on this thread what is to be done.
fn apply(local: &Rc<Local>, namespace: &Namespace, target: &Target, operation: &Operation) {
    let Some(part) = local.known(namespace.name()) else { return };
    match operation {
        Operation::Emit { frames, volatile, compress } => part.fan_out(target, frames, *volatile, *compress, local.cursor()),
        _ => carry_out(&part.select(target), operation),
    }
}

/// Has sockets join, leave or disconnect.
fn carry_out(sockets: &[Rc<LocalSocket>], operation: &Operation) {
    match operation {
        Operation::Join(rooms) => sockets.iter().for_each(|socket| socket.join(rooms)),
        Operation::Leave(rooms) => sockets.iter().for_each(|socket| socket.leave_rooms(rooms)),
        Operation::Disconnect { close: true } => sockets.iter().for_each(LocalSocket::close),
        Operation::Disconnect { close: false } => {
            sockets.iter().for_each(|socket| socket.leave(DisconnectReason::ServerNamespaceDisconnect, true));
        }
        // Events are sent elsewhere; those between servers are for the application.
        Operation::Emit { .. } | Operation::ServerEvent { .. } => {}
    }
}
