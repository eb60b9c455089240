//! Clients in one room that come back as `socket.io-client` does, and the broadcasts that they count.

mod client;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use self::client::{Client, Phase};
use super::message::Form;
use super::pace::Pace;
use crate::histogram::Histogram;
use crate::net::{Address, Cut, Loss, Net, Scenario, TURN};
use crate::plan::{Cuts, Plan};
use crate::random::Random;
use crate::report::{Report, Returns};
use crate::sequence::{Arrival, Missing};
use crate::{RunError, frame, limits};

/// The first questions of a new client and of one that came back, and their answers.
const JOIN: &[u8] = b"420[\"join\",\"room-0\"]";
const JOINED: &[u8] = b"30[";
const ASK: &[u8] = b"421[\"echo\",\"back\"]";
const ANSWERED: &[u8] = b"31[";

/// Something that a client does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Tries to connect.
    Attempt,
    /// Looks whether the connection is still alive.
    Deadline,
    /// Asks the first question of a session again, which has no answer.
    Answer,
    /// Loses its network.
    Cut,
}

/// The clients of a run.
#[derive(Default)]
pub(super) struct Crowd {
    clients: Vec<Client>,
    servers: Vec<Address>,
    form: Form,
    timers: BinaryHeap<Reverse<(u64, usize, u32, Timer)>>,
    random: Random,
    pace: Option<Pace>,
    cuts: Option<Cuts>,
    /// The clients that are served, and those that the server has dismissed.
    served: usize,
    dismissed: usize,
    /// The client that sends. The others replace it when it is lost.
    publisher: usize,
    /// The first broadcast after each loss of a publisher. There is no order between those before and after it.
    spells: Vec<usize>,
    /// The clients that each broadcast reached.
    reached: Vec<u32>,
    /// The time of the signal to a server, and the clients that were lost since.
    signal: Option<u64>,
    affected: u64,
    pub(super) is_measuring: bool,
    pub(super) measured: u64,
    received: u64,
    duplicates: u64,
    disorder: u64,
    wrong: u64,
    last_arrival: u64,
    returns: Returns,
    away: Histogram,
    backoff: Histogram,
    pub(super) back: Histogram,
}

impl Crowd {
    pub(super) fn new(plan: &Plan, size: usize) -> Self {
        Self {
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            servers: plan.servers.clone(),
            form: Form::new(size, plan.deflate > 0),
            ..Self::default()
        }
    }

    /// Connects all clients, and waits until they are in their room.
    pub(super) fn connect(&mut self, net: &mut Net, plan: &Plan) -> Result<(), RunError> {
        net.connect(self, plan)?;
        net.run(self, limits::JOINING, Self::are_settled);
        if self.served < plan.clients {
            let seconds = limits::JOINING.as_secs();
            return Err(RunError::Incomplete { done: self.served, wanted: plan.clients, what: "joined", seconds });
        }
        net.run(self, super::fanout::SETTLING, |_| false);
        Ok(())
    }

    /// Returns whether nobody is on the way: each client has an answer of its present session, or stays away.
    pub(super) fn are_settled(&self) -> bool {
        self.served + self.dismissed == self.clients.len()
    }

    /// Starts to send so many broadcasts a second.
    pub(super) fn publish_at(&mut self, net: &Net, rate: f64) {
        self.pace = Some(Pace::start(net.now(), rate));
    }

    /// Cuts the connections of all clients but the publisher from time to time.
    pub(super) fn cut_at_random(&mut self, net: &Net, cuts: Cuts) {
        self.cuts = Some(cuts);
        for client in 1..self.clients.len() {
            self.plan_cut(net, client);
        }
    }

    /// Notes that a server ends now: the clients that it loses are counted.
    pub(super) fn note_signal(&mut self, net: &Net) {
        self.signal = Some(net.now());
    }

    /// Ends cuts and broadcasts, and waits for all clients and their messages.
    pub(super) fn settle(&mut self, net: &mut Net) {
        self.cuts = None;
        net.run(self, limits::RETURNING, Self::are_settled);
        self.pace = None;
        self.last_arrival = net.now();
        let all = self.clients.len() as u64 * self.reached.len() as u64;
        let quiet = limits::STALL.as_nanos() as u64;
        let begun = net.now();
        while self.received < all && net.now() < self.last_arrival + quiet && net.now() < begun + limits::DRAINING.as_nanos() as u64 {
            net.run(self, TURN, |_| false);
        }
    }

