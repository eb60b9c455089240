//! The task that announces this node, and receives the announcements of the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::{Client, RequestErrorKind, SubscribeError, Subscriber};
use futures_util::StreamExt;
use sociable_protocol::{Announcement, NodeTag, Occasion};
use tokio::time::{Interval, MissedTickBehavior};

use super::context::NatsContext;
use super::error::NatsError;
use super::members::Change;
use super::rate_limit::RateLimit;
use super::wire::{self, Publisher};

/// The time that the others have to object to a tag.
const CLAIM: Duration = Duration::from_millis(150);
/// The most tags that are tried. Of 16 million tags, two taken ones in a row have another cause.
const TRIES: usize = 8;
/// The time after which a node that owes an answer is probed.
const SUSPICION: Duration = Duration::from_millis(300);
/// The interval at which suspects are searched for.
const LOOK: Duration = Duration::from_millis(150);
/// The time that a suspect has to answer. The server answers for a disconnected suspect at once.
const PROBE: Duration = Duration::from_secs(1);
/// The number of unanswered probes in a row after which a node is dead.
const STRIKES: u32 = 2;
/// The pause between two answers to questions for members, of all askers together.
const REPLY: Duration = Duration::from_millis(50);
/// The pause between two contradictions of impostors.
const CONTRADICTION: Duration = Duration::from_secs(1);
/// The longest announcement that is read.
const MAX_ANNOUNCEMENT: usize = 16 << 10;

/// Draws a tag, and a number for this start of the process: 53 bits, which JavaScript can represent too.
pub(super) fn draw() -> Publisher {
    Publisher { tag: NodeTag::random(), epoch: (uuid::Uuid::new_v4().as_u128() as u64) >> 11 }
}

/// Claims a tag that no other node has.
pub(super) async fn claim(context: &Arc<NatsContext>, control: &Client) -> Result<Publisher, NatsError> {
    let failed = |error: &dyn std::fmt::Display| NatsError::Start(error.to_string());
    let mut heard = control.subscribe(context.subject("members")).await.map_err(|error| failed(&error))?;
    for _ in 0..TRIES {
        let me = draw();
        announce(context, control, me, Occasion::Claim).await;
        drop(control.flush().await);
        let deadline = tokio::time::sleep(CLAIM);
        tokio::pin!(deadline);
        let taken = loop {
            tokio::select! {
                () = &mut deadline => break false,
                message = heard.next() => match message.and_then(|message| decode(&message.payload)) {
                    Some(other) if other.tag == me.tag && other.epoch != me.epoch => break true,
                    Some(other) => observe_announcement(context, &other),
                    None => {}
                },
            }
        };
        if !taken {
            return Ok(me);
        }
        tracing::info!(target: "sociable::adapter", tag = %me.tag, "tag is taken; drawing another");
    }
    Err(NatsError::Start(format!("{TRIES} tags in a row were taken")))
}

/// Announces this node, and receives the announcements of the others.
pub(super) async fn run(context: Arc<NatsContext>, control: Client) {
    let me = context.me();
    let subscriptions = match Subscriptions::open(&context, &control, me).await {
        Ok(subscriptions) => subscriptions,
        Err(error) => return tracing::error!(target: "sociable::adapter", %error, "subscribing to announcements failed"),
    };
    drop(control.flush().await);
    let mut membership = Membership {
        context: &context,
        control: &control,
        me,
        replies: RateLimit::new(REPLY),
        hellos: RateLimit::new(CONTRADICTION),
        contradictions: RateLimit::new(CONTRADICTION),
        cut_off: false,
    };
    membership.announce(Occasion::Hello).await;
    // This node received no announcement before.
    context.members.lock().excuse(Instant::now());
    membership.run(subscriptions).await;
}

struct Subscriptions {
    /// Announcements of all nodes.
    announcements: Subscriber,
    /// Probes of this node.
    probes: Subscriber,
    /// Questions for members.
    questions: Subscriber,
}

impl Subscriptions {
    async fn open(context: &NatsContext, control: &Client, me: Publisher) -> Result<Self, SubscribeError> {
        Ok(Self {
            announcements: control.subscribe(context.subject("members")).await?,
            probes: control.subscribe(context.subject(&format!("probe.{}", me.tag))).await?,
            questions: control.subscribe(context.subject("who")).await?,
        })
    }
}

