//! The API over NATS, by request and reply.
//!
//! A request goes to the subject `sociable.CLUSTER.api.v1.OPERATION`, such as `sociable.sociable.api.v1.emit`. One node of the cluster answers it.
//! Bodies, keys, limits and problems are those of the HTTP API.
//!
//! | header | of | meaning |
//! |---|---|---|
//! | `Authorization` | request | `Bearer` and the secret of the key. |
//! | `Content-Type`, `Accept` | request | As of HTTP: JSON if they are absent. |
//! | `Idempotency-Key` | request | As of HTTP. |
//! | `Status` | reply | The status code, such as `200`. |
//! | `Content-Type`, `Retry-After`, `Idempotency-Replayed` | reply | As of HTTP. |
//!
//! An operation without parameters, such as `sockets`, may have an empty body.
//!
//! A reply that is longer than the longest message of the NATS server becomes a problem with status 413. The operation was done all the same.
//!
//! # Reply subjects
//!
//! The node sends replies with its own permissions. It replies to inboxes alone, so that no request makes it publish elsewhere: see
//! [`NatsApiOptions::inbox`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::{Client, HeaderMap, HeaderName, Message, Subject, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use sociable::MetricFamily;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::Api;
use super::exchange::{Admitted, Head, Reply};
use super::link::NatsLink;
use super::problem::{Problem, ProblemKind};
use super::repetition::{IDEMPOTENCY_KEY, REPLAYED};
use super::routes::Route;

/// The queue group of the nodes. One of them gets each request.
const QUEUE: &str = "api";
/// The most bytes of the headers of a reply.
const HEADERS: usize = 1024;
/// The time after which a busy node may take a request.
const BUSY: Duration = Duration::from_secs(1);

/// The options of the API over NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsApiOptions {
    max_requests: usize,
    inbox: String,
}

impl Default for NatsApiOptions {
    fn default() -> Self {
        Self { max_requests: 256, inbox: "_INBOX.".into() }
    }
}

impl NatsApiOptions {
    /// Sets the most requests that run at the same time: 256 by default. Further ones get a problem with status 503.
    #[must_use]
    pub fn max_requests(mut self, requests: usize) -> Self {
        self.max_requests = requests.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets the first part of the subjects that get replies: `_INBOX.` by default. Requests with another reply subject are dropped and counted.
    #[must_use]
    pub fn inbox(mut self, prefix: impl Into<String>) -> Self {
        self.inbox = prefix.into();
        self
    }
}

/// Counts of the API over NATS since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatsApiStats {
    /// Requests that were dropped because their reply subject is absent or no inbox.
    pub no_inbox: u64,
    /// Requests that were refused because too many were running.
    pub busy: u64,
    /// Replies that were longer than the longest message of the server.
    pub too_long: u64,
    /// Replies that the connection did not take.
    pub unsent: u64,
}

#[derive(Debug, Default)]
struct Counters {
    no_inbox: AtomicU64,
    busy: AtomicU64,
    too_long: AtomicU64,
    unsent: AtomicU64,
}

impl Counters {
    fn stats(&self) -> NatsApiStats {
        let Self { no_inbox, busy, too_long, unsent } = self;
        let [no_inbox, busy, too_long, unsent] = [no_inbox, busy, too_long, unsent].map(|counter| counter.load(Relaxed));
        NatsApiStats { no_inbox, busy, too_long, unsent }
    }

    fn family(&self) -> MetricFamily {
        let NatsApiStats { no_inbox, busy, too_long, unsent } = self.stats();
        let counts = [("no_inbox", no_inbox), ("busy", busy), ("too_long", too_long), ("unsent", unsent)];
        let family = MetricFamily::counter("api_nats_failures", "API requests over NATS without the reply that they asked for, by reason.");
        counts.iter().fold(family, |family, (reason, count)| family.sample(&[("reason", *reason)], *count))
    }
}

/// The API over NATS while it is served. It ends when this is dropped; running requests are answered before.
#[derive(Debug)]
#[must_use = "the API over NATS ends when this is dropped"]
pub struct NatsApi {
    /// Dropping it stops the task.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    counters: Arc<Counters>,
}

