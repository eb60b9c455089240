//! HTTP long-polling: a GET takes waiting packets, or waits for some; a POST brings packets.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_http::StatusCode;
use bytes::Bytes;
use bytestring::ByteString;
use sociable_protocol::Id;
use sociable_protocol::engine::{Packet, PacketError, decode_payload, encode_payload, v3};

use super::Transport;
use crate::http::lasting::LONG_ANSWER;
use crate::http::refused::{Refused, ask_owner};
use crate::http::reply::{Payload, Reply};
use crate::reason::CloseReason;
use crate::serve::line::Line;
use crate::session::{Ending, Session, SessionEvent, State};
use crate::state::EngineState;
use crate::trace;
use crate::version::EngineVersion;
use crate::worker::Worker;

/// Packets as WebSocket frames.
const CLOSE: &[u8] = b"\x81\x011";
const NOOP: &[u8] = b"\x81\x016";

/// The cause of an abandoned request with packets.
pub(crate) const CLOSED_PREMATURELY: &str = "data request connection closed prematurely";

fn payload_of(session: &Session, messages: &[impl AsRef<[u8]>]) -> Payload {
    let messages = messages.iter().map(AsRef::as_ref);
    match session.version() {
        EngineVersion::V4 { .. } => {
            let mut text = String::with_capacity(messages.clone().map(<[u8]>::len).sum());
            messages.for_each(|message| encode_payload(&mut text, message));
            Payload { bytes: text.into_bytes(), binary: false }
        }
        EngineVersion::V3 { .. } => {
            let (bytes, binary) = v3::encode_payload(messages);
            Payload { bytes, binary }
        }
    }
}

/// Returns the first packets of a new session.
pub(crate) fn first_payload(session: &Session) -> Payload {
    drain_outbox(session).0
}

/// The time from the end of a session by a request until its waiting poll is answered. Clients report what they read first, and the other answer has
/// the cause.
const AFTER_FAULT: Duration = Duration::from_millis(50);

/// Answers a poll.
pub(crate) async fn get(engine: &Arc<EngineState>, id: Id, claims: Option<EngineVersion>) -> Result<Reply, Refused> {
    ask_owner(engine, id, move |worker, id| {
        let session = find(worker, &id, claims);
        async move {
            let session = session?;
            let polled = session.supervise_future(poll(&session)).await;
            polled.unwrap_or_else(|| Err(Refused::unknown_sid(id.as_str())))
        }
    })
    .await?
}

/// Answers a poll.
///
/// A noop ends the poll early if the client sends another request on the same connection, which would be blocked.
pub(crate) async fn get_on(line: &Line, engine: &Arc<EngineState>, id: Id, claims: Option<EngineVersion>) -> Result<Reply, Refused> {
    let mut poll = std::pin::pin!(get(engine, id, claims));
    tokio::select! {
        biased;
        reply = &mut poll => return reply,
        () = line.more() => {}
    }
    let release = |worker: &Rc<Worker>, id: Id| {
        let session = worker.session(&id);
        // A separate task on the owner, queued after that of the poll.
        async move { session.inspect(|session| session.release_poll()).is_some() }
    };
    ask_owner(engine, id, release).await?;
    poll.await
}

/// Refuses requests of unknown sessions.
pub(crate) async fn known(engine: &Arc<EngineState>, id: Id, claims: Option<EngineVersion>) -> Result<(), Refused> {
    ask_owner(engine, id, move |worker, id| {
        let known = worker.session(&id).ok_or_else(|| Refused::unknown_sid(id.as_str()));
        std::future::ready(known.and_then(|session| check(&session, claims)))
    })
    .await?
}

/// Checks that a request speaks its session's revision of the protocol.
pub(super) fn check(session: &Session, claims: Option<EngineVersion>) -> Result<(), Refused> {
    match claims {
        Some(claims) if !claims.fits(session.version()) => Err(Refused::bad_request("PROTOCOL_MISMATCH")),
        _ => Ok(()),
    }
}

fn find(worker: &Rc<Worker>, id: &Id, claims: Option<EngineVersion>) -> Result<Rc<Session>, Refused> {
    let unknown = || Refused::unknown_sid(id.as_str());
    let session = worker.session(id).ok_or_else(unknown)?;
    check(&session, claims)?;
    session.check_heartbeat();
    if session.state() == State::Closed {
        return Err(unknown());
    }
    match session.transport() {
        Transport::Polling => Ok(session),
        Transport::WebSocket => Err(Refused::bad_request("TRANSPORT_MISMATCH")),
    }
}

