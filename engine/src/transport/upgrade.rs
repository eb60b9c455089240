//! The way of a request for a WebSocket to a session on it: at once, or by an upgrade.
//!
//! During its upgrade a session stays on polling until the client confirms that it has stopped polling. Its outbox stays the same: the WebSocket
//! sends what no poll has taken, so nothing is lost, doubled or reordered.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::RequestHead;
use actix_http::header::{self, HeaderValue};
use actix_http::ws::hash_key;
use bytes::Bytes;
use sociable_protocol::Id;
use sociable_protocol::websocket::deflate::{Agreement, negotiate};
use sociable_protocol::websocket::{CLOSE_FRAME, Decoder, Message, pong_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::Stream;
use super::websocket::{CloseBytes, End};
use super::{Transport, polling, websocket};
use crate::counters::Count;
use crate::handshake::Handshake;
use crate::http::headers::header_list;
use crate::http::refused::{Refused, ask_owner};
use crate::http::target::Target;
use crate::session::{Session, SessionEvent, State};
use crate::state::EngineState;
use crate::version::EngineVersion;
use crate::worker::Worker;

const PROBE: &str = "2probe";
const PROBE_ANSWER: &[u8] = b"\x81\x063probe";
/// The type of an upgrade packet.
const UPGRADE: char = '5';
/// The limit of protocols that a client may offer.
const MAX_PROTOCOLS: usize = 64;
/// The longest frame of a probe, in bytes.
const MAX_PROBE: usize = 1024;
/// The interval between answers to waiting polls during an upgrade, so that the client can stop polling.
const NOOP_INTERVAL: Duration = Duration::from_millis(100);

/// The pause after the 101 for old clients.
///
/// They may start to listen late, and would lose data that arrives together with the 101.
const OLD_CLIENT_PAUSE: Duration = Duration::from_millis(10);

/// A request for a WebSocket that may be answered by 101.
pub(crate) struct Admission {
    /// The accept key: the proof that this is a WebSocket server.
    pub(crate) accept: HeaderValue,
    /// The protocol chosen among the client's offers.
    pub(crate) protocol: Option<HeaderValue>,
    /// The extensions of the response: compression, if it was agreed.
    pub(crate) extensions: Option<HeaderValue>,
    deflate: Option<Agreement>,
    kind: Kind,
}

enum Kind {
    New(Handshake, EngineVersion),
    Upgrade(Claim),
    /// The session has a WebSocket already, or will. Clients expect a second one to be opened and closed.
    Second,
}

impl Admission {
    pub(crate) fn opens_session(&self) -> bool {
        matches!(self.kind, Kind::New(..))
    }
}

/// Checks a request for a WebSocket. All refusals come before the 101.
pub(crate) async fn admit(
    engine: &Arc<EngineState>,
    head: &RequestHead,
    target: &Target<'_>,
    handshake: Handshake,
) -> Result<Admission, Refused> {
    if target.check(&engine.config, head)? != Transport::WebSocket {
        return Err(Refused::bad_request("TRANSPORT_HANDSHAKE_ERROR"));
    }
    let accept = accept_key(head)?;
    let protocol = choose_protocol(engine, head, &handshake)?;
    let (deflate, extensions) = negotiate_deflate(engine, head)?.unzip();
    let kind = match target.sid() {
        Some(sid) => {
            let id = Id::try_from(sid).map_err(|_| Refused::unknown_sid(sid))?;
            Claim::acquire(engine, id, target.claims()).await?.map_or(Kind::Second, Kind::Upgrade)
        }
        None => {
            target.check_handshake(engine, head, &handshake).await?;
            Kind::New(handshake, target.version())
        }
    };
    Ok(Admission { accept, protocol, extensions, deflate, kind })
}

/// Chooses one of the client's offered protocols. A client that offers some and gets none closes the connection.
fn choose_protocol(engine: &Arc<EngineState>, head: &RequestHead, handshake: &Handshake) -> Result<Option<HeaderValue>, Refused> {
    let refused = || Refused::websocket_header("Invalid Sec-WebSocket-Protocol header");
    if !head.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Ok(None);
    }
    let list = header_list(head, header::SEC_WEBSOCKET_PROTOCOL).ok_or_else(refused)?;
    let offered: Vec<_> = list.split(',').map(|name| name.trim_matches([' ', '\t'])).take(MAX_PROTOCOLS + 1).collect();
    let valid =
        |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    let repeated = offered.iter().enumerate().any(|(place, name)| offered[..place].contains(name));
    if offered.len() > MAX_PROTOCOLS || repeated || !offered.iter().all(valid) {
        return Err(refused());
    }
    let chosen = match &engine.config.websocket_protocol {
        Some(choose) => choose(&offered, handshake),
        None => offered.first().copied(),
    };
    chosen.map(|name| HeaderValue::from_str(name).map_err(|_| refused())).transpose()
}