impl NatsApi {
    /// Returns the counts since the start.
    pub fn stats(&self) -> NatsApiStats {
        self.counters.stats()
    }

    /// Takes no further requests, and waits for the running ones until the deadline.
    pub async fn stop(self, deadline: Duration) {
        drop(self.stop);
        if tokio::time::timeout(deadline, self.task).await.is_err() {
            tracing::warn!(target: "sociable::gateway", "API requests over NATS are still running; leaving them");
        }
    }
}

impl Api {
    /// Serves the API over NATS, in a task of the current tokio runtime, and adds its metrics to those of the server. Call this once for a node.
    ///
    /// A draining node takes one more request at most, and leaves the others to other nodes.
    ///
    /// ```no_run
    /// # async fn show(io: sociable::Server) -> Result<(), Box<dyn std::error::Error>> {
    /// use sociable_gateway::api::link::NatsLink;
    /// use sociable_gateway::api::nats::NatsApiOptions;
    /// use sociable_gateway::api::{Api, Keys};
    /// use sociable_nats::NatsConfig;
    ///
    /// let link = NatsLink::connect(&NatsConfig::new("nats://127.0.0.1:4222")).await?;
    /// let api = Api::builder(&io, Keys::default()).build();
    /// let served = api.serve_nats(&link, NatsApiOptions::default()).await?;
    /// // Until the node stops:
    /// served.stop(std::time::Duration::from_secs(5)).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The connection is closed.
    pub async fn serve_nats(&self, link: &NatsLink, options: NatsApiOptions) -> Result<NatsApi, SubscribeError> {
        let prefix = format!("sociable.{}.api.v1.", link.cluster());
        let client = link.client().clone();
        let subscriber = client.queue_subscribe(format!("{prefix}>"), QUEUE.into()).await?;
        // A request that comes after this call is answered. The server learns of the subscription later if it is away now.
        if link.is_up() {
            client.flush().await.ok();
        }
        let (stop, stopped) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let weak = Arc::downgrade(&counters);
        self.server().add_metrics(move || weak.upgrade().map(|counters| vec![counters.family()]).unwrap_or_default());
        let permits = Arc::new(Semaphore::new(options.max_requests));
        let requests = Requests { api: self.clone(), client, prefix, options, permits, counters: Arc::clone(&counters) };
        Ok(NatsApi { stop, task: tokio::spawn(requests.receive_all(subscriber, stopped)), counters })
    }
}

