//! Events with a position in the history, and the packets of returning clients.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytestring::ByteString;
use sociable_adapter::{AdapterError, Entry, NewEvent, Operation, Position, Reach, Target};
use sociable_protocol::{Args, Frames, TraceContext};
use tracing::Span;

use crate::broadcast::Flags;
use crate::cluster::frames::for_sockets;
use crate::emit::EmitError;
use crate::namespace::Namespace;
use crate::recovery::registry::Recoveries;
use crate::socket::Socket;
use crate::thread::{ThreadState, on_thread};
use crate::trace;

impl Namespace {
    /// Sends an event to sockets. With recovery, disconnected clients get it when they return.
    pub(crate) fn send_event(&self, target: Target, name: &str, args: Args, flags: Flags) -> Result<(), EmitError> {
        let Flags { volatile, compress, local, .. } = flags;
        let (_span, trace) = if local { (Span::none(), None) } else { self.sending(name, false) };
        let Some(recoveries) = self.recoveries().filter(|_| !volatile).cloned() else {
            let frames = self.event_frames(name, args, None);
            return self.broadcast(target, Operation::Emit { frames, volatile, compress }, local, trace);
        };
        let reach = || if local { Reach::Here } else { Reach::Everywhere };
        // A shared history delivers the event to the other nodes.
        let shared = recoveries.history.is_shared();
        let (by_history, by_message) = if shared { (trace, None) } else { (None, trace) };
        self.send_persisted(&recoveries, target.clone(), (name, &args), compress, &reach, by_history)?;
        if local {
            return Ok(());
        }
        if shared {
            trace::published_event(self.name(), &target, args.encoded_len());
            return Ok(());
        }
        self.publish(by_message, || {
            let frames = self.event_frames(name, args, None);
            (target, Operation::Emit { frames, volatile, compress })
        })
    }

    /// Sends an event to one socket. With recovery, a disconnected client gets it when it returns.
    pub(crate) fn send_to_socket(
        &self,
        recoveries: &Recoveries,
        socket: &Socket,
        name: &str,
        args: &Args,
        compress: bool,
    ) -> Result<(), EmitError> {
        let target = Target { rooms: vec![socket.id().as_str().into()], except: vec![] };
        // With a shared history, a disconnected client may return to another node.
        let stays = || socket.is_connected() && !socket.0.recovery.as_ref().is_some_and(|recovery| recovery.leaves.load(Ordering::Acquire));
        let reach = || if stays() || !recoveries.history.is_shared() { Reach::Here } else { Reach::Everywhere };
        self.send_persisted(recoveries, target, (name, args), compress, &reach, None)
    }

    /// Appends another node's event to this node's own history, and delivers it.
    pub(crate) fn persist_remote(&self, recoveries: &Recoveries, target: Target, frames: &Frames, compress: bool) -> Result<(), EmitError> {
        let mut write = |offset: &str| self.with_offset_of(self.name(), frames, offset);
        self.persist(recoveries, target, compress, &|| Reach::Here, &mut write, None)
    }

    fn send_persisted(
        &self,
        recoveries: &Recoveries,
        target: Target,
        (name, args): (&str, &Args),
        compress: bool,
        reach: &dyn Fn() -> Reach,
        trace: Option<Box<TraceContext>>,
    ) -> Result<(), EmitError> {
        let mut write = |offset: &str| {
            let mut with_offset = Args::builder(args.encoding());
            // The arguments are encoded already, and the offset is text.
            let written = with_offset.append(args).is_ok_and(|args| args.push(offset).is_ok());
            self.event_frames(name, if written { with_offset.finish() } else { args.clone() }, None)
        };
        self.persist(recoveries, target, compress, reach, &mut write, trace)
    }

    /// Appends an event to the history and delivers it. `write` returns the frames with the offset of its position.
    fn persist(
        &self,
        recoveries: &Recoveries,
        target: Target,
        compress: bool,
        reach: &dyn Fn() -> Reach,
        write: &mut dyn FnMut(&str) -> Frames,
        trace: Option<Box<TraceContext>>,
    ) -> Result<(), EmitError> {
        let receivers = target.clone();
        let event = NewEvent { namespace: self.name(), target, compress, reach, write, trace };
        self.set_out(&receivers, None, |deliver| recoveries.history.append(event, deliver))
    }