/// Decides on the client's offers to compress messages. An offer that cannot be served is declined.
fn negotiate_deflate(engine: &Arc<EngineState>, head: &RequestHead) -> Result<Option<(Agreement, HeaderValue)>, Refused> {
    let Some(options) = &engine.config.per_message_deflate else { return Ok(None) };
    let Some(offers) = header_list(head, header::SEC_WEBSOCKET_EXTENSIONS) else { return Ok(None) };
    let refused = || Refused::websocket_header("Invalid or unacceptable Sec-WebSocket-Extensions header");
    let Some((agreement, response)) = negotiate(&offers, &options.terms).map_err(|_| refused())? else { return Ok(None) };
    Ok(Some((agreement, HeaderValue::from_str(&response).map_err(|_| refused())?)))
}

fn accept_key(head: &RequestHead) -> Result<HeaderValue, Refused> {
    let refused = |name: &str| Refused::websocket_header(&format!("Missing or invalid {name} header"));
    // Other options may stand beside it. `verify_handshake` of actix-http refuses it beside `close`.
    let options = header_list(head, header::CONNECTION).unwrap_or_default();
    if !options.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade")) {
        return Err(Refused::bad_request("WEBSOCKET_HANDSHAKE_ERROR"));
    }
    // Version 8 has the same frames.
    if !head.headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13" || version == "8") {
        return Err(refused("Sec-WebSocket-Version"));
    }
    let in_base64 = |key: &[u8]| key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte));
    // 16 bytes in base64.
    let is_key = |key: &&HeaderValue| key.len() == 24 && key.as_bytes().strip_suffix(b"==").is_some_and(in_base64);
    let key = head.headers.get(header::SEC_WEBSOCKET_KEY).filter(is_key).ok_or_else(|| refused("Sec-WebSocket-Key"))?;
    HeaderValue::from_bytes(&hash_key(key.as_bytes())).map_err(|_| refused("Sec-WebSocket-Key"))
}

/// The right to upgrade a session, held by one connection at a time. Dropped unused, it is free again.
struct Claim {
    engine: Arc<EngineState>,
    id: Id,
}

impl Claim {
    /// Returns `None` if the session cannot be upgraded any more.
    async fn acquire(engine: &Arc<EngineState>, id: Id, claims: Option<EngineVersion>) -> Result<Option<Self>, Refused> {
        // Created on the owner: if the request was abandoned meanwhile, the claim is dropped on its way.
        ask_owner(engine, id, move |worker, id| {
            let engine = Arc::clone(&worker.engine);
            std::future::ready(match worker.session(&id).filter(|session| session.is_open()) {
                None => Err(Refused::unknown_sid(id.as_str())),
                Some(session) => polling::check(&session, claims).map(|()| {
                    let claimed = session.transport() == Transport::Polling && !session.polling.upgrading.replace(true);
                    claimed.then_some(Self { engine, id })
                }),
            })
        })
        .await?
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let id = self.id;
        let give_back = move |worker: &Rc<Worker>| {
            if let Some(session) = worker.session(&id).filter(|session| session.transport() == Transport::Polling) {
                session.polling.upgrading.set(false);
                worker.counters.increment(Count::UpgradesFailed);
            }
        };
        // If that worker has ended, so has the session.
        let _ = self.engine.run_on(self.engine.owner_of(&id), 0, give_back);
    }
}

