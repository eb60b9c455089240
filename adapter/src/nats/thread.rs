//! The thread of the adapter, and the tasks that run on it.
//!
//! A thread of its own keeps the workers from waiting for the bus, whatever runtime the application has. The thread
//! also lets `order` see several subscriptions at one moment.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::connect::connect;
use super::context::NatsContext;
use super::error::NatsError;
use super::jetstream::state::StreamState;
use super::jetstream::store::Store;
use super::links::Link;
use super::{jetstream, membership, receiver, sender};
use crate::{Limits, Node};

/// The time that a leave waits for its records to be sent, and then for its goodbye.
const LEAVE: Duration = Duration::from_millis(1500);
/// The time that a leave waits for the stream to persist its events.
const LAST_PERSISTED: Duration = Duration::from_secs(5);
/// The pause before a task that ended is started again.
const PAUSE: Duration = Duration::from_millis(100);

/// A command to the thread of the adapter.
pub(super) enum Command {
    /// Become a member: the node has started.
    Start(Arc<dyn Node>),
    /// Leave the cluster, send the waiting records, and reply.
    Close(oneshot::Sender<()>),
}

/// Returns a runtime for the thread.
pub(super) fn runtime() -> Result<Runtime, NatsError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)
}

fn failed(error: std::io::Error) -> NatsError {
    NatsError::Start(error.to_string())
}

/// Starts the thread. `ready` gets the outcome when the connections are up and the tag is claimed.
pub(super) fn spawn(
    runtime: Runtime,
    context: Arc<NatsContext>,
    commands: mpsc::UnboundedReceiver<Command>,
    ready: oneshot::Sender<Result<(), NatsError>>,
) -> Result<(), NatsError> {
    let run = move || runtime.block_on(run(context, commands, ready));
    std::thread::Builder::new().name("sociable-nats".into()).spawn(run).map_err(failed)?;
    Ok(())
}

async fn run(context: Arc<NatsContext>, mut commands: mpsc::UnboundedReceiver<Command>, ready: oneshot::Sender<Result<(), NatsError>>) {
    let Clients { data, control, history } = match establish(&context).await {
        Ok(clients) => clients,
        Err(error) => return drop(ready.send(Err(error))),
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    let mut tasks = JoinSet::new();
    if context.emits_only {
        start_sending(&context, &data, &mut tasks);
        if let Some(history) = context.history.get().cloned() {
            let at = Arc::clone(&context);
            let publish = move || jetstream::publisher::run(Arc::clone(&history), Arc::clone(&at));
            tasks.spawn(supervised("history", Arc::clone(&context), publish));
        }
    }
    // The runtime lives until the last handle is dropped.
    while let Some(command) = commands.recv().await {
        match command {
            Command::Start(node) => {
                if context.node.set(node).is_ok() {
                    start(&context, &data, &control, &mut tasks);
                    if let Some((history, client)) = context.history.get().cloned().zip(history.clone()) {
                        let at = Arc::clone(&context);
                        let run = move || jetstream::run(Arc::clone(&history), Arc::clone(&at), client.clone());
                        tasks.spawn(supervised("history", Arc::clone(&context), run));
                    }
                }
            }
            Command::Close(done) => {
                leave(&context, &data, &control, !tasks.is_empty()).await;
                tasks.abort_all();
                context.links.set(Link::Data, false);
                context.links.set(Link::Control, false);
                context.links.set(Link::History, false);
                context.questions.abandon();
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
async fn establish(context: &Arc<NatsContext>) -> Result<Clients, NatsError> {
    let (data, control) = (connect(context, Link::Data).await?, connect(context, Link::Control).await?);
    let me = if context.emits_only { membership::draw() } else { membership::claim(context, &control).await? };
    let _ = context.me.set(me);
    tracing::info!(target: "sociable::adapter", tag = %me.tag, cluster = context.options.connection.cluster, "connected to NATS");
    let history = if let Some(options) = &context.options.jetstream {
        context.links.require_history();
        let client = connect(context, Link::History).await?;
        let store = Store::open(&client, &context.options.connection.cluster, options).await?;
        if context.emits_only {
            let nothing = Limits { session_age: Duration::ZERO, event_age: Duration::ZERO, session_bytes: 0, total_bytes: 0 };
            let _ = context.history.set(Arc::new(StreamState::new(me, &context.options, store, nothing)));
        } else {
            *context.store.lock() = Some(store);
        }
        Some(client)
    } else {
        None
    };
    Ok(Clients { data, control, history })
}

fn start(context: &Arc<NatsContext>, data: &Client, control: &Client, tasks: &mut JoinSet<()>) {
    let (listening, is_listening) = oneshot::channel();
    let listening = Arc::new(Mutex::new(Some(listening)));
    let (at, client) = (Arc::clone(context), data.clone());
    tasks.spawn(supervised("incoming", Arc::clone(context), move || {
        receiver::run(Arc::clone(&at), client.clone(), listening.lock().take())
    }));
    start_sending(context, data, tasks);
    let (at, of, client) = (Arc::clone(context), Arc::clone(context), control.clone());
    let member = supervised("membership", Arc::clone(context), move || membership::run(Arc::clone(&of), client.clone()));
    tasks.spawn(async move {
        // The node becomes a member once it is subscribed.
        drop(is_listening.await);
        if let Some(history) = at.history.get() {
            history.listening().await;
        }
        member.await;
    });
}

fn start_sending(context: &Arc<NatsContext>, data: &Client, tasks: &mut JoinSet<()>) {
    let (at, client) = (Arc::clone(context), data.clone());
    tasks.spawn(supervised("outgoing", Arc::clone(context), move || sender::run(Arc::clone(&at), client.clone())));
}

/// Runs a task, and restarts it when it ends or panics.
async fn supervised<F: Future<Output = ()> + Send + 'static>(name: &'static str, context: Arc<NatsContext>, task: impl Fn() -> F) {
    loop {
        let mut only = JoinSet::new();
        only.spawn(task());
        let died = matches!(only.join_next().await, Some(Err(error)) if error.is_panic());
        context.counters.restarted.increment();
        tracing::error!(target: "sociable::adapter", task = name, died, "adapter task ended; restarting");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Leaves the cluster after the waiting records have been sent.
async fn leave(context: &Arc<NatsContext>, data: &Client, control: &Client, sending: bool) {
    if let Some(history) = context.history.get().filter(|_| sending)
        && tokio::time::timeout(LAST_PERSISTED, history.wait_until_persisted()).await.is_err()
    {
        tracing::warn!(target: "sociable::adapter", "left before all events were persisted");
    }
    let sent = async {
        if sending {
            context.send_queue.wait_until_sent().await;
        }
        context.wait_for_server(data).await;
    };
    if tokio::time::timeout(LEAVE, sent).await.is_err() {
        // The others see the gap.
        tracing::warn!(target: "sociable::adapter", "left before all messages were sent");
    }
    let goodbye = async {
        membership::announce_leave(context, control).await;
        context.wait_for_server(control).await;
    };
    drop(tokio::time::timeout(LEAVE, goodbye).await);
}
