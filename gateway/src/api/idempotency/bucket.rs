//! The bucket of records on the NATS servers.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::kv::{self, UpdateErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, ContextBuilder, ErrorCode};
use bytes::Bytes;

use super::StoreUnavailable;
use super::options::Bounds;
use crate::api::link::NatsLink;

/// The time that the server has to confirm a write.
const ACK: Duration = Duration::from_secs(2);
/// The timeout of one request.
const REQUEST: Duration = Duration::from_secs(3);
/// The time in which a repeated message is stored only once.
const DUPLICATES: Duration = Duration::from_secs(120);

/// The reason why a request to the server failed.
pub(super) type BucketError = Box<dyn std::error::Error + Send + Sync>;

/// The bucket of a cluster's records.
#[derive(Clone, Debug)]
pub(super) struct Bucket(kv::Store);

/// A value of the bucket.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) revision: u64,
    /// The time of the write by the server's clock, in milliseconds since the Unix epoch.
    pub(super) written: i128,
    /// `None` if it was deleted.
    pub(super) value: Option<Bytes>,
}

/// A write that was not done.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Another write has changed the revision.
    Changed,
    /// The outcome of the write is unknown, or the server refused it.
    Other(BucketError),
}

impl Bucket {
    /// Opens the bucket, or creates it with the replicas and the storage of the cluster's events.
    pub(super) async fn open(link: &NatsLink, bounds: &Bounds) -> Result<Self, BucketError> {
        let context = ContextBuilder::new().timeout(REQUEST).ack_timeout(ACK).build(link.client().clone());
        let name = format!("sociable-{}-idempotency", link.cluster());
        let stream = format!("KV_{name}");
        let max_bytes = i64::try_from(bounds.max_bytes)?;
        match known(&context, &stream).await? {
            Some(stream) => {
                let config = stream.get_info().await?.config;
                if (config.max_age, config.max_bytes) != (bounds.ttl, max_bytes) {
                    context.update_stream(Config { max_age: bounds.ttl, max_bytes, ..config }).await?;
                }
            }
            None => {
                let events = context.get_stream(format!("sociable-{}", link.cluster())).await?.get_info().await?.config;
                let config = Config {
                    name: stream,
                    description: Some("Requests of a Sociable cluster with idempotency keys".into()),
                    subjects: vec![format!("$KV.{name}.>")],
                    max_messages_per_subject: 1,
                    max_age: bounds.ttl,
                    max_bytes,
                    // A new request drops the oldest answer.
                    discard: DiscardPolicy::Old,
                    storage: events.storage,
                    num_replicas: events.num_replicas,
                    duplicate_window: DUPLICATES.min(bounds.ttl),
                    deny_delete: true,
                    allow_rollup: true,
                    ..Config::default()
                };
                match context.create_stream(config).await {
                    Err(error) if !exists(&error.kind()) => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Ok(Self(context.get_key_value(name).await?))
    }

    /// Writes a value over that of a revision, 0 for none. Returns the new revision.
    pub(super) async fn put(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, WriteError> {
        Ok(self.0.update(key, value, revision).await?)
    }

    /// Deletes the value of a revision.
    pub(super) async fn delete(&self, key: &str, revision: u64) -> Result<(), WriteError> {
        Ok(self.0.delete_expect_revision(key, Some(revision)).await?)
    }

    /// Reads a value from the leader of the bucket. `None` if it was never written, or is too old.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Stored>, BucketError> {
        let subject = format!("{}{key}", self.0.prefix);
        match self.0.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(Stored {
                revision: message.sequence,
                written: message.time.unix_timestamp_nanos() / 1_000_000,
                value: message.headers.get("KV-Operation").is_none().then_some(message.payload),
            })),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<kv::UpdateError> for WriteError {
    fn from(error: kv::UpdateError) -> Self {
        match error.kind() {
            UpdateErrorKind::WrongLastRevision => Self::Changed,
            _ => Self::Other(error.into()),
        }
    }
}

impl From<BucketError> for StoreUnavailable {
    fn from(error: BucketError) -> Self {
        Self(error.to_string())
    }
}

/// Returns a stream if it exists.
async fn known(context: &Context, name: &str) -> Result<Option<Stream>, BucketError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(error.into()),
        },
    }
}

fn exists(error: &CreateStreamErrorKind) -> bool {
    matches!(error, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}
