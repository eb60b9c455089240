//! Broadcasts to rooms: of one client to all, or of random clients to their rooms.

use std::ops::Range;
use std::time::Duration;

use super::message::Form;
use super::pace::Pace;
use crate::histogram::Histogram;
use crate::net::{Ignore, Loss, Net, Scenario, TURN};
use crate::plan::{Plan, Publishing};
use crate::process::Snapshot;
use crate::random::Random;
use crate::report::{Report, Unit};
use crate::sequence::{Arrival, Sequence};
use crate::{RunError, frame, limits};

/// The time in which the nodes of a cluster learn of each other's rooms.
pub(super) const SETTLING: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Broadcasts {
    /// The clients of each room that read.
    members: Vec<Vec<usize>>,
    /// The clients that do not read. They are in the first room.
    slow: Range<usize>,
    /// The server of each client.
    servers: usize,
    form: Form,
    /// The broadcasts that each client received, if the first client alone sends: they must keep their order.
    sequences: Option<Vec<Sequence>>,
    /// The members that have not received each broadcast.
    missing: Vec<u32>,
    joined: usize,
    /// The broadcasts in flight at a time; nothing if they have a rate.
    window: Option<usize>,
    pace: Option<Pace>,
    in_flight: usize,
    /// The last arrival, for a closed loop that stalls.
    last_arrival: u64,
    is_publishing: bool,
    is_measuring: bool,
    random: Random,
    counters: Counters,
    /// The latencies on the publisher's server, and on all others.
    latencies: [Histogram; 2],
}

#[derive(Default)]
struct Counters {
    expected: u64,
    received: u64,
    measured: u64,
    wrong: u64,
    duplicates: u64,
    disorder: u64,
    stalls: u64,
    slow_closed: u64,
}

/// A load of broadcasts.
pub(super) struct Rooms {
    /// The number of rooms; nothing if one client sends to all.
    pub(super) count: Option<usize>,
    pub(super) publishing: Publishing,
    pub(super) size: usize,
    /// The clients that do not read.
    pub(super) slow: usize,
}

pub(super) fn run(net: &mut Net, plan: &Plan, rooms: &Rooms) -> Result<Report, RunError> {
    let mut scenario = Broadcasts::new(plan, rooms);
    net.narrow_from = scenario.slow.start;
    net.connect(&mut Ignore, plan)?;
    scenario.join(net);
    net.run(&mut scenario, limits::JOINING, |scenario| scenario.joined >= plan.clients);
    if scenario.joined < plan.clients {
        let seconds = limits::JOINING.as_secs();
        return Err(RunError::Incomplete { done: scenario.joined, wanted: plan.clients, what: "joined", seconds });
    }
    for client in scenario.slow.clone() {
        net.stop_reading(client);
    }
    net.run(&mut scenario, SETTLING, |_| false);

    scenario.is_publishing = true;
    scenario.last_arrival = net.now();
    match rooms.publishing {
        Publishing::Window(window) => scenario.window = Some(window),
        Publishing::Rate(rate) => scenario.pace = Some(Pace::start(net.now(), rate)),
    }
    net.run(&mut scenario, Duration::from_secs_f64(plan.warmup), |_| false);
    let before = Snapshot::take(&plan.targets);
    scenario.is_measuring = true;
    net.run(&mut scenario, Duration::from_secs_f64(plan.seconds), |_| false);
    scenario.is_measuring = false;
    let after = Snapshot::take(&plan.targets);
    scenario.is_publishing = false;
    net.run(&mut scenario, limits::DRAINING, |scenario| scenario.counters.received >= scenario.counters.expected);
    for client in scenario.slow.clone() {
        net.read_again(&mut scenario, client);
    }
    let are_closed = |scenario: &Broadcasts| scenario.counters.slow_closed >= rooms.slow as u64;
    net.run(&mut scenario, if rooms.slow > 0 { SETTLING } else { Duration::ZERO }, are_closed);

    let name = if rooms.count.is_some() { "rooms" } else { "fanout" };
    let counters = &scenario.counters;
    let mut report = super::empty(name, plan, Unit::Delivery, counters.measured);
    report.expected = counters.expected;
    report.received = counters.received;
    report.lost = scenario.missing.iter().map(|&count| u64::from(count)).sum();
    report.wrong = counters.wrong;
    report.duplicates = counters.duplicates;
    report.disorder = counters.disorder;
    report.stalls = counters.stalls;
    report.slow_closed = counters.slow_closed;
    report.latency = scenario.latencies[0].latency();
    report.latency_across = scenario.latencies[1].latency();
    before.report_cpu(&after, &plan.targets, &mut report);
    Ok(report)
}

impl Broadcasts {
    fn new(plan: &Plan, rooms: &Rooms) -> Self {
        let (servers, reading) = (plan.servers.len(), plan.clients - rooms.slow);
        let mut members = vec![vec![]; rooms.count.unwrap_or(1)];
        for client in 0..reading {
            // Clients are on the servers in turns. The division has each room on all servers.
            let room = (client / servers) % members.len();
            members[room].push(client);
        }
        Self {
            members,
            slow: reading..plan.clients,
            servers,
            form: Form::new(rooms.size, plan.deflate > 0),
            sequences: rooms.count.is_none().then(|| vec![Sequence::default(); plan.clients]),
            ..Self::default()
        }
    }

