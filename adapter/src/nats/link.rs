//! The thread of the adapter, its two connections, and the task that sends.
//!
//! What is said of life and death has a connection of its own, so that a flood of events does not make a node look dead.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Client;
use sociable_nats::{LinkEvent, LogThrottle, Role};
use sociable_protocol::NodeTag;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use super::jetstream::{self, Store, StreamHistory};
use super::outgoing::Lane;
use super::{Command, NatsError, Shared, incoming, membership};
use crate::Limits;

/// How long a leave may wait for what is still to be sent, and then for its goodbye.
const LEAVE: Duration = Duration::from_millis(1500);
/// How long it may wait for the server to keep what is still to be kept.
const LAST_KEPT: Duration = Duration::from_secs(5);
/// How long a task that died is not begun anew.
const PAUSE: Duration = Duration::from_millis(100);

/// How long after an error of the server that was logged none is.
const QUIET: Duration = Duration::from_secs(1);

/// How many messages the queue of one subscription takes. Beyond it the client drops what comes, which is counted and seen as a gap. It has to hold what
/// the client reads in one go, before anybody else gets a turn on its thread: 128 times its buffer of 64 KiB, which is as many messages if
/// each is of 128 bytes, about the shortest that a node sends. Its memory is bounded by that too (see `Backlog`), and taken only while messages wait.
const MAX_BEHIND: usize = 65_536;

/// The same for what the server keeps, whose messages are longer, up to 256 KiB. What the client drops of them is read from the stream.
const MAX_KEPT_BEHIND: usize = 1024;

/// One of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Events, questions and answers.
    Data,
    /// Who lives.
    Control,
    /// What the server keeps, if it does.
    History,
}

impl Link {
    fn role(self) -> Role {
        let (name, subscription_capacity) = match self {
            Self::Data => ("data", MAX_BEHIND),
            Self::Control => ("control", MAX_BEHIND),
            Self::History => ("history", MAX_KEPT_BEHIND),
        };
        Role { name, subscription_capacity, retry_on_initial_connect: false }
    }
}

/// Which connections are up.
#[derive(Debug, Default)]
pub(crate) struct Links {
    data: AtomicBool,
    control: AtomicBool,
    history: AtomicBool,
    keeps: AtomicBool,
    changed: Notify,
}

impl Links {
    fn of(&self, link: Link) -> &AtomicBool {
        match link {
            Link::Data => &self.data,
            Link::Control => &self.control,
            Link::History => &self.history,
        }
    }

    pub(crate) fn are_up(&self) -> bool {
        self.is(Link::Data) && self.is(Link::Control) && (self.is(Link::History) || !self.keeps.load(Ordering::Acquire))
    }

    /// True if a connection is up.
    pub(crate) fn is(&self, link: Link) -> bool {
        self.of(link).load(Ordering::Acquire)
    }

    fn set(&self, link: Link, up: bool) {
        self.of(link).store(up, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until a connection is up.
    pub(crate) async fn is_up(&self, link: Link) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is(link) {
                return;
            }
            changed.await;
        }
    }
}

/// The runtime of the thread.
pub(crate) fn runtime() -> Result<Runtime, NatsError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)
}

fn failed(error: std::io::Error) -> NatsError {
    NatsError::Start(error.to_string())
}

/// Starts the thread. `ready` is told when the connections stand and the tag is claimed.
pub(crate) fn spawn(
    runtime: Runtime,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    ready: oneshot::Sender<Result<(), NatsError>>,
) -> Result<(), NatsError> {
    let run = move || runtime.block_on(run(shared, commands, ready));
    std::thread::Builder::new().name("sociable-nats".into()).spawn(run).map_err(failed)?;
    Ok(())
}

