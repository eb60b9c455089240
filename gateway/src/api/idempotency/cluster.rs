//! Records of a cluster in JetStream. Each key is written by compare-and-set alone.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use sociable::{NodeTag, Server};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore};

use super::bucket::{Bucket, BucketError, Stored, WriteError};
use super::options::{Bounds, Counters};
use super::record::Record;
use super::{Begun, Guard, KeyHash, Outcome, Place, StoreUnavailable, repeated};
use crate::api::link::NatsLink;

/// Attempts to reserve a key whose record changes meanwhile.
const ATTEMPTS: usize = 5;
/// The pause after which a node is looked for again. A node that has just started may not know all others.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The time that a request waits for its answer to be stored.
const WAIT: Duration = Duration::from_secs(3);
/// The first pause between two attempts to store an answer, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// Attempts to store an answer: about a minute.
const TRIES: u32 = 16;
/// The most bytes of answers that wait to be stored.
const MAX_WAITING: usize = 16 << 20;
/// The cost of a waiting write besides the answer.
const OVERHEAD: usize = 1024;

/// The records of a cluster.
#[derive(Debug)]
pub(super) struct ClusterStore {
    link: NatsLink,
    server: Server,
    bounds: Bounds,
    counters: Arc<Counters>,
    /// The bucket, once it is open.
    bucket: Mutex<Option<Bucket>>,
    /// The number of the last request.
    last: AtomicU64,
    /// The bytes that may still wait to be stored.
    room: Arc<Semaphore>,
}

/// The record of a running request of this node.
#[derive(Debug)]
pub(super) struct Claim {
    store: Arc<ClusterStore>,
    key: String,
    record: Record,
    revision: u64,
}

/// The last write of a request.
#[derive(Debug)]
enum Write {
    Put(Bytes),
    Delete,
}

impl ClusterStore {
    pub(super) fn new(link: &NatsLink, server: Server, bounds: Bounds, counters: Arc<Counters>) -> Self {
        let link = link.clone();
        let (bucket, last, room) = (Mutex::default(), AtomicU64::new(0), Arc::new(Semaphore::new(MAX_WAITING)));
        Self { link, server, bounds, counters, bucket, last, room }
    }

    pub(super) async fn begin(self: &Arc<Self>, key: KeyHash, fingerprint: [u8; 32]) -> Result<Begun, StoreUnavailable> {
        // A write would wait in the client, and reserve the key after the request was refused.
        if !self.link.is_up() {
            return Err(StoreUnavailable("no connection to NATS".into()));
        }
        let bucket = self.bucket().await?;
        let key = BASE64_URL_SAFE_NO_PAD.encode(key);
        let record = Record::running(fingerprint, self.server.tag(), self.last.fetch_add(1, Relaxed));
        let (mut revision, mut has_looked) = (0, false);
        for _ in 0..ATTEMPTS {
            match bucket.put(&key, record.encode(), revision).await {
                Ok(revision) => {
                    let claim = Claim { store: Arc::clone(self), key, record, revision };
                    return Ok(Begun::First(Guard::new(Place::Cluster(claim), &self.bounds, &self.counters)));
                }
                Err(WriteError::Changed) => {}
                Err(WriteError::Other(error)) => {
                    // The key may be reserved all the same.
                    let claim = Claim { store: Arc::clone(self), key, record, revision };
                    claim.give_up(false);
                    return Err(self.failed(error).await);
                }
            }
            let stored = match bucket.get(&key).await {
                Ok(stored) => stored,
                Err(error) => return Err(self.failed(error).await),
            };
            let Some(Stored { revision: found, written, value }) = stored else {
                revision = 0;
                continue;
            };
            let Some(value) = value else {
                revision = found;
                continue;
            };
            let known = Record::decode(&value);
            match &known {
                Some(known) if known.head.fingerprint != fingerprint => return Ok(Begun::OtherRequest),
                // A node of another version wrote it.
                None => return Ok(Begun::OutcomeUnknown),
                Some(known) => match known.outcome() {
                    Some(outcome) => return Ok(repeated(&outcome)),
                    None if self.is_late(written) => return Ok(Begun::OutcomeUnknown),
                    None if self.lives(known.head.owner) => return Ok(Begun::InProgress),
                    None if has_looked => return Ok(Begun::OutcomeUnknown),
                    None => {
                        has_looked = true;
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                },
            }
        }
        Ok(Begun::InProgress)
    }

    /// Returns the bucket. The first call opens it.
    async fn bucket(&self) -> Result<Bucket, BucketError> {
        let mut bucket = self.bucket.lock().await;
        if let Some(bucket) = &*bucket {
            return Ok(bucket.clone());
        }
        let opened = Bucket::open(&self.link, &self.bounds).await?;
        *bucket = Some(opened.clone());
        Ok(opened)
    }

    /// Closes the bucket after an error: it may have been deleted.
    async fn failed(&self, error: BucketError) -> StoreUnavailable {
        tracing::debug!(target: "sociable::gateway", %error, "idempotency store failed");
        self.bucket.lock().await.take();
        error.into()
    }

    fn lives(&self, tag: NodeTag) -> bool {
        tag == self.server.tag() || self.server.other_nodes().iter().any(|node| node.tag == tag)
    }

    /// Returns whether a request that began at this time would have ended.
    fn is_late(&self, written: i128) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        i128::try_from(now).is_ok_and(|now| now - written > i128::try_from(self.bounds.longest_run.as_millis()).unwrap_or(i128::MAX))
    }
}

