//! The task that reports to the pages. It runs while someone looks at this node or at another one.
//!
//! A node with pages sends the server event `watch` to the others every 2 s. Each notice is a lease: a node that hears no more of them ends its task,
//! also if the other node died. Reports of other nodes travel as the server event `reports`, and the lists of sockets as answers to `sockets`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use sociable_protocol::{Args, Id, NodeTag};
use tokio::time::Instant;

use super::counters::Counters;
use super::hooks::Observer;
use super::interest::Interest;
use super::options::AdminOptions;
use super::pages::{self, Pages};
use super::records::{Record, Records};
use super::sample::Sample;
use super::server_stats::Reporter;
use crate::ack::Ack;
use crate::handler::Data;
use crate::namespace::Namespace;
use crate::server::Server;
use crate::server_state::ServerState;

/// The time between two reports of sums, as in the JavaScript server.
const STATS: Duration = Duration::from_secs(2);
/// The time for which changes and events are gathered.
const GATHER: Duration = Duration::from_millis(500);
/// The shortest time between two lists of sockets because of lost changes.
const RELIST: Duration = Duration::from_secs(10);

pub(super) struct Reports {
    server: Weak<ServerState>,
    namespace: String,
    sockets_bytes: usize,
    counters: Arc<Counters>,
    interest: Interest,
    pages: Pages,
    reporter: Reporter,
    /// The sums, in production mode.
    sums: Records,
    /// The sample, in development mode.
    sample: Option<Arc<Sample>>,
    /// The time from which on lost changes lead to a new list.
    relist: Mutex<Option<Instant>>,
    /// The other nodes at the last turn.
    nodes: Mutex<Vec<NodeTag>>,
}

impl Reports {
    pub(super) fn new(io: &Server, options: &AdminOptions, counters: Arc<Counters>) -> Arc<Self> {
        let records = || Records::new(options, Arc::clone(&counters));
        Arc::new(Self {
            server: Arc::downgrade(&io.inner),
            namespace: options.namespace.clone(),
            sockets_bytes: options.sockets_bytes,
            interest: Interest::default(),
            pages: Pages::default(),
            reporter: Reporter::new(options.server_id.as_deref()),
            sums: records(),
            sample: options.is_development().then(|| Sample::new(options, records())),
            relist: Mutex::default(),
            nodes: Mutex::default(),
            counters,
        })
    }

    /// Handles the notices and questions of other nodes.
    pub(super) fn install(self: &Arc<Self>, io: &Server, namespace: &Namespace) {
        let this = Arc::clone(self);
        namespace.on_server_event("watch", move || {
            this.renew();
            std::future::ready(())
        });
        let this = Arc::clone(self);
        namespace.on_server_event("reports", move |namespace: Namespace, args: Args| {
            // Nodes without a page do not decode them.
            if this.interest.here_and_elsewhere().0
                && let Ok(records) = args.decode(0)
            {
                this.deliver(&namespace, records);
            }
            std::future::ready(())
        });
        let this = Arc::clone(self);
        namespace.on_server_event("stale", move || {
            this.note_stale();
            std::future::ready(())
        });
        let Some(sample) = &self.sample else { return };
        let (this, asked) = (Arc::clone(self), Arc::clone(sample));
        namespace.on_server_event("sockets", move |io: Server, Data(bytes): Data<usize>, ack: Ack| {
            this.renew();
            let asked = Arc::clone(&asked);
            async move {
                // The other node may not wait any more.
                ack.send(&asked.serialized(&io, bytes).await).ok();
            }
        });
        let created = Arc::downgrade(sample);
        io.on_new_namespace(move |namespace| {
            if let Some(sample) = created.upgrade() {
                sample.watch(namespace);
            }
        });
    }

    /// Adds a page of this node.
    pub(super) fn add(self: &Arc<Self>, page: Id) {
        if self.interest.add(page) {
            self.start();
        }
        if self.sample.is_some() {
            actix_rt::spawn(Arc::clone(self).list(Some(page)));
        }
    }

    pub(super) fn remove(&self, page: Id) {
        self.interest.remove(page);
    }

    /// Returns whether this node reports now.
    #[cfg(feature = "metrics")]
    pub(super) fn are_running(&self) -> bool {
        self.interest.is_reporting()
    }

    fn renew(self: &Arc<Self>) {
        if self.interest.renew() {
            self.start();
        }
    }

    fn start(self: &Arc<Self>) {
        let running = Running { reports: Arc::clone(self), is_over: false };
        actix_rt::spawn(running.run());
    }

    fn io(&self) -> Option<(Server, Namespace)> {
        let io = Server::from_inner(self.server.upgrade()?);
        let namespace = io.namespace(&self.namespace)?;
        Some((io, namespace))
    }

    fn records(&self) -> &Records {
        self.sample.as_ref().map_or(&self.sums, |sample| sample.records())
    }