    /// Appends an entry to the history and delivers it, on each thread in the order of positions. `joining` is held until then.
    pub(crate) fn set_out(
        &self,
        target: &Target,
        joining: Option<Arc<()>>,
        append: impl FnOnce(&mut dyn FnMut(&Arc<Entry>)) -> Result<(), AdapterError>,
    ) -> Result<(), EmitError> {
        let engine = self.engine();
        let workers = engine.workers();
        // Checked before the entry has a position, because afterwards it has to reach everybody.
        let meant = self.only_worker(target);
        if workers.iter().enumerate().any(|(index, worker)| meant.is_none_or(|meant| meant == index) && worker.is_full()) {
            return Err(EmitError::Busy);
        }
        let here = ThreadState::current(engine);
        let mut at_once = None;
        let mut deliver = |entry: &Arc<Entry>| {
            let only = self.only_worker(&entry.target);
            let frames = for_sockets(engine, &entry.target, entry.compress, &entry.frames);
            for (index, worker) in workers.iter().enumerate().filter(|(index, _)| only.is_none_or(|only| only == *index)) {
                if here.as_ref().is_some_and(|here| here.worker.index() == index && here.worker.is_idle()) {
                    at_once = Some((Arc::clone(entry), frames.clone()));
                    continue;
                }
                let (bytes, entry, frames, joining) = (frames.len(), Arc::clone(entry), frames.clone(), joining.clone());
                let deliver = move |thread: &Rc<ThreadState>| {
                    thread.deliver(&entry, &frames);
                    drop(joining);
                };
                worker.force(bytes, on_thread(deliver));
            }
        };
        append(&mut deliver)?;
        match (here, at_once) {
            (Some(here), Some((entry, frames))) => here.deliver(&entry, &frames),
            // The entry waits behind earlier calls of other threads.
            (Some(here), None) => here.worker.make_calls(),
            (None, _) => {}
        }
        Ok(())
    }

    /// Replaces the offset of an event of the history.
    pub(crate) fn at_offset(&self, frames: &Frames, offset: &str) -> Frames {
        self.rewrite(self.name(), frames, offset, 1)
    }

    /// Adds an offset to an event of a namespace.
    pub(crate) fn with_offset_of(&self, namespace: &ByteString, frames: &Frames, offset: &str) -> Frames {
        let appended = self.parser().append_text(frames, offset);
        appended.unwrap_or_else(|| self.rewrite(namespace, frames, offset, 0))
    }

    /// Replaces the last `without` arguments of an event by an offset.
    fn rewrite(&self, namespace: &ByteString, frames: &Frames, offset: &str, without: usize) -> Frames {
        let rewritten = self.read_event(frames).and_then(|(name, args, ack)| {
            let mut builder = Args::builder(args.encoding());
            for arg in args.iter().take(args.len().checked_sub(without)?) {
                builder.append(&arg).ok()?;
            }
            builder.push(offset).ok()?;
            Some(self.frames(&crate::ack::event(namespace, name, builder.finish(), ack)))
        });
        rewritten.unwrap_or_else(|| frames.clone())
    }

    /// Adds the offset of this position to a packet that clients would misread.
    ///
    /// Clients read any text at the end of an event as its offset; without arguments, they read the name.
    pub(crate) fn with_offset(&self, frames: &Frames, position: Position) -> Frames {
        let rewritten = self.recoveries().and_then(|recoveries| {
            let (name, args, ack) = self.read_event(frames)?;
            let ends_in_text = args.is_empty() || args.skip(args.len() - 1).decode::<String>(0).is_ok();
            if !ends_in_text || ack.is_some() {
                return None;
            }
            let mut builder = Args::builder(args.encoding());
            builder.append(&args).ok()?.push(&recoveries.history.offset(&position)).ok()?;
            Some(self.event_frames(&name, builder.finish(), None))
        });
        rewritten.unwrap_or_else(|| frames.clone())
    }
}
