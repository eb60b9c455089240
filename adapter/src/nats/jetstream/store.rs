//! The stream of events and the bucket of sessions on the server.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, Republish, Stream};
use async_nats::jetstream::{Context, ContextBuilder, ErrorCode, kv};
use bytes::Bytes;
use futures_util::StreamExt;
use sociable_protocol::Id;

use super::offset::Epoch;
use super::options::{DUPLICATES, JetStreamOptions};
use crate::nats::error::NatsError;

/// The time that the server has to confirm a message. An election takes longer, and the message is then published
/// again.
const ACK: Duration = Duration::from_secs(2);
/// The timeout of one request.
const REQUEST: Duration = Duration::from_secs(3);
/// The time that a server needs at most from its start until JetStream is ready.
const START: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(250);
/// The time that the server may be silent while it reads out of the stream.
const SILENCE: Duration = Duration::from_secs(5);
/// The age at which a session that is not refreshed is dropped, at least.
const SESSION_AGE: Duration = Duration::from_secs(600);

/// The key whose write shows the server's time. No session has it as its id.
const CLOCK: &str = "clock";

/// An error of a request to the server.
pub(crate) type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// The stream and the bucket of the cluster.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) context: Context,
    pub(crate) stream: Stream,
    pub(crate) sessions: kv::Store,
    pub(crate) epoch: Epoch,
    /// The last message of the stream when it was opened.
    pub(crate) last: u64,
    pub(crate) subjects: Subjects,
}

/// The messages that the stream has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) epoch: Epoch,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// From the first to the last.
    span: Duration,
}

impl Range {
    /// Returns the last message that was dropped though it is younger than `age`. No returning client has missed older ones.
    pub(crate) fn lacks(&self, age: Duration) -> u64 {
        if self.span < age { self.first.saturating_sub(1) } else { 0 }
    }
}

/// A value of the bucket of sessions.
#[derive(Debug)]
pub(crate) struct StoredValue {
    pub(crate) revision: u64,
    /// The time of the write by the server's clock, in milliseconds since the Unix epoch.
    pub(crate) written: i128,
    /// `None` if it was deleted.
    pub(crate) value: Option<Bytes>,
}

/// The subjects of the stream.
#[derive(Clone, Debug)]
pub(crate) struct Subjects {
    /// The subject of messages for all nodes.
    pub(crate) all: String,
    /// The subject on which the server republishes them once they are persisted.
    pub(crate) live: String,
    /// The subject of messages that the server refuses to persist, for connected nodes.
    pub(crate) unkept: String,
    /// The prefix of the subjects for the own sockets of a node.
    own: String,
    any: String,
}

impl Subjects {
    fn new(cluster: &str) -> Self {
        let subject = |rest: &str| format!("sociable.{cluster}.{rest}");
        Self { all: subject("kept.all"), live: subject("live"), unkept: subject("unkept"), own: subject("kept.of"), any: subject("kept.>") }
    }

    pub(crate) fn own(&self, tag: sociable_protocol::NodeTag) -> String {
        format!("{}.{tag}", self.own)
    }
}

/// The start of a read from the stream.
pub(crate) enum From {
    Sequence(u64),
    Age(Duration),
}