    fn join(&self, net: &mut Net) {
        let slow = self.slow.clone().map(|client| (0, client));
        let reading = self.members.iter().enumerate().flat_map(|(room, members)| members.iter().map(move |&client| (room, client)));
        for (room, client) in reading.chain(slow) {
            net.send_frame(client, frame::TEXT, format!("420[\"join\",\"room-{room}\"]").as_bytes());
        }
    }

    fn publish(&mut self, net: &mut Net, sent: u64) {
        let (mut room, mut client) = (0, 0);
        if self.sequences.is_none() {
            room = self.random.below(self.members.len());
            client = self.random.below(self.members[room].len());
        }
        let members = &self.members[room];
        let packet = self.form.packet(room, self.missing.len(), sent);
        net.send_frame(members[client], frame::TEXT, packet.as_bytes());
        self.missing.push(members.len() as u32);
        self.counters.expected += members.len() as u64;
        self.in_flight += 1;
    }

    fn fill_window(&mut self, net: &mut Net) {
        while self.is_publishing && self.window.is_some_and(|window| self.in_flight < window) {
            let now = net.now();
            self.publish(net, now);
        }
    }
}

impl Scenario for Broadcasts {
    fn on_turn(&mut self, net: &mut Net) -> Duration {
        let now = net.now();
        if let Some(mut pace) = self.pace.filter(|_| self.is_publishing) {
            while let Some(sent) = pace.take(now) {
                self.publish(net, sent);
            }
            self.pace = Some(pace);
            return pace.wait(now);
        }
        // A lost message must not hold the closed loop for ever.
        if self.in_flight > 0 && now.saturating_sub(self.last_arrival) > limits::STALL.as_nanos() as u64 {
            self.last_arrival = now;
            self.counters.stalls += u64::from(self.is_publishing);
            self.in_flight = 0;
        }
        self.fill_window(net);
        TURN
    }

    fn on_text(&mut self, net: &mut Net, client: usize, packet: &[u8]) {
        if packet.starts_with(b"30[") {
            self.joined += 1;
            return;
        }
        if self.slow.contains(&client) {
            return;
        }
        let message = self.form.read(packet);
        let known = message.and_then(|message| Some((message, self.missing.get_mut(message.number)?)));
        let Some((message, missing)) = known else {
            self.counters.wrong += 1;
            return;
        };
        let arrival = self.sequences.as_mut().map_or(Arrival::InOrder, |sequences| sequences[client].note(message.number));
        if *missing == 0 || arrival == Arrival::Again {
            self.counters.duplicates += 1;
            return;
        }
        *missing -= 1;
        if *missing == 0 {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if arrival != Arrival::InOrder {
            self.counters.disorder += 1;
        }
        self.counters.received += 1;
        self.last_arrival = net.now();
        if self.is_measuring {
            self.counters.measured += 1;
            let is_across = !client.is_multiple_of(self.servers);
            self.latencies[usize::from(is_across)].record(self.last_arrival.saturating_sub(message.sent));
        }
        self.fill_window(net);
    }

    fn on_close(&mut self, net: &mut Net, client: usize, loss: Loss) {
        if self.slow.contains(&client) {
            self.counters.slow_closed += 1;
        } else {
            net.count_disconnect(loss);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::message::delivery;

    fn broadcasts(clients: usize, servers: usize, count: Option<usize>, slow: usize) -> Broadcasts {
        let rooms = Rooms { count, publishing: Publishing::Window(1), size: 64, slow };
        let server: crate::Address = "127.0.0.1:1".parse().unwrap();
        Broadcasts::new(&Plan { clients, servers: vec![server; servers], ..Plan::default() }, &rooms)
    }

    #[test]
    fn rooms_have_members_on_all_servers() {
        assert_eq!(broadcasts(8, 2, Some(2), 0).members, [[0, 1, 4, 5], [2, 3, 6, 7]]);
        let slow = broadcasts(8, 1, None, 2);
        assert_eq!((slow.members[0].len(), slow.slow), (6, 6..8), "nobody waits for slow clients");
    }

    #[test]
    fn disorder_and_duplicates_are_counted() {
        let mut net = Net::new(1, 0).unwrap();
        let mut scenario = Broadcasts { missing: vec![2, 1, 1, 1], ..broadcasts(2, 1, None, 0) };
        for number in [0, 0, 2, 1, 1, 3] {
            scenario.on_text(&mut net, 0, delivery(number).as_bytes());
        }
        let Counters { received, disorder, duplicates, wrong, .. } = scenario.counters;
        assert_eq!((received, disorder, duplicates, wrong), (4, 1, 2, 0));
        assert_eq!(scenario.missing, [1, 0, 0, 0], "a double is no delivery to another client");
    }
}