async fn run(shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>, ready: oneshot::Sender<Result<(), NatsError>>) {
    let Clients { data, control, history } = match establish(&shared).await {
        Ok(clients) => clients,
        Err(error) => return drop(ready.send(Err(error))),
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    let mut tasks = JoinSet::new();
    if shared.emits_only {
        start_sending(&shared, &data, &mut tasks);
        if let Some(history) = shared.history.get().cloned() {
            let at = Arc::clone(&shared);
            tasks.spawn(supervised("history", Arc::clone(&shared), move || jetstream::publish(Arc::clone(&history), Arc::clone(&at))));
        }
    }
    // Until the end of the last handle.
    while let Some(command) = commands.recv().await {
        match command {
            Command::Start(node) => {
                if shared.node.set(node).is_ok() {
                    start(&shared, &data, &control, &mut tasks);
                    if let Some((history, client)) = shared.history.get().cloned().zip(history.clone()) {
                        let at = Arc::clone(&shared);
                        tasks.spawn(supervised("history", Arc::clone(&shared), move || {
                            Arc::clone(&history).run(Arc::clone(&at), client.clone())
                        }));
                    }
                }
            }
            Command::Close(done) => {
                leave(&shared, &data, &control, !tasks.is_empty()).await;
                tasks.abort_all();
                shared.links.set(Link::Data, false);
                shared.links.set(Link::Control, false);
                shared.links.set(Link::History, false);
                let _ = done.send(());
                return;
            }
        }
    }
}

struct Clients {
    data: Client,
    control: Client,
    history: Option<Client>,
}

/// Connects, and claims a tag.
async fn establish(shared: &Arc<Shared>) -> Result<Clients, NatsError> {
    let (data, control) = (connect(shared, Link::Data).await?, connect(shared, Link::Control).await?);
    let me = if shared.emits_only { membership::draw() } else { membership::claim(shared, &control).await? };
    let _ = shared.me.set(me);
    tracing::info!(target: "sociable::adapter", tag = %me.tag, cluster = shared.options.connection.cluster, "connected to NATS");
    let history = if let Some(options) = &shared.options.jetstream {
        shared.links.keeps.store(true, Ordering::Release);
        let client = connect(shared, Link::History).await?;
        let store = Store::open(&client, &shared.options.connection.cluster, options).await?;
        if shared.emits_only {
            let nothing = Limits { session_age: Duration::ZERO, event_age: Duration::ZERO, session_bytes: 0, total_bytes: 0 };
            let _ = shared.history.set(Arc::new(StreamHistory::new(shared, store, nothing)));
        } else {
            *shared.store.lock() = Some(store);
        }
        Some(client)
    } else {
        None
    };
    Ok(Clients { data, control, history })
}

async fn connect(shared: &Arc<Shared>, link: Link) -> Result<Client, NatsError> {
    let role = link.role();
    let (told, throttle) = (Arc::downgrade(shared), LogThrottle::new(QUIET));
    let on_event = move |event| {
        if let Some(shared) = told.upgrade() {
            observe(&shared, link, event, &throttle);
        }
    };
    let client = shared.options.connection.connect(role, on_event).await?;
    if link == Link::Data {
        shared.outgoing.set_max_payload(client.max_payload());
    }
    shared.links.set(link, true);
    Ok(client)
}

/// Takes note of a change of a connection.
fn observe(shared: &Shared, link: Link, event: LinkEvent, throttle: &LogThrottle) {
    let role = link.role().name;
    match event {
        LinkEvent::Up => {
            tracing::info!(target: "sociable::adapter", role, "the link to NATS is up");
            shared.links.set(link, true);
            // It may be another server: the task that sends looks at what it takes.
            shared.outgoing.wake.notify_one();
        }
        LinkEvent::Down => {
            shared.counters.disconnected.one();
            tracing::warn!(target: "sociable::adapter", role, "the link to NATS is down");
            shared.links.set(link, false);
            if link == Link::Data {
                shared.missed_something();
            }
        }
        LinkEvent::SlowConsumer => {
            shared.counters.slow_consumer.one();
            tracing::warn!(target: "sociable::adapter", role, "NATS messages were dropped since this node is too slow to take them");
        }
        LinkEvent::Refused(event) => {
            shared.counters.server_errors.one();
            // There may be one for each envelope.
            if throttle.permits() {
                tracing::error!(target: "sociable::adapter", role, %event, "the NATS server refuses something; has this node the permissions that it needs?");
            }
        }
        LinkEvent::Other(event) => tracing::debug!(target: "sociable::adapter", role, %event, "NATS"),
    }
}

fn start(shared: &Arc<Shared>, data: &Client, control: &Client, tasks: &mut JoinSet<()>) {
    let (listening, is_listening) = oneshot::channel();
    let listening = Arc::new(parking_lot::Mutex::new(Some(listening)));
    let (at, client) = (Arc::clone(shared), data.clone());
    tasks.spawn(supervised("incoming", Arc::clone(shared), move || {
        let (shared, client, listening) = (Arc::clone(&at), client.clone(), listening.lock().take());
        incoming::run(shared, client, listening)
    }));
    start_sending(shared, data, tasks);
    let (at, of, client) = (Arc::clone(shared), Arc::clone(shared), control.clone());
    let member = supervised("membership", Arc::clone(shared), move || membership::run(Arc::clone(&of), client.clone()));
    tasks.spawn(async move {
        // It is no member before it listens.
        drop(is_listening.await);
        if let Some(history) = at.history.get() {
            history.listening().await;
        }
        member.await;
    });
}

fn start_sending(shared: &Arc<Shared>, data: &Client, tasks: &mut JoinSet<()>) {
    let (at, client) = (Arc::clone(shared), data.clone());
    tasks.spawn(supervised("outgoing", Arc::clone(shared), move || send(Arc::clone(&at), client.clone())));
}

/// Begins a task anew when it ends or dies.
async fn supervised<F: Future<Output = ()> + Send + 'static>(name: &'static str, shared: Arc<Shared>, task: impl Fn() -> F) {
    loop {
        let mut only = JoinSet::new();
        only.spawn(task());
        let died = matches!(only.join_next().await, Some(Err(error)) if error.is_panic());
        shared.counters.restarted.one();
        tracing::error!(target: "sociable::adapter", task = name, died, "a task of the adapter has ended, and is begun anew");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends what waits.
async fn send(shared: Arc<Shared>, client: Client) {
    let me = shared.me();
    let all = async_nats::Subject::from(shared.subject("all"));
    loop {
        if shared.outgoing.is_empty() {
            shared.outgoing.empty.notify_waiters();
            shared.outgoing.wake.notified().await;
        }
        shared.outgoing.expire(&shared.counters);
        // While the link is down, what waits stays here: the client would send it however late.
        if tokio::time::timeout(shared.outgoing.patience(), shared.links.is_up(Link::Data)).await.is_err() {
            continue;
        }
        shared.outgoing.set_max_payload(client.max_payload());
        let Some((lane, envelope)) = shared.outgoing.pack(me) else { continue };
        let subject = match lane {
            Lane::All | Lane::Kept => all.clone(),
            Lane::Node(tag) => one(&shared, tag, "node").into(),
            Lane::Socket(id) => one(&shared, id.tag(), id.as_str()).into(),
        };
        match tokio::time::timeout(shared.options.publish_deadline, client.publish(subject, envelope)).await {
            Ok(Ok(())) => shared.counters.sent.one(),
            // The others see a gap.
            Ok(Err(error)) => {
                shared.counters.unsent.one();
                tracing::warn!(target: "sociable::adapter", %error, "an envelope could not be sent");
            }
            Err(_) => shared.counters.unsent.one(),
        }
    }
}

/// The subject for what is for one node, or for who has one id of it.
pub(crate) fn one(shared: &Shared, tag: NodeTag, who: &str) -> String {
    shared.subject(&format!("one.{tag}.{who}"))
}

/// Takes leave, when what waits has been sent.
async fn leave(shared: &Arc<Shared>, data: &Client, control: &Client, sending: bool) {
    if let Some(history) = shared.history.get().filter(|_| sending)
        && tokio::time::timeout(LAST_KEPT, history.all_is_kept()).await.is_err()
    {
        tracing::warn!(target: "sociable::adapter", "left without having kept everything");
    }
    let sent = async {
        if sending {
            shared.outgoing.sent().await;
        }
        arrived(shared, data).await;
    };
    if tokio::time::timeout(LEAVE, sent).await.is_err() {
        // The others find it to be missing.
        tracing::warn!(target: "sociable::adapter", "left without having sent everything");
    }
    let goodbye = async {
        membership::say_goodbye(shared, control).await;
        arrived(shared, control).await;
    };
    drop(tokio::time::timeout(LEAVE, goodbye).await);
}

/// Waits until the server has read what was sent: nobody listens to what is asked, which the server says behind all that came before.
pub(super) async fn arrived(shared: &Shared, client: &Client) {
    drop(client.request(shared.subject("nobody"), bytes::Bytes::new()).await);
}