impl Store {
    /// Opens the stream and the bucket, or creates them.
    pub(crate) async fn open(client: &Client, cluster: &str, options: &JetStreamOptions) -> Result<Self, NatsError> {
        let context = ContextBuilder::new().timeout(REQUEST).ack_timeout(ACK).build(client.clone());
        let (begun, mut logged) = (std::time::Instant::now(), false);
        loop {
            match Self::try_open(&context, cluster, options, begun.elapsed() > START / 2).await {
                Ok(store) => return Ok(store),
                // The servers of a new cluster first have to elect their leader.
                Err(error) if begun.elapsed() < START => {
                    if !std::mem::replace(&mut logged, true) {
                        tracing::warn!(target: "sociable::recovery", %error, "JetStream is not ready; enable it (`nats-server -js`)");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(NatsError::JetStream(error.to_string())),
            }
        }
    }

    async fn try_open(context: &Context, cluster: &str, options: &JetStreamOptions, patient: bool) -> Result<Self, StoreError> {
        let subjects = Subjects::new(cluster);
        let stream = open_stream(context, cluster, &subjects, options, patient).await?;
        let info = stream.get_info().await?;
        if info.config.republish.as_ref().is_none_or(|republish| republish.destination != subjects.live) {
            return Err(format!("stream {} does not republish its messages; delete it, so that a node creates it", info.config.name).into());
        }
        let sessions = open_bucket(context, cluster, options, info.config.num_replicas).await?;
        let epoch = Epoch::of(info.created.unix_timestamp_nanos());
        Ok(Self { context: context.clone(), stream, sessions, epoch, last: info.state.last_sequence, subjects })
    }

    /// Raises the ages of events and sessions to these, and sets the bounds of both in bytes.
    pub(crate) async fn adjust(&self, events: Duration, sessions: Duration, options: &JetStreamOptions) -> Result<(), StoreError> {
        // The sessions come first: a lower bound of theirs makes room.
        let streams = [(&self.sessions.stream, sessions, options.sessions_bytes), (&self.stream, events, options.max_bytes)];
        for (stream, age, max_bytes) in streams {
            let config = stream.get_info().await?.config;
            // Zero is no limit.
            let max_age = if config.max_age.is_zero() { config.max_age } else { config.max_age.max(age) };
            let wanted = Config { max_age, max_bytes, discard: DiscardPolicy::Old, ..config.clone() };
            let differs = (config.max_age, config.max_bytes, config.discard) != (max_age, max_bytes, DiscardPolicy::Old);
            if differs {
                self.context.update_stream(wanted).await?;
            }
        }
        Ok(())
    }

    /// Removes a session, even while nothing can be written.
    pub(crate) async fn purge(&self, pid: &Id) -> Result<(), StoreError> {
        self.sessions.stream.purge().filter(format!("{}{pid}", self.sessions.prefix)).await?;
        Ok(())
    }

    /// Returns the messages that the stream has now.
    pub(crate) async fn range(&self) -> Result<Range, StoreError> {
        let info = self.stream.get_info().await?;
        let span = info.state.last_timestamp.unix_timestamp_nanos() - info.state.first_timestamp.unix_timestamp_nanos();
        Ok(Range {
            epoch: Epoch::of(info.created.unix_timestamp_nanos()),
            first: info.state.first_sequence,
            last: info.state.last_sequence,
            span: Duration::from_nanos(u64::try_from(span).unwrap_or(0)),
        })
    }

    /// Returns true if the stream was deleted.
    pub(crate) async fn is_gone(&self) -> bool {
        self.is_missing(&self.stream.cached_info().config.name).await
    }

    async fn is_missing(&self, stream: &str) -> bool {
        self.context.get_stream(stream).await.is_err_and(|error| is_missing(&error))
    }

    /// Reads a session from the leader of the bucket. `None` if it was never written, or is too old.
    pub(crate) async fn session(&self, pid: &Id) -> Result<Option<StoredValue>, StoreError> {
        let subject = format!("{}{pid}", self.sessions.prefix);
        match self.sessions.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(StoredValue {
                revision: message.sequence,
                written: message.time.unix_timestamp_nanos() / 1_000_000,
                value: message.headers.get("KV-Operation").is_none().then_some(message.payload),
            })),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the time of the server that writes sessions, in milliseconds since the Unix epoch. The time is read from
    /// a value written just now: servers before 2.10 show it nowhere else.
    pub(crate) async fn now(&self) -> Result<i128, StoreError> {
        self.sessions.put(CLOCK, Bytes::new()).await?;
        let written = self.sessions.stream.get_last_raw_message_by_subject(&format!("{}{CLOCK}", self.sessions.prefix)).await?;
        Ok(written.time.unix_timestamp_nanos() / 1_000_000)
    }

    /// Returns true if the bucket of sessions was deleted.
    pub(crate) async fn sessions_are_gone(&self) -> bool {
        self.is_missing(&self.sessions.stream_name).await
    }

    /// Returns the sequence of the last message of a subject, 0 if there is none.
    pub(crate) async fn last_of(&self, subject: &str) -> Result<u64, StoreError> {
        match self.stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(message.sequence),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the messages of a subject.
    pub(crate) async fn read(&self, subject: &str, from: From, mut each: impl FnMut(u64, Bytes)) -> Result<(), StoreError> {
        let deliver_policy = match from {
            From::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence: start_sequence.max(1) },
            // Ages count by the server's clock. A message too old at the time of the last one is too old now.
            From::Age(age) => {
                let state = self.stream.get_info().await?.state;
                match state.last_timestamp.checked_sub(age.try_into()?).filter(|_| state.messages > 0) {
                    Some(start_time) => DeliverPolicy::ByStartTime { start_time },
                    None => DeliverPolicy::All,
                }
            }
        };
        let config = pull::OrderedConfig { filter_subject: subject.to_owned(), deliver_policy, ..pull::OrderedConfig::default() };
        let consumer = self.stream.create_consumer(config).await?;
        let (name, mut pending) = (consumer.cached_info().name.clone(), consumer.cached_info().num_pending);
        if pending > 0 {
            let mut messages = consumer.messages().await?;
            while pending > 0 {
                let next = tokio::time::timeout(SILENCE, messages.next()).await.map_err(|_| "reading the stream timed out")?;
                let message = next.ok_or("the stream ended during the read")??;
                let info = message.info()?;
                let sequence = info.stream_sequence;
                pending = info.pending;
                each(sequence, message.message.payload);
            }
        }
        // If this fails, the server removes the consumer after a while.
        drop(self.stream.delete_consumer(&name).await);
        Ok(())
    }
}

/// Opens the stream of events, or creates it. If `patient`, the wait for servers to find each other is over.
async fn open_stream(
    context: &Context,
    cluster: &str,
    subjects: &Subjects,
    options: &JetStreamOptions,
    patient: bool,
) -> Result<Stream, StoreError> {
    let name = format!("sociable-{cluster}");
    let mut config = Config {
        name: name.clone(),
        description: Some("Events of a Sociable cluster".into()),
        subjects: vec![subjects.any.clone()],
        max_age: options.max_age,
        max_bytes: options.max_bytes,
        discard: DiscardPolicy::Old,
        storage: options.storage(),
        num_replicas: options.replicas.unwrap_or(3),
        duplicate_window: DUPLICATES,
        allow_direct: true,
        republish: Some(Republish { source: subjects.all.clone(), destination: subjects.live.clone(), headers_only: false }),
        ..Config::default()
    };
    loop {
        // Creating an existing stream reserves its room once more, which may be lacking.
        if let Some(stream) = known(context, &name).await? {
            return Ok(stream);
        }
        let may_be_alone = config.num_replicas > 1 && options.replicas.is_none();
        match context.create_stream(config.clone()).await {
            Ok(stream) => return Ok(stream),
            // Another node created it with its own limits, which are as good.
            Err(error) if code(&error) == Some(ErrorCode::STREAM_NAME_EXIST) => return Ok(context.get_stream(&name).await?),
            // One server alone has no replicas. Several may not have found each other yet.
            Err(error) if may_be_alone && is_alone(&error) => config.num_replicas = 1,
            Err(error) if may_be_alone && patient && code(&error) == Some(ErrorCode::CLUSTER_NO_PEERS) => {
                tracing::warn!(target: "sociable::recovery", "too few NATS servers; storing events and sessions on one");
                config.num_replicas = 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens the bucket of sessions, or creates it.
async fn open_bucket(context: &Context, cluster: &str, options: &JetStreamOptions, replicas: usize) -> Result<kv::Store, StoreError> {
    let bucket = format!("sociable-{cluster}-sessions");
    // The client's own call asks for the limits of the account, and fails on the answer of servers before 2.10.
    let config = Config {
        name: format!("KV_{bucket}"),
        description: Some("Sessions of a Sociable cluster".into()),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        max_age: SESSION_AGE,
        max_bytes: options.sessions_bytes,
        // Writes of sessions always succeed: the bucket drops the session written longest ago.
        discard: DiscardPolicy::Old,
        storage: options.storage(),
        num_replicas: replicas,
        duplicate_window: DUPLICATES,
        deny_delete: true,
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    };
    if known(context, &config.name).await?.is_none() {
        match context.create_stream(config).await {
            Err(error) if code(&error) != Some(ErrorCode::STREAM_NAME_EXIST) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(context.get_key_value(bucket).await?)
}

/// Returns a stream if it exists.
async fn known(context: &Context, name: &str) -> Result<Option<Stream>, StoreError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns true if the server has no room left.
pub(super) fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    const FULL: [ErrorCode; 4] = [
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::STREAM_STORE_FAILED,
    ];
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<async_nats::jetstream::Error>())
        .any(|error| FULL.contains(&error.error_code()))
}

/// Returns true if the server has no such stream.
fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn code(error: &CreateStreamError) -> Option<ErrorCode> {
    match error.kind() {
        CreateStreamErrorKind::JetStream(error) => Some(error.error_code()),
        _ => None,
    }
}

fn is_alone(error: &CreateStreamError) -> bool {
    code(error) == Some(ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED)
}