/// Moves an admitted WebSocket to the worker that owns its session, and serves it there.
///
/// `preface` is the head of the response, if it is still to be written. `early` holds the bytes read after the request: a copy, because the read
/// buffer is large.
pub(crate) fn start(engine: &Arc<EngineState>, admission: Admission, mut stream: Stream, preface: Option<Bytes>, early: Option<Box<[u8]>>) {
    let here = Worker::current(engine);
    let id = match (&admission.kind, &here) {
        (Kind::Second, _) => {
            actix_rt::spawn(async move {
                let head = preface.unwrap_or_default();
                websocket::farewell(stream, [&head[..], CLOSE_FRAME].concat()).await;
            });
            return;
        }
        (Kind::Upgrade(claim), _) => claim.id,
        (Kind::New(..), Some(worker)) => worker.draw_id(),
        // Only workers get requests.
        (Kind::New(..), None) => return,
    };
    let owner = engine.owner_of(&id);
    if let Some(worker) = here.filter(|worker| worker.index() == owner) {
        return serve(&worker, id, admission, stream, preface, early);
    }
    if stream.park().is_err() {
        return;
    }
    // If that worker has ended, so has the connection.
    let _ = engine.call(owner, 0, move |worker| {
        if stream.unpark().is_ok() {
            serve(worker, id, admission, stream, preface, early);
        }
    });
}

fn serve(worker: &Rc<Worker>, id: Id, admission: Admission, mut stream: Stream, preface: Option<Bytes>, early: Option<Box<[u8]>>) {
    let deflate = admission.deflate;
    match admission.kind {
        Kind::New(handshake, version @ EngineVersion::V3 { .. }) => {
            let worker = Rc::clone(worker);
            actix_rt::spawn(async move {
                let opened = async {
                    stream.write_all(&preface.unwrap_or_default()).await?;
                    stream.flush().await
                };
                if opened.await.is_ok() {
                    tokio::time::sleep(OLD_CLIENT_PAUSE).await;
                    // Meanwhile the node may have filled up, or begun to stop.
                    if worker.engine.is_closing() || !worker.engine.has_room() {
                        return;
                    }
                    let session = Session::open(&worker, id, handshake, Transport::WebSocket, version, None);
                    websocket::run(session, stream, deflate, early).await;
                }
            });
        }
        Kind::New(handshake, version) => {
            let session = Session::open(worker, id, handshake, Transport::WebSocket, version, preface);
            actix_rt::spawn(websocket::run(session, stream, deflate, early));
        }
        // Such a stream has no owner to be moved to.
        Kind::Second => {}
        Kind::Upgrade(claim) => {
            if let Some(session) = worker.session(&id) {
                actix_rt::spawn(upgrade(session, claim, stream, deflate, preface, early));
            }
        }
    }
}

async fn upgrade(
    session: Rc<Session>,
    claim: Claim,
    mut stream: Stream,
    deflate: Option<Agreement>,
    preface: Option<Bytes>,
    early: Option<Box<[u8]>>,
) {
    let mut probe = Probe {
        session: &session,
        deflate,
        decoder: websocket::decoder(&session, deflate),
        step: Step::AwaitProbe,
        owed: vec![],
        close: CloseBytes::Plain,
        ended: None,
    };
    let timers = Rc::clone(&session.worker().timers);
    let probing = timers.timeout(session.config().upgrade_timeout, probe.run(&mut stream, preface, early));
    let upgraded = matches!(probing.await, Some(Ok(())));
    let Probe { decoder, close, ended, .. } = probe;
    drop(claim);
    if upgraded {
        websocket::take_over(session, stream, decoder, ended).await;
    } else {
        websocket::farewell(stream, close).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    AwaitProbe,
    AwaitUpgrade,
    Done,
    Failed,
}

/// The conversation on a WebSocket before it carries the session.
struct Probe<'a> {
    session: &'a Session,
    deflate: Option<Agreement>,
    decoder: Decoder,
    step: Step,
    /// The answers to probes and pings that are not written yet. They are not longer than the input of one read.
    owed: Vec<u8>,
    /// The last frame of a failed upgrade.
    close: CloseBytes,
    /// The end of the connection, if messages right after the upgrade packet caused it.
    ended: Option<End>,
}