    /// Writes what was counted to the report.
    pub(super) fn report(mut self, report: &mut Report) {
        let heard = self.heard();
        let mut missing = Missing::default();
        for client in &mut self.clients {
            if client.phase != Phase::Served {
                client.sequence.excuse();
            }
            missing += client.sequence.missing(&heard);
        }
        report.expected = heard.iter().filter(|&&is_heard| is_heard).count() as u64 * self.clients.len() as u64;
        report.received = self.received;
        report.lost = missing.lost;
        report.duplicates = self.duplicates;
        report.disorder = self.disorder;
        report.wrong = self.wrong;
        let once = self.received.saturating_sub(self.duplicates) as f64 / report.expected.max(1) as f64;
        report.returns = Some(Returns {
            absent: (self.clients.len() - self.served) as u64,
            missed: missing.excused,
            // A single message is never rounded away.
            exactly_once: (once * 1e6).floor() / 1e4,
            away: self.away.spread(self.returns.losses),
            backoff: self.backoff.spread(self.returns.losses),
            back: self.back.spread(self.affected),
            ..self.returns
        });
    }

    /// Returns which broadcasts a server has sent. The last ones of a lost publisher may have ended with its connection.
    fn heard(&self) -> Vec<bool> {
        let mut heard = vec![true; self.reached.len()];
        for &end in &self.spells {
            let unheard = self.reached[..end].iter().rev().take_while(|&&reached| reached == 0).count();
            heard[end - unheard..end].fill(false);
        }
        heard
    }

    fn schedule(&mut self, time: u64, client: usize, timer: Timer) {
        self.timers.push(Reverse((time, client, self.clients[client].life, timer)));
    }

    fn plan_cut(&mut self, net: &Net, client: usize) {
        let Some(Cuts { spell, .. }) = self.cuts else { return };
        let spell = self.random.between(spell * 0.5, spell * 1.5);
        self.schedule(net.now() + (spell * 1e9) as u64, client, Timer::Cut);
    }

    fn on_timer(&mut self, net: &mut Net, at: usize, timer: Timer) {
        let now = net.now();
        match timer {
            Timer::Attempt => self.attempt(net, at),
            Timer::Deadline if now < self.clients[at].deadline => self.schedule(self.clients[at].deadline, at, timer),
            Timer::Deadline => {
                net.cut(at, Cut::Close);
                self.on_close(net, at, Loss::Broken("no answer in time".into()));
            }
            Timer::Answer if self.clients[at].phase != Phase::Asking => {}
            Timer::Answer => {
                self.returns.unanswered += 1;
                self.ask(net, at);
            }
            Timer::Cut => {
                let Some(cuts) = self.cuts else { return };
                let cut = match self.random.below(2) {
                    _ if cuts.are_silent => Cut::Silent,
                    0 => Cut::Close,
                    _ => Cut::Reset,
                };
                net.cut(at, cut);
                let outage = self.random.between(cuts.outage / 5.0, cuts.outage);
                self.clients[at].offline_until = now + (outage * 1e9) as u64;
                self.on_close(net, at, Loss::Broken("no network".into()));
            }
        }
    }

    fn attempt(&mut self, net: &mut Net, at: usize) {
        let now = net.now();
        let client = &mut self.clients[at];
        let is_return = client.lost.is_some();
        self.returns.attempts += u64::from(is_return);
        if now < client.offline_until {
            self.returns.unreachable += 1;
            return self.wait(net, at);
        }
        client.attempted = now;
        client.deadline = now + limits::ATTEMPT.as_nanos() as u64;
        self.schedule(self.clients[at].deadline, at, Timer::Deadline);
        net.reopen(at, &self.servers[at % self.servers.len()]);
    }

    /// Waits before the next attempt.
    fn wait(&mut self, net: &Net, at: usize) {
        let wait = self.clients[at].backoff.next(&mut self.random);
        self.clients[at].life += 1;
        self.schedule(net.now() + wait.as_nanos() as u64, at, Timer::Attempt);
    }

    /// Notes that an attempt met a listener.
    fn meet(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let attempted = client.attempted;
        if let Some(lost) = client.lost.filter(|&lost| !client.has_met && lost <= attempted) {
            client.has_met = true;
            self.backoff.record(attempted - lost);
        }
    }

    /// Asks for the room, or, in a recovered session that has it, for anything.
    fn ask(&mut self, net: &mut Net, at: usize) {
        let client = &mut self.clients[at];
        client.questions += 1;
        net.send_frame(at, frame::TEXT, if client.is_recovered { ASK } else { JOIN });
        self.schedule(net.now() + limits::ANSWER.as_nanos() as u64, at, Timer::Answer);
    }

    fn on_answer(&mut self, net: &Net, at: usize) {
        let client = &mut self.clients[at];
        if client.phase != Phase::Asking {
            // A question that was asked again may have two answers.
            self.wrong += u64::from(client.questions < 2);
            return;
        }
        client.phase = Phase::Served;
        self.served += 1;
        if let Some(lost) = client.lost.take() {
            let now = net.now();
            self.away.record(now - lost);
            if let Some(signal) = self.signal.filter(|&signal| signal <= lost) {
                self.back.record(now - signal);
            }
        }
        if at != self.publisher {
            self.plan_cut(net, at);
        }
    }