impl Claim {
    /// Stores the outcome, and waits for it for a while.
    pub(super) async fn finish(self, outcome: Outcome) {
        let max_payload = self.store.link.client().max_payload();
        let mut record = self.record.with(outcome).encode();
        if record.len() + OVERHEAD > max_payload {
            self.store.counters.too_long.fetch_add(1, Relaxed);
            record = self.record.with(Outcome::Unknown).encode();
        }
        // The write goes on if the request is cancelled, or waits no longer.
        if let Some(stored) = self.settle(Write::Put(record)) {
            drop(tokio::time::timeout(WAIT, stored).await);
        }
    }

    /// Releases the key, or marks the outcome as unknown if the request had begun.
    pub(super) fn give_up(self, is_started: bool) {
        let write = if is_started { Write::Put(self.record.with(Outcome::Unknown).encode()) } else { Write::Delete };
        drop(self.settle(write));
    }

    /// Writes in a task of its own, again and again until the server has confirmed it.
    fn settle(self, write: Write) -> Option<tokio::task::JoinHandle<()>> {
        let bytes = OVERHEAD + if let Write::Put(record) = &write { record.len() } else { 0 };
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (Ok(runtime), Ok(permit)) = (Handle::try_current(), Arc::clone(&self.store.room).try_acquire_many_owned(permits)) else {
            self.store.counters.unstored.fetch_add(1, Relaxed);
            return None;
        };
        Some(runtime.spawn(async move {
            self.write(&write).await;
            drop(permit);
        }))
    }

    async fn write(mut self, write: &Write) {
        let [mut pause, longest] = PAUSES;
        for _ in 0..TRIES {
            match self.try_write(write).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(target: "sociable::gateway", %error, "storing an answer failed; retrying");
                    drop(self.store.failed(error).await);
                }
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
        self.store.counters.unstored.fetch_add(1, Relaxed);
        tracing::warn!(target: "sociable::gateway", "answer not stored; repetitions of its request find no answer");
    }

    async fn try_write(&mut self, write: &Write) -> Result<(), BucketError> {
        let bucket = self.store.bucket().await?;
        let written = match write {
            Write::Put(record) => bucket.put(&self.key, record.clone(), self.revision).await.map(drop),
            Write::Delete if self.revision > 0 => bucket.delete(&self.key, self.revision).await,
            // The reservation itself has an unknown outcome.
            Write::Delete => Err(WriteError::Changed),
        };
        match written {
            Ok(()) => Ok(()),
            Err(WriteError::Other(error)) => Err(error),
            Err(WriteError::Changed) => {
                let stored = bucket.get(&self.key).await?;
                let value = stored.as_ref().and_then(|stored| stored.value.as_ref());
                let head = value.and_then(Record::decode).map(|record| record.head);
                match (stored, head) {
                    // An earlier attempt was stored, and its confirmation was lost.
                    (_, Some(head)) if head.state != super::record::State::Running => Ok(()),
                    (Some(stored), Some(head)) if (head.owner, head.number) == (self.record.head.owner, self.record.head.number) => {
                        self.revision = stored.revision;
                        Err("the record has another revision".into())
                    }
                    // The record was dropped before its time.
                    (None, _) if matches!(write, Write::Put(_)) && self.revision > 0 => {
                        self.revision = 0;
                        Err("the record was dropped".into())
                    }
                    // Another request has the key, or none.
                    _ => Ok(()),
                }
            }
        }
    }
}
