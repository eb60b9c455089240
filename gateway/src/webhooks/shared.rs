//! The state that all webhooks of a process share.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use parking_lot::{Mutex, RwLock};
use reqwest::Client;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::batch::Batches;
use super::endpoint::{Budget, Endpoint};
use super::lanes::Lanes;
use super::settings::Settings;
use super::signature::Signer;
use super::target::HookUrl;

/// The state that all webhooks of a process share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) signer: Signer,
    /// The source of all CloudEvents.
    pub(super) source: String,
    /// The bytes that wait for all URLs.
    pub(super) total: Arc<Budget>,
    pub(super) endpoints: RwLock<Vec<Arc<Endpoint>>>,
    pub(super) lanes: Lanes,
    pub(super) batches: Batches,
    /// Set when no further webhook is accepted.
    pub(super) closed: AtomicBool,
    threads: Vec<DeliveryThread>,
    ids: Ids,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A thread with a runtime, on which requests run.
struct DeliveryThread {
    handle: Handle,
    client: Mutex<Option<Client>>,
    /// Dropping this ends the thread.
    _stop: oneshot::Sender<()>,
}

/// The ids of webhooks: a random part for the process, and a number.
#[derive(Debug)]
struct Ids {
    process: u128,
    next: AtomicU64,
}

impl Shared {
    pub(super) fn new(settings: Settings, signer: Signer, source: String) -> io::Result<Self> {
        let threads = (0..settings.threads).map(|_| DeliveryThread::start()).collect::<io::Result<_>>()?;
        Ok(Self {
            total: Budget::new(settings.total_queue_bytes),
            signer,
            source,
            settings,
            endpoints: RwLock::default(),
            lanes: Lanes::default(),
            batches: Batches::default(),
            closed: AtomicBool::new(false),
            threads,
            ids: Ids { process: fastrand::u128(..), next: AtomicU64::new(0) },
        })
    }

    /// Returns the endpoint of a URL, and creates it at the first call.
    ///
    /// # Errors
    ///
    /// The URL needs TLS, and the certificates of the system cannot be used.
    pub(super) fn endpoint(&self, url: &HookUrl) -> reqwest::Result<Arc<Endpoint>> {
        let mut endpoints = self.endpoints.write();
        if let Some(known) = endpoints.iter().find(|endpoint| endpoint.url == *url) {
            return Ok(Arc::clone(known));
        }
        let endpoint = Arc::new(Endpoint::new(endpoints.len(), url.clone(), &self.settings, &self.total));
        let uses_tls = |endpoint: &Arc<Endpoint>| endpoint.url.url().scheme() == "https";
        let had_tls = endpoints.iter().any(uses_tls);
        let needs_tls = had_tls || uses_tls(&endpoint);
        for thread in &self.threads {
            let mut client = thread.client.lock();
            if client.is_none() || needs_tls && !had_tls {
                *client = Some(super::client::client(&self.settings, needs_tls)?);
            }
        }
        endpoints.push(Arc::clone(&endpoint));
        Ok(endpoint)
    }

    /// Returns a new id of a webhook.
    pub(super) fn next_id(&self) -> String {
        format!("{:032x}-{:x}", self.ids.process, self.ids.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the runtime for a number. The same number always gets the same one.
    pub(super) fn handle(&self, number: usize) -> &Handle {
        &self.threads[number % self.threads.len()].handle
    }

    /// Returns the client of the runtime for a number. `None` before the first endpoint.
    pub(super) fn client(&self, number: usize) -> Option<Client> {
        self.threads[number % self.threads.len()].client.lock().clone()
    }
}

impl DeliveryThread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("webhooks".into()).spawn(move || {
            // The sender is dropped with the last handle.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, client: Mutex::new(None), _stop: stop })
    }
}