/// The requests of a node.
struct Requests {
    api: Api,
    client: Client,
    /// The subjects without the operation.
    prefix: String,
    options: NatsApiOptions,
    /// One for each request that may run.
    permits: Arc<Semaphore>,
    counters: Arc<Counters>,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("prefix", &self.prefix).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Requests {
    /// Takes requests until the API stops or the node drains, and waits for those that run.
    async fn receive_all(self, mut subscriber: Subscriber, mut stopped: oneshot::Receiver<()>) {
        let mut is_leaving = false;
        loop {
            let message = tokio::select! {
                biased;
                _ = &mut stopped, if !is_leaving => None,
                message = subscriber.next() => match message {
                    Some(message) => Some(message),
                    None => break,
                },
            };
            let is_stopped = message.is_none();
            if let Some(message) = message {
                self.receive(message);
            }
            if !is_leaving && (is_stopped || self.api.server().health().draining) {
                is_leaving = true;
                // Requests that arrived before are still taken.
                subscriber.unsubscribe().await.ok();
            }
        }
        let all = u32::try_from(self.options.max_requests).unwrap_or(u32::MAX);
        drop(self.permits.acquire_many(all).await);
        self.client.flush().await.ok();
    }

    /// Starts a request, or refuses it. This never waits, so that no requests pile up.
    fn receive(&self, message: Message) {
        let Some(inbox) = message.reply.clone().filter(|subject| subject.starts_with(&self.options.inbox)) else {
            self.counters.no_inbox.fetch_add(1, Relaxed);
            return;
        };
        match self.admitted(&message) {
            Ok((admitted, permit)) => {
                let (api, client, counters) = (self.api.clone(), self.client.clone(), Arc::clone(&self.counters));
                tokio::spawn(async move {
                    let reply = answer(&api, admitted, message).await;
                    let reply = fitting(reply, client.max_payload(), &counters);
                    if publish(&client, inbox, reply).await.is_err() {
                        counters.unsent.fetch_add(1, Relaxed);
                    }
                    drop(permit);
                });
            }
            Err(problem) => {
                if !matches!(publish(&self.client, inbox, Reply::from(&problem)).now_or_never(), Some(Ok(()))) {
                    self.counters.unsent.fetch_add(1, Relaxed);
                }
            }
        }
    }

    fn admitted(&self, message: &Message) -> Result<(Admitted, OwnedSemaphorePermit), Problem> {
        let name = message.subject.strip_prefix(&*self.prefix).unwrap_or_default();
        let route = Route::ALL.iter().copied().find(|route| route.name() == name).ok_or_else(|| {
            let detail = "the API has no such operation: check the last part of the subject";
            Problem::new(ProblemKind::NotFound, detail)
        })?;
        let admitted = self.api.admit(header(message.headers.as_ref(), "Authorization"), route)?;
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            self.counters.busy.fetch_add(1, Relaxed);
            let problem = Problem::new(ProblemKind::Unavailable, "the node has too many requests at the same time: send it again");
            self.api.count(route, problem.kind().status(), Some(problem.kind()));
            problem.retry_after(BUSY)
        })?;
        Ok((admitted, permit))
    }
}

async fn answer(api: &Api, admitted: Admitted, message: Message) -> Reply {
    let Message { payload, headers, .. } = message;
    let header = |name| header(headers.as_ref(), name);
    let idempotency_key = header(IDEMPOTENCY_KEY).map(str::as_bytes);
    let head = Head { content_type: header("Content-Type"), accept: header("Accept"), idempotency_key };
    if payload.is_empty() && admitted.route.is_read() {
        let head = Head { content_type: None, ..head };
        return api.answer(admitted, head, Ok(Bytes::from_static(b"{}"))).await;
    }
    let most = api.limits().max_body;
    let too_large = || Problem::new(ProblemKind::TooLarge, format!("the body is longer than the limit: send at most {most} bytes"));
    let body = if payload.len() <= most { Ok(payload) } else { Err(too_large()) };
    api.answer(admitted, head, body).await
}

/// Returns a header by its name, in any case. Empty if there are several.
fn header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    let is_named = |header: &HeaderName| AsRef::<str>::as_ref(header).eq_ignore_ascii_case(name);
    let mut values = headers?.iter().filter(|(header, _)| is_named(header)).flat_map(|(_, values)| values);
    let first = values.next()?.as_str();
    Some(if values.next().is_none() { first } else { "" })
}

/// Returns a reply that the server takes: a problem instead of one that is too long.
fn fitting(reply: Reply, max_payload: usize, counters: &Counters) -> Reply {
    if reply.body.len().saturating_add(HEADERS) <= max_payload {
        return reply;
    }
    counters.too_long.fetch_add(1, Relaxed);
    let length = reply.body.len();
    let detail = format!("the operation was done, but its answer of {length} bytes is too long for NATS: ask for less, or use HTTP");
    Reply::from(&Problem::new(ProblemKind::TooLarge, detail))
}

async fn publish(client: &Client, inbox: Subject, reply: Reply) -> Result<(), async_nats::PublishError> {
    let mut headers = HeaderMap::new();
    headers.insert("Status", reply.status.to_string());
    headers.insert("Content-Type", reply.content_type);
    if let Some(seconds) = reply.retry_after {
        headers.insert("Retry-After", seconds.to_string());
    }
    if reply.is_replayed {
        headers.insert(REPLAYED, "true");
    }
    client.publish_with_headers(inbox, headers, reply.body).await
}