/// The membership of this node.
struct Membership<'a> {
    context: &'a Arc<NatsContext>,
    control: &'a Client,
    me: Publisher,
    /// Answers to new nodes, claims and questions.
    replies: RateLimit,
    /// Contradictions of a leave, and of another process with the tag.
    hellos: RateLimit,
    contradictions: RateLimit,
    /// True while a connection of this node is down.
    cut_off: bool,
}

impl Membership<'_> {
    /// Runs until a subscription ends.
    async fn run(&mut self, mut subscriptions: Subscriptions) {
        let (context, mut beat, mut look) = (self.context, interval(self.context.options.heartbeat_interval), interval(LOOK));
        loop {
            tokio::select! {
                message = subscriptions.announcements.next() => {
                    let Some(message) = message else { return };
                    self.on_announcement(&message.payload);
                }
                message = subscriptions.questions.next() => {
                    if message.is_none() {
                        return;
                    }
                    self.replies.ask();
                }
                message = subscriptions.probes.next() => {
                    let Some(message) = message else { return };
                    if let Some(reply) = message.reply {
                        drop(self.control.publish(reply, bytes::Bytes::new()).await);
                    }
                }
                () = self.replies.due() => self.announce(Occasion::Alive).await,
                () = self.contradictions.due() => self.announce(Occasion::Alive).await,
                // The announcement corrects nodes that removed this one.
                () = self.hellos.due() => self.announce(Occasion::Hello).await,
                // Nodes that ask for such an id need the change at once.
                () = context.adopted.first.notified() => self.announce(Occasion::Alive).await,
                () = context.announce.notified() => self.announce(Occasion::Alive).await,
                _ = beat.tick() => {
                    self.announce(Occasion::Alive).await;
                    tokio::spawn(measure_round_trip(Arc::clone(context), self.control.clone()));
                }
                _ = look.tick() => self.look().await,
            }
        }
    }

    /// Handles an announcement.
    fn on_announcement(&mut self, payload: &[u8]) {
        let Some(announcement) = decode(payload) else { return self.context.counters.malformed.increment() };
        if announcement.tag == self.me.tag {
            return self.on_own_tag(&announcement);
        }
        observe_announcement(self.context, &announcement);
        if matches!(announcement.occasion, Occasion::Claim | Occasion::Hello) {
            self.replies.ask();
        }
    }

    /// Handles an announcement in this node's name by another process: the server does not return own messages.
    fn on_own_tag(&mut self, announcement: &Announcement) {
        match (announcement.occasion, announcement.epoch == self.me.epoch) {
            // Another node claims the tag: an announcement is the objection.
            (Occasion::Claim, _) => self.replies.ask(),
            (Occasion::Bye, true) => {
                count_impostor(self.context);
                self.hellos.ask();
            }
            (Occasion::Hello | Occasion::Alive, false) => {
                count_impostor(self.context);
                self.contradictions.ask();
            }
            (Occasion::Bye, false) | (Occasion::Hello | Occasion::Alive, true) => {}
        }
    }

    /// Removes dead members. While this node is cut off, the silence of the others means nothing.
    async fn look(&mut self) {
        match (self.context.links.are_up(), self.cut_off) {
            (false, _) => self.cut_off = true,
            (true, true) => {
                self.cut_off = false;
                self.context.members.lock().excuse(Instant::now());
                // The announcement corrects nodes that took this one for dead.
                self.announce(Occasion::Hello).await;
            }
            (true, false) => remove_dead_members(self.context, self.control),
        }
    }

    async fn announce(&self, occasion: Occasion) {
        announce(self.context, self.control, self.me, occasion).await;
    }
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Counts an announcement in the name of this node that is not its own.
fn count_impostor(context: &NatsContext) {
    context.counters.spoken_for.increment();
    let times = context.counters.spoken_for.get();
    // Logged at powers of two, because impostors may be many.
    if times.is_power_of_two() {
        tracing::error!(target: "sociable::adapter", times, "impostor announces this node; check who may publish announcements on NATS");
    }
}

/// Measures the round trip to the server, which answers at once that the subject has no subscriber.
async fn measure_round_trip(context: Arc<NatsContext>, control: Client) {
    let asked = Instant::now();
    let answer = tokio::time::timeout(PROBE, control.request(context.subject("nobody"), bytes::Bytes::new())).await;
    if matches!(answer, Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders) {
        context.counters.way.observe(asked.elapsed());
    }
}