    fn publish(&mut self, net: &mut Net, sent: u64) {
        if self.clients[self.publisher].phase != Phase::Served {
            let Some(next) = self.clients.iter().position(|client| client.phase == Phase::Served) else { return };
            self.publisher = next;
        }
        let packet = self.form.packet(0, self.reached.len(), sent);
        net.send_frame(self.publisher, frame::TEXT, packet.as_bytes());
        self.reached.push(0);
    }

    fn on_message(&mut self, net: &Net, at: usize, packet: &[u8]) {
        let message = self.form.read(packet).filter(|message| message.number < self.reached.len());
        let Some(message) = message else {
            self.wrong += 1;
            return;
        };
        let client = &mut self.clients[at];
        if let Some(offset) = message.offset {
            client.note_offset(offset);
        }
        match client.sequence.note(message.number) {
            Arrival::InOrder => {}
            Arrival::Late(last) => {
                let spell = |number| self.spells.partition_point(|&first| first <= number);
                self.disorder += u64::from(spell(message.number) == spell(last));
            }
            Arrival::Again => {
                self.duplicates += 1;
                return;
            }
        }
        self.received += 1;
        self.measured += u64::from(self.is_measuring);
        self.reached[message.number] += 1;
        self.last_arrival = net.now();
    }
}

impl Scenario for Crowd {
    fn on_turn(&mut self, net: &mut Net) -> Duration {
        let now = net.now();
        while let Some(&Reverse((time, at, life, timer))) = self.timers.peek()
            && time <= now
        {
            self.timers.pop();
            if life == self.clients[at].life {
                self.on_timer(net, at, timer);
            }
        }
        let mut wait = TURN;
        if let Some(Reverse((time, ..))) = self.timers.peek() {
            wait = wait.min(Duration::from_nanos(time.saturating_sub(now)));
        }
        if let Some(mut pace) = self.pace {
            while let Some(sent) = pace.take(now) {
                self.publish(net, sent);
            }
            self.pace = Some(pace);
            wait = wait.min(pace.wait(now));
        }
        wait
    }

    fn on_open(&mut self, net: &mut Net, at: usize, handshake: &[u8]) {
        self.meet(at);
        let now = net.now();
        let client = &mut self.clients[at];
        client.note_handshake(handshake);
        client.backoff.reset();
        client.phase = Phase::Joining;
        client.deadline = now + client.patience;
        let (deadline, packet) = (client.deadline, client.connect_packet());
        net.send_frame(at, frame::TEXT, &packet);
        self.schedule(deadline, at, Timer::Deadline);
    }

    fn on_ping(&mut self, net: &mut Net, at: usize) {
        let client = &mut self.clients[at];
        client.deadline = net.now() + client.patience;
    }

    fn on_connect(&mut self, net: &mut Net, at: usize, answer: &[u8]) {
        let client = &mut self.clients[at];
        client.phase = Phase::Asking;
        client.questions = 0;
        client.is_recovered = client.note_connect(answer);
        if client.is_recovered {
            self.returns.recovered += 1;
        } else if client.lost.is_some() {
            self.returns.fresh += 1;
            client.sequence.excuse();
        }
        self.ask(net, at);
    }

    fn on_text(&mut self, net: &mut Net, at: usize, packet: &[u8]) {
        if packet.starts_with(JOINED) || packet.starts_with(ANSWERED) {
            self.on_answer(net, at);
        } else if packet == b"1" {
            net.cut(at, Cut::Close);
            self.served -= usize::from(self.clients[at].phase == Phase::Served);
            self.clients[at].phase = Phase::Dismissed;
            self.dismissed += 1;
            self.clients[at].life += 1;
        } else {
            self.on_message(net, at, packet);
        }
    }

    fn on_close(&mut self, net: &mut Net, at: usize, loss: Loss) {
        if loss != Loss::Refused {
            self.meet(at);
        }
        let client = &mut self.clients[at];
        if client.phase == Phase::Served {
            self.served -= 1;
            self.returns.losses += 1;
            self.affected += u64::from(self.signal.is_some());
            client.lost = Some(net.now());
            client.has_met = false;
            client.backoff.reset();
            if at == self.publisher {
                self.spells.push(self.reached.len());
            }
        } else if client.lost.is_some() {
            let count = if loss == Loss::Refused { &mut self.returns.refused } else { &mut self.returns.failed };
            *count += 1;
        }
        client.phase = Phase::Away;
        self.wait(net, at);
    }
}