async fn poll(session: &Rc<Session>) -> Result<Reply, Refused> {
    if session.polling.waiting.get() {
        // Two polls at once would reorder packets. The first is answered by a close packet.
        session.end(CloseReason::TransportError, Ending::Graceful);
        return Ok(Reply::empty(StatusCode::BAD_REQUEST));
    }
    session.arrived();
    let late = session.state() == State::Ending;
    let waiting = Waiting::begin(session);
    let reply = std::future::poll_fn(|cx| {
        // The response takes these bytes out of the outbox, and may be left unread.
        let cost = session.outbox.cost();
        if cost > LONG_ANSWER && !session.worker().engine.memory.may_leave_unread(cost) {
            session.end_slow();
        }
        let (body, compress) = drain_outbox(session);
        if !body.bytes.is_empty() {
            trace::transport(session.id(), "polling", "written", body.bytes.len());
            if session.state() == State::Ending && session.polling.last.get() {
                session.release();
            }
            // Never together with the close packet: clients defer packets to the next turn, but close at once.
            return Poll::Ready(Reply::payload(body, compress));
        }
        let packets: &[&[u8]] = match session.state() {
            State::Open if session.transport() == Transport::WebSocket => &[CLOSE],
            State::Open if session.polling.release.take() => &[NOOP],
            State::Open => {
                session.outbox.register(cx.waker());
                return Poll::Pending;
            }
            _ => {
                session.release();
                if session.polling.left.get() {
                    &[NOOP]
                } else if late {
                    // A packet to read, then the end.
                    &[NOOP, CLOSE]
                } else {
                    &[CLOSE]
                }
            }
        };
        Poll::Ready(Reply::payload(payload_of(session, packets), false))
    })
    .await;
    waiting.end();
    if session.polling.faulted.get() {
        tokio::time::sleep(AFTER_FAULT).await;
    }
    Ok(reply)
}

/// Removes the waiting packets. Returns them as a payload, and whether it may be compressed.
fn drain_outbox(session: &Session) -> (Payload, bool) {
    if session.transport() == Transport::WebSocket || session.outbox.is_empty() {
        return (Payload::default(), false);
    }
    session.report_flush();
    let (mut messages, compress) = session.outbox.drain();
    session.flows();
    let body = payload_of(session, messages.make_contiguous());
    session.report(SessionEvent::Drain);
    (body, compress)
}

/// A waiting poll. Dropped before its end, the client has disconnected.
struct Waiting<'a>(Option<&'a Session>);

impl<'a> Waiting<'a> {
    fn begin(session: &'a Session) -> Self {
        session.polling.waiting.set(true);
        Self(Some(session))
    }

    fn end(mut self) {
        if let Some(session) = self.0.take() {
            session.polling.waiting.set(false);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            session.polling.waiting.set(false);
            // The supervisor ends the session.
            if std::thread::panicking() {
                return;
            }
            // A session on its WebSocket needs no poll any more.
            if session.transport() == Transport::Polling {
                session.end(CloseReason::TransportError, Ending::Abrupt);
            }
        }
    }
}

/// The permit of one request to bring packets. Dropped unused, the request was abandoned, and the session ends.
pub(crate) struct PostPermit {
    engine: Arc<EngineState>,
    id: Id,
    done: bool,
    /// The cause of the session's end, for the log.
    cause: &'static str,
}

/// Starts to read a request with packets. `None` if another is being read: the session is then closed.
pub(crate) async fn begin_post(engine: &Arc<EngineState>, id: Id, claims: Option<EngineVersion>) -> Result<Option<PostPermit>, Refused> {
    // Created before the session is asked, because a request that is abandoned meanwhile has started too.
    let mut permit = PostPermit { engine: Arc::clone(engine), id, done: false, cause: CLOSED_PREMATURELY };
    let begun = ask_owner(engine, id, move |worker, id| {
        let begun = find(worker, &id, claims).map(|session| {
            let begun = !session.polling.posting.replace(true);
            if !begun {
                end_by_fault(&session);
            }
            begun
        });
        std::future::ready(begun)
    })
    .await
    .flatten();
    permit.done = !matches!(begun, Ok(true));
    Ok(begun?.then_some(permit))
}

/// Handles a request whose packets have all arrived, if there are any, in one call to the owning thread.
pub(crate) async fn post(
    engine: &Arc<EngineState>,
    id: Id,
    claims: Option<EngineVersion>,
    packets: Option<Bytes>,
    binary: bool,
) -> Result<Reply, Refused> {
    ask_owner(engine, id, move |worker, id| {
        let found = find(worker, &id, claims);
        async move {
            let session = found?;
            if session.polling.posting.get() {
                end_by_fault(&session);
                return Ok(Reply::empty(StatusCode::BAD_REQUEST));
            }
            if let Some(body) = packets {
                deliver(&session, body, binary).await;
            }
            Ok(Reply::ok())
        }
    })
    .await?
}

/// Passes the packets of a request to the session, and waits until it can take more.
async fn deliver(session: &Rc<Session>, body: Bytes, binary: bool) {
    session.arrived();
    session.worker().make_calls();
    // A client whose session failed finds it unknown at the next request.
    session.supervise_future(receive(session, body, binary)).await;
}

impl PostPermit {
    /// Notes the cause for which the permit will be dropped unused.
    pub(crate) fn fails_by(&mut self, cause: &'static str) {
        self.cause = cause;
    }

