//! Acknowledgements in both directions.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use sociable_adapter::Answer;
use sociable_protocol::maps::Numbered;
use sociable_protocol::{Args, Body, Encoding, Id, Packet};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;

use crate::emit::{EmitArgs, EmitError};
use crate::socket::Socket;
use crate::stats::Count;

/// The acknowledgement that the sender of an event asked for. Only the first call of [`send`](Self::send) counts, over all clones.
///
/// If the sender asked for none, sending does nothing. Take `Option<Ack>` to distinguish the two.
#[derive(Clone, Debug, Default)]
pub struct Ack(Option<Arc<Asked>>);

#[derive(Debug)]
struct Asked {
    sent: AtomicBool,
    by: By,
}

#[derive(Debug)]
enum By {
    Client(Socket, u64),
    Server(parking_lot::Mutex<Option<oneshot::Sender<Args>>>, Encoding),
}

impl Ack {
    pub(crate) fn to_client(socket: Socket, id: u64) -> Self {
        Self(Some(Arc::new(Asked { sent: AtomicBool::new(false), by: By::Client(socket, id) })))
    }

    pub(crate) fn to_server(answer: oneshot::Sender<Args>, encoding: Encoding) -> Self {
        let by = By::Server(parking_lot::Mutex::new(Some(answer)), encoding);
        Self(Some(Arc::new(Asked { sent: AtomicBool::new(false), by })))
    }

    /// Returns whether the sender asked for an acknowledgement.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.is_some()
    }

    /// Sends the acknowledgement. A second call does nothing.
    ///
    /// # Errors
    ///
    /// The arguments cannot be encoded, or the socket has left.
    pub fn send(&self, args: impl EmitArgs) -> Result<(), EmitError> {
        let Some(asked) = &self.0 else { return Ok(()) };
        if asked.sent.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        match &asked.by {
            By::Client(socket, id) => {
                let args = args.into_args(socket.encoding())?;
                socket.send_packet(Body::Ack { args, id: Some(*id) })
            }
            By::Server(answer, encoding) => {
                let args = args.into_args(*encoding)?;
                if let Some(answer) = answer.lock().take() {
                    // The asking side has stopped waiting.
                    let _ = answer.send(args);
                }
                Ok(())
            }
        }
    }
}

/// The reason why an acknowledgement is missing.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum AckError {
    /// The deadline passed.
    #[error("operation has timed out")]
    Timeout,
    /// The socket left without acknowledging.
    #[error("the socket has disconnected")]
    Disconnected,
    /// The event was not sent.
    #[error(transparent)]
    Emit(#[from] EmitError),
}

/// The pending acknowledgement of one client. The event is sent already. Await the answer, or drop this to stop waiting.
#[derive(Debug)]
#[must_use = "await it for the answer of the client"]
pub struct PendingAck {
    answer: Result<oneshot::Receiver<Args>, Option<AckError>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// The socket and the id under which the acknowledgement is awaited.
    registered: Option<(Socket, u64)>,
}

impl PendingAck {
    pub(crate) fn new(answer: oneshot::Receiver<Args>, timeout: Option<Duration>, socket: Socket, id: u64) -> Self {
        let deadline = timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        Self { answer: Ok(answer), deadline, registered: Some((socket, id)) }
    }

    pub(crate) fn failed(error: EmitError) -> Self {
        Self { answer: Err(Some(AckError::Emit(error))), deadline: None, registered: None }
    }
}

impl Future for PendingAck {
    type Output = Result<Args, AckError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.answer {
            Ok(answer) => Pin::new(answer).poll(cx),
            Err(error) => return Poll::Ready(Err(error.take().unwrap_or(AckError::Disconnected))),
        };
        if let Poll::Ready(answer) = answer {
            self.registered = None;
            return Poll::Ready(answer.map_err(|_| AckError::Disconnected));
        }
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(cx));
        if let Some((socket, _)) = &self.registered {
            socket.count(Count::AcksTimedOut);
        }
        Poll::Ready(Err(AckError::Timeout))
    }
}

impl Drop for PendingAck {
    fn drop(&mut self) {
        if let Some((socket, id)) = self.registered.take() {
            socket.forget_ack(id);
        }
    }
}

/// The acknowledgement of one client to a broadcast.
#[derive(Clone, Debug, PartialEq)]
pub struct AckReply {
    /// The socket.
    pub id: Id,
    /// The arguments of the acknowledgement.
    pub args: Args,
}

/// An incomplete set of acknowledgements of a broadcast.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{reason}")]
pub struct BroadcastAckError {
    /// The acknowledgements that arrived.
    pub replies: Vec<AckReply>,
    /// The sockets that did not answer.
    pub missing: Vec<Id>,
    /// The names of the nodes whose sockets are unknown, or that were lost before all their sockets had answered.
    pub missing_nodes: Vec<String>,
    /// The reason why the rest is missing.
    pub reason: AckError,
}

/// The receiver of an acknowledgement.
#[derive(Debug)]
pub(crate) enum Waiter {
    One(oneshot::Sender<Args>),
    /// The receiver of all acknowledgements of a broadcast.
    Many(mpsc::UnboundedSender<Answer>),
}

impl Waiter {
    pub(crate) fn answer(self, id: Id, args: Args) {
        match self {
            Self::One(waiter) => drop(waiter.send(args)),
            Self::Many(waiters) => drop(waiters.send(Answer::Ack(id, args))),
        }
    }

    /// Reports that the socket has left. A receiver of one acknowledgement sees the drop.
    pub(crate) fn left(self, id: Id) {
        if let Self::Many(waiters) = self {
            drop(waiters.send(Answer::Gone(id)));
        }
    }
}

/// The acknowledgements that a client owes, by id. An entry is removed when its receiver stops waiting.
#[derive(Debug, Default)]
pub(crate) struct AckTable(Option<Box<Numbered<Owed>>>);

/// An acknowledgement that a client owes.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) waiter: Waiter,
    pub(crate) since: Instant,
}

impl AckTable {
    pub(crate) fn insert(&mut self, id: u64, waiter: Waiter) {
        self.0.get_or_insert_default().insert(id, Owed { waiter, since: Instant::now() });
    }

    pub(crate) fn take(&mut self, id: u64) -> Option<Owed> {
        let waiters = self.0.as_mut()?;
        let owed = waiters.remove(&id);
        if waiters.is_empty() {
            self.0 = None;
        }
        owed
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Waiter> + use<> {
        self.0.take().into_iter().flat_map(|waiters| waiters.into_values()).map(|owed| owed.waiter)
    }
}

/// Returns an event packet.
pub(crate) fn event(namespace: &ByteString, name: ByteString, args: Args, id: Option<u64>) -> Packet {
    Packet { namespace: namespace.clone(), body: Body::Event { name, args, id } }
}