/// The error of a failed upgrade. The session stays on polling.
struct Failed;

impl Probe<'_> {
    async fn run(&mut self, stream: &mut Stream, preface: Option<Bytes>, early: Option<Box<[u8]>>) -> Result<(), Failed> {
        if let Some(preface) = preface {
            self.write(stream, &preface).await?;
        }
        let mut buffer = vec![0; 1024];
        let mut noops = tokio::time::interval(NOOP_INTERVAL);
        if early.is_some_and(|mut early| self.decode(&mut early).is_break()) {
            return self.end(stream).await;
        }
        loop {
            if !self.owed.is_empty() {
                self.answer(stream).await?;
                noops.reset_immediately();
            }
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(length) if length > 0 => {
                        if self.decode(&mut buffer[..length]).is_break() {
                            return self.end(stream).await;
                        }
                    }
                    _ => return Err(Failed),
                },
                _ = noops.tick() => match self.session.state() {
                    State::Open if self.step == Step::AwaitUpgrade => self.session.release_poll(),
                    State::Open => {}
                    _ => return Err(Failed),
                },
            }
        }
    }

    async fn end(&mut self, stream: &mut Stream) -> Result<(), Failed> {
        if self.step != Step::Done {
            return Err(Failed);
        }
        // A client that did not wait for the answer to its probe still gets it. The session is on the WebSocket by now, which notices a failed write.
        let _ = self.answer(stream).await;
        Ok(())
    }

    /// Answers probes and pings.
    async fn answer(&mut self, stream: &mut Stream) -> Result<(), Failed> {
        let answers = std::mem::take(&mut self.owed);
        self.write(stream, &answers).await
    }

    async fn write(&self, stream: &mut Stream, bytes: &[u8]) -> Result<(), Failed> {
        stream.write_all(bytes).await.map_err(|_| Failed)?;
        stream.flush().await.map_err(|_| Failed)
    }

    /// Handles the bytes read. Breaks when the upgrade is done or has failed.
    fn decode(&mut self, bytes: &mut [u8]) -> ControlFlow<()> {
        let Self { session, deflate, step, owed, close, ended, .. } = self;
        let result = self.decoder.read(bytes, |message| {
            *step = match (*step, message) {
                (Step::AwaitProbe | Step::AwaitUpgrade, Message::Text(text)) if text == PROBE => {
                    owed.extend_from_slice(PROBE_ANSWER);
                    session.report(SessionEvent::Upgrading(Transport::WebSocket));
                    Step::AwaitUpgrade
                }
                (step @ (Step::AwaitProbe | Step::AwaitUpgrade), Message::Ping(payload)) => {
                    owed.extend(pong_frame(&payload));
                    step
                }
                (step @ (Step::AwaitProbe | Step::AwaitUpgrade), Message::Pong) => step,
                // The .NET client upgrades without a probe.
                (Step::AwaitProbe | Step::AwaitUpgrade, Message::Text(text)) if text.starts_with(UPGRADE) && session.is_open() => {
                    session.upgrade(*deflate);
                    Step::Done
                }
                // Messages right after the upgrade packet belong to the session already.
                (Step::Done, message) => {
                    if ended.is_none()
                        && let ControlFlow::Break(answer) = websocket::receive(session, message)
                    {
                        *ended = Some(End::Client { answer: Some(answer) });
                    }
                    Step::Done
                }
                (Step::AwaitProbe | Step::AwaitUpgrade, Message::Close(code)) => {
                    *close = CloseBytes::of(code);
                    Step::Failed
                }
                _ => Step::Failed,
            };
        });
        match result {
            Ok(()) => {}
            Err(error) if self.step == Step::Done => self.ended = self.ended.take().or(Some(End::Refused(error))),
            // After its close frame, a client may send anything.
            Err(_) if self.step == Step::Failed => {}
            Err(error) => {
                self.close = CloseBytes::of(Some(error.close_code()));
                self.step = Step::Failed;
            }
        }
        if self.step != Step::Done && self.decoder.held_bytes() > MAX_PROBE {
            self.step = Step::Failed;
        }
        if matches!(self.step, Step::Done | Step::Failed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