    /// Passes the packets to the session, and waits until it can take more. If the session has ended meanwhile, the client learns that its packets
    /// were not read.
    pub(crate) async fn finish(mut self, body: Bytes, binary: bool) -> Result<Reply, Refused> {
        self.done = true;
        ask_owner(&self.engine, self.id, move |worker, id| {
            let session = worker.session(&id).ok_or_else(|| Refused::unknown_sid(id.as_str()));
            async move {
                let session = session?;
                session.polling.posting.set(false);
                deliver(&session, body, binary).await;
                Ok(Reply::ok())
            }
        })
        .await?
    }

    /// Returns the permit of a request without packets, so that the session continues. The caller waits, because the client may send the next request
    /// as soon as it is answered.
    pub(crate) async fn give_back(mut self) {
        let given_back = ask_owner(&self.engine, self.id, |worker, id| {
            if let Some(session) = worker.session(&id) {
                session.polling.posting.set(false);
            }
            std::future::ready(())
        });
        // If that worker has ended, so has the session.
        drop(given_back.await);
        self.done = true;
    }

    fn on_session(&self, act: impl FnOnce(&Session) + Send + 'static) {
        let id = self.id;
        let act = move |worker: &Rc<Worker>| {
            if let Some(session) = worker.session(&id) {
                act(&session);
            }
        };
        // If that worker has ended, so has the session.
        let _ = self.engine.run_on(self.engine.owner_of(&id), 0, act);
    }
}

impl Drop for PostPermit {
    fn drop(&mut self) {
        if !self.done {
            let cause = self.cause;
            self.on_session(move |session| {
                session.polling.posting.set(false);
                if session.transport() == Transport::Polling {
                    tracing::debug!(target: "sociable::transport", sid = %session.id().shortened(), cause, "request with packets failed");
                    end_by_fault(session);
                }
            });
        }
    }
}

/// Ends a session because of a request. A waiting poll gets the close packet. A later one finds no session, as at the JavaScript server: its client
/// learns the cause from the answer to the request.
fn end_by_fault(session: &Session) {
    let waits = session.polling.waiting.get();
    session.polling.faulted.set(waits);
    session.end(CloseReason::TransportError, if waits { Ending::Graceful } else { Ending::Abrupt });
}

async fn receive(session: &Session, body: Bytes, binary: bool) {
    let length = body.len();
    trace::transport(session.id(), "polling", "read", length);
    if binary {
        return receive_all(session, length, v3::decode_binary_payload(body)).await;
    }
    let body = text(body);
    match session.version() {
        EngineVersion::V4 { .. } => receive_all(session, length, decode_payload(body)).await,
        EngineVersion::V3 { .. } => receive_all(session, length, v3::decode_payload(body)).await,
    }
}

/// Returns the body as text. Invalid UTF-8 becomes U+FFFD, as with the JavaScript server.
fn text(body: Bytes) -> ByteString {
    ByteString::try_from(body.clone()).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into())
}

/// Returns a packet that does not keep a much longer body in memory.
fn detached(packet: Packet, length: usize) -> Packet {
    match packet {
        Packet::Message(text) if text.len() < length / 2 => Packet::Message(ByteString::from(&*text)),
        Packet::Binary(bytes) if bytes.len() < length / 2 => Packet::Binary(Bytes::copy_from_slice(&bytes)),
        packet => packet,
    }
}

async fn receive_all(session: &Session, length: usize, packets: impl Iterator<Item = Result<Packet, PacketError>>) {
    for packet in packets {
        match packet {
            Ok(packet) => {
                if !session.receive(detached(packet, length)) {
                    return;
                }
                std::future::poll_fn(|cx| session.poll_unpaused(cx)).await;
            }
            Err(error) => {
                tracing::debug!(target: "sociable::engine", sid = %session.id().shortened(), %error, "undecodable packet");
                return session.end(CloseReason::ParseError, Ending::Graceful);
            }
        }
    }
}

/// Closes a session whose client sent an impossible request.
pub(crate) async fn fail(engine: &Arc<EngineState>, id: Id, claims: Option<EngineVersion>) -> Result<(), Refused> {
    ask_owner(engine, id, move |worker, id| {
        let failed = find(worker, &id, claims).map(|session| end_by_fault(&session));
        std::future::ready(failed)
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_packet_does_not_keep_a_long_body() {
        let body = Bytes::from(format!("6{}\u{1e}42[\"x\"]", "x".repeat(1_000)));
        let within = |bytes: &[u8]| body.as_ptr_range().contains(&bytes.as_ptr());
        let packets = decode_payload(text(body.clone())).map(|packet| detached(packet.unwrap(), body.len()));
        let Some(Packet::Message(message)) = packets.last() else { panic!("no message") };
        assert!(message == r#"2["x"]"# && !within(message.as_bytes()));
        // A packet that is most of its body is not copied.
        let whole = detached(Packet::Binary(body.slice(1..)), body.len());
        assert!(matches!(whole, Packet::Binary(bytes) if within(&bytes)));
    }
}