/// Ends the membership of nodes that have been silent too long, and probes suspects.
fn remove_dead_members(context: &Arc<NatsContext>, control: &Client) {
    let now = Instant::now();
    let silent = context.members.lock().silent_for(context.options.heartbeat_timeout, now);
    for (tag, epoch) in silent {
        context.remove_member(tag, epoch, false);
    }
    let mut suspects = context.questions.overdue(SUSPICION);
    let quiet = context.members.lock().silent_for(context.options.heartbeat_interval * 3 / 2, now);
    suspects.extend(quiet.into_iter().map(|(tag, _)| tag));
    for tag in suspects {
        let Some(epoch) = context.members.lock().suspect(tag, now, PROBE) else { continue };
        let (context, control) = (Arc::clone(context), control.clone());
        tokio::spawn(async move {
            let subject = context.subject(&format!("probe.{tag}"));
            let asked = tokio::time::timeout(PROBE, control.request(subject, bytes::Bytes::new())).await;
            // Silence proves nothing, but the server knows whether the node is subscribed. Two probes spare a node that
            // is reconnecting.
            let nobody = matches!(asked, Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders);
            if context.members.lock().probed(tag, epoch, nobody) >= STRIKES {
                context.remove_member(tag, epoch, false);
            }
        });
    }
}

/// Records the announcement of another node.
fn observe_announcement(context: &Arc<NatsContext>, other: &Announcement) {
    match other.occasion {
        Occasion::Claim => {}
        Occasion::Bye => context.remove_member(other.tag, other.epoch, true),
        Occasion::Hello | Occasion::Alive => {
            if context.members.lock().is_full_for(other.tag) {
                context.counters.malformed.increment();
                return;
            }
            let before = context.members.lock().get(other.tag).map(|member| member.epoch);
            if let Some(before) = before.filter(|before| *before != other.epoch) {
                // The earlier process has ended, with the answers that it owed.
                context.remove_member(other.tag, before, false);
            }
            let mut members = context.members.lock();
            context.send_queue.count_for(other.tag, |tag| members.get(tag).is_some());
            let change = members.observe(other, Instant::now());
            // Before a node starts, its history is unknown.
            let keeps = if context.node.get().is_some() { members.review_history(other.tag) } else { None };
            context.choose_version(&members);
            drop(members);
            if change == Change::Came {
                tracing::info!(target: "sociable::adapter", node = other.name, tag = %other.tag, "node joined");
                if wire::common_version(wire::VERSIONS, [other.versions].into_iter()).is_none() {
                    context.counters.disagreeing.increment();
                    tracing::error!(target: "sociable::adapter", node = other.name, tag = %other.tag, versions = ?other.versions, "no common version of the wire format; messages of this node are lost");
                }
            }
            if keeps.is_some_and(|keeps| keeps != context.has_history()) {
                context.counters.disagreeing.increment();
                tracing::error!(target: "sociable::adapter", node = other.name, tag = %other.tag, keeps = other.keeps, "nodes disagree on the shared history; start all nodes with JetStream, or none");
            }
            if context.gaps.observe_announced(Publisher { tag: other.tag, epoch: other.epoch }, other.sent, &change, &context.counters) {
                context.note_loss();
            }
        }
    }
}

fn decode(payload: &[u8]) -> Option<Announcement> {
    if payload.len() > MAX_ANNOUNCEMENT {
        return None;
    }
    serde_json::from_slice(payload).ok()
}

pub(super) async fn announce_leave(context: &NatsContext, control: &Client) {
    if context.node.get().is_some() {
        announce(context, control, context.me(), Occasion::Bye).await;
    }
}

async fn announce(context: &NatsContext, control: &Client, me: Publisher, occasion: Occasion) {
    if context.closed.load(Ordering::Relaxed) && occasion != Occasion::Bye {
        return;
    }
    let node = context.node.get();
    let announcement = Announcement {
        keeps: context.has_history(),
        occasion,
        tag: me.tag,
        epoch: me.epoch,
        name: context.options.name.clone().unwrap_or_default(),
        address: context.options.address.clone(),
        sessions: node.map_or(0, |node| node.session_count()),
        full: node.is_some_and(|node| node.is_full()),
        draining: occasion == Occasion::Bye || node.is_some_and(|node| node.is_draining()),
        adopted: context.adopted.len(),
        sent: context.send_queue.sent_to_all(),
        versions: wire::VERSIONS,
    };
    let Ok(json) = serde_json::to_vec(&announcement) else { return };
    // While the link is down, the client holds a few messages and then blocks. This call does not wait for it.
    let said = tokio::time::timeout(Duration::from_secs(1), control.publish(context.subject("members"), json.into())).await;
    if !matches!(said, Ok(Ok(()))) {
        context.counters.unsent.increment();
    }
}