    /// Reports the sums, and what follows from the time that has passed.
    fn turn(self: &Arc<Self>, io: &Server, namespace: &Namespace) {
        let (here, elsewhere) = self.interest.here_and_elsewhere();
        if here {
            self.publish(namespace, "watch", ());
        }
        self.records().add_sums("server_stats", &[self.reporter.report(io)]);
        let Some(sample) = &self.sample else { return };
        if self.has_lost_a_node(io) {
            self.note_stale();
        }
        sample.tidy(io);
        sample.compare(io);
        if sample.records().take_stale() {
            self.note_stale();
            if elsewhere {
                self.publish(namespace, "stale", ());
            }
        }
        let due = self.relist.lock().take_if(|due| *due <= Instant::now()).is_some();
        if due && here {
            actix_rt::spawn(Arc::clone(self).list(None));
        }
    }

    /// Returns whether a node is gone since the last turn. Nobody reports the end of its sockets.
    fn has_lost_a_node(&self, io: &Server) -> bool {
        let nodes: Vec<_> = io.other_nodes().into_iter().map(|node| node.tag).collect();
        let earlier = std::mem::replace(&mut *self.nodes.lock(), nodes.clone());
        earlier.iter().any(|tag| !nodes.contains(tag))
    }

    /// Schedules a new list of sockets.
    fn note_stale(&self) {
        self.relist.lock().get_or_insert_with(|| Instant::now() + RELIST);
    }

    /// Sends the reports that wait: to the pages of this node, and to the nodes with others.
    fn flush(&self, namespace: &Namespace) {
        let records = self.records().take();
        let (here, elsewhere) = self.interest.here_and_elsewhere();
        if records.is_empty() {
            return;
        }
        if elsewhere {
            self.publish(namespace, "reports", &records);
        }
        if here {
            self.deliver(namespace, records);
        }
    }

    fn deliver(&self, namespace: &Namespace, records: Vec<Record>) {
        let dropped = self.pages.send(namespace, records);
        if dropped > 0 {
            self.counters.changes_dropped.add(dropped);
            self.note_stale();
        }
    }

    fn publish(&self, namespace: &Namespace, event: &str, args: impl crate::emit::EmitArgs) {
        if let Err(error) = namespace.server_side_emit(event, args) {
            tracing::debug!(target: "sociable::admin", event, %error, "report not sent to other nodes");
        }
    }

    /// Collects the sockets of the samples of all nodes, and sends them to one page, or to all pages of this node.
    async fn list(self: Arc<Self>, page: Option<Id>) {
        let Some(((io, namespace), sample)) = self.io().zip(self.sample.clone()) else { return };
        self.pages.begin_list();
        let share = self.sockets_bytes / (io.other_nodes().len() + 1);
        let elsewhere = namespace.server_side_emit_with_ack("sockets", share);
        let mut sockets = sample.serialized(&io, share).await;
        let answers = match elsewhere.await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(target: "sociable::admin", %error, "sockets of some nodes are missing");
                error.responses
            }
        };
        sockets.extend(answers.iter().filter_map(|answer| answer.decode::<Vec<String>>(0).ok()).flatten());
        // The list is long: its encoding would hold up the clients of this thread.
        let encoding = namespace.encoding();
        let encoded = tokio::task::spawn_blocking(move || pages::encode(encoding, &format!("[[{}]]", sockets.join(",")))).await;
        if let Ok(Some(args)) = encoded {
            pages::emit_args(&namespace, page, "all_sockets", args);
        }
        self.pages.end_list(&namespace);
    }
}

/// The running task. A drop before its end, for example with its thread, lets another one start.
struct Running {
    reports: Arc<Reports>,
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            self.reports.interest.abandon();
        }
    }
}

impl Running {
    async fn run(mut self) {
        let reports = Arc::clone(&self.reports);
        let pause = if reports.sample.is_some() { GATHER } else { STATS };
        reports.reporter.reset();
        let mut next = Instant::now();
        loop {
            let Some((io, namespace)) = reports.io() else { break };
            if let Some(sample) = &reports.sample {
                sample.begin(&io).await;
            }
            if next <= Instant::now() {
                next = Instant::now() + STATS;
                reports.turn(&io, &namespace);
            }
            reports.flush(&namespace);
            drop((io, namespace));
            tokio::time::sleep(pause).await;
            self.is_over = reports.is_over().await;
            if self.is_over {
                return;
            }
        }
    }
}

impl Reports {
    /// Ends the reports if nobody looks. Someone may come while the listeners are being removed.
    async fn is_over(&self) -> bool {
        let (here, elsewhere) = self.interest.here_and_elsewhere();
        if here || elsewhere {
            return false;
        }
        if let Some(sample) = &self.sample {
            sample.end(self.io().map(|(io, _)| io).as_ref()).await;
        }
        self.interest.end()
    }
}

/// Returns the features that the page offers.
pub(super) fn config(options: &AdminOptions) -> String {
    let commands: &[&str] = &["EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT"];
    let mut features = if options.readonly { vec![] } else { commands.to_vec() };
    features.push("AGGREGATED_EVENTS");
    if options.is_development() {
        features.push("ALL_EVENTS");
    }
    json!([{ "supportedFeatures": features }]).to_string()
}
