//! Broadcasts to rooms: of one client to all, or of random clients to their rooms.

use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::net::{Net, Scenario};
use crate::plan::{Plan, Publishing};
use crate::process::Snapshot;
use crate::report::{Report, Unit};
use crate::{RunError, frame, limits};

/// The time in which the nodes of a cluster learn of each other's rooms.
const SETTLING: Duration = Duration::from_millis(300);

/// The event before the argument of a broadcast.
const EVENT: &[u8] = b"2[\"msg\",\"";

/// The digits of a number in an argument.
const DIGITS: usize = 16;

#[derive(Default)]
struct Broadcasts {
    /// The clients of each room.
    members: Vec<Vec<usize>>,
    /// The server of each client.
    servers: usize,
    /// The end of each argument.
    padding: String,
    /// True if the first client alone sends. Its broadcasts must keep their order.
    is_single: bool,
    /// The members that have not received each broadcast.
    missing: Vec<u32>,
    /// One more than the number of the last broadcast that each client received.
    next_number: Vec<usize>,
    joined: usize,
    /// The broadcasts in flight at a time; nothing if they have a rate.
    window: Option<usize>,
    in_flight: usize,
    is_publishing: bool,
    is_measuring: bool,
    seed: u64,
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
}

pub(super) fn run(net: &mut Net, plan: &Plan, rooms: Option<usize>, publishing: Publishing, size: usize) -> Result<Report, RunError> {
    net.connect(&plan.servers, plan.clients, plan.handshakes)?;
    let mut scenario = Broadcasts::new(plan.clients, plan.servers.len(), rooms, size);
    if plan.deflate > 0 {
        scenario.padding = super::records(size - 2 * DIGITS);
    }
    scenario.join(net);
    net.run(&mut scenario, limits::JOINING, |scenario| scenario.joined >= plan.clients);
    if scenario.joined < plan.clients {
        let seconds = limits::JOINING.as_secs();
        return Err(RunError::Incomplete { done: scenario.joined, wanted: plan.clients, what: "joined", seconds });
    }
    net.run(&mut scenario, SETTLING, |_| false);

    scenario.is_publishing = true;
    let mut pace = Pace { started: Instant::now(), rate: None, published: 0 };
    match publishing {
        Publishing::Window(window) => scenario.window = Some(window),
        Publishing::Rate(rate) => pace.rate = Some(rate),
    }
    scenario.fill_window(net);
    pace.run(net, &mut scenario, plan.warmup);
    let before = Snapshot::take(&plan.targets);
    scenario.is_measuring = true;
    pace.run(net, &mut scenario, plan.seconds);
    scenario.is_measuring = false;
    let after = Snapshot::take(&plan.targets);
    scenario.is_publishing = false;
    net.run(&mut scenario, limits::DRAINING, |scenario| scenario.counters.received >= scenario.counters.expected);

    let name = if rooms.is_some() { "rooms" } else { "fanout" };
    let counters = &scenario.counters;
    let mut report = super::empty(name, plan, Unit::Delivery, counters.measured);
    report.expected = counters.expected;
    report.received = counters.received;
    report.lost = scenario.missing.iter().map(|&count| u64::from(count)).sum();
    report.wrong = counters.wrong;
    report.duplicates = counters.duplicates;
    report.disorder = counters.disorder;
    report.stalls = counters.stalls;
    report.latency = scenario.latencies[0].latency();
    report.latency_across = scenario.latencies[1].latency();
    before.report_cpu(&after, &plan.targets, &mut report);
    Ok(report)
}

/// The pace of broadcasts over all phases of a run.
struct Pace {
    started: Instant,
    rate: Option<f64>,
    published: u64,
}

impl Pace {
    fn run(&mut self, net: &mut Net, scenario: &mut Broadcasts, seconds: f64) {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut progress = (scenario.counters.received, Instant::now());
        while !net.is_over() {
            let now = Instant::now();
            if now >= end {
                return;
            }
            // A lost message must not hold the closed loop for ever.
            if scenario.counters.received != progress.0 {
                progress = (scenario.counters.received, now);
            } else if scenario.window.is_some() && now - progress.1 > limits::STALL {
                progress.1 = now;
                scenario.counters.stalls += 1;
                scenario.in_flight = 0;
                scenario.fill_window(net);
            }
            let mut wait = (end - now).min(Duration::from_millis(20));
            if let Some(rate) = self.rate {
                while self.published < ((now - self.started).as_secs_f64() * rate) as u64 {
                    scenario.publish(net);
                    self.published += 1;
                }
                let next = self.started + Duration::from_secs_f64((self.published + 1) as f64 / rate);
                wait = wait.min(next.saturating_duration_since(now));
            }
            net.turn(scenario, wait);
        }
    }
}

impl Broadcasts {
    fn new(clients: usize, servers: usize, rooms: Option<usize>, size: usize) -> Self {
        let count = rooms.unwrap_or(1);
        let mut members = vec![vec![]; count];
        for client in 0..clients {
            // Clients are on the servers in turns. The division has each room on all servers.
            members[(client / servers) % count].push(client);
        }
        Self {
            members,
            servers,
            padding: "x".repeat(size - 2 * DIGITS),
            is_single: rooms.is_none(),
            next_number: vec![0; clients],
            seed: 0x9e37_79b9_7f4a_7c15,
            ..Self::default()
        }
    }

    fn join(&self, net: &mut Net) {
        for (room, members) in self.members.iter().enumerate() {
            for &client in members {
                net.send_frame(client, frame::TEXT, format!("420[\"join\",\"room-{room}\"]").as_bytes());
            }
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed % below as u64) as usize
    }

    fn publish(&mut self, net: &mut Net) {
        let (mut room, mut client) = (0, 0);
        if !self.is_single {
            room = self.random(self.members.len());
            client = self.random(self.members[room].len());
        }
        let members = &self.members[room];
        let (number, padding) = (self.missing.len(), &self.padding);
        let packet = format!("42[\"broadcast\",\"room-{room}\",\"{number:016x}{:016x}{padding}\"]", net.now());
        net.send_frame(members[client], frame::TEXT, packet.as_bytes());
        self.missing.push(members.len() as u32);
        self.counters.expected += members.len() as u64;
        self.in_flight += 1;
    }

    fn fill_window(&mut self, net: &mut Net) {
        while self.is_publishing && self.window.is_some_and(|window| self.in_flight < window) {
            self.publish(net);
        }
    }

    /// Returns the number and the time of sending of a broadcast.
    fn read(&self, packet: &[u8]) -> Option<(usize, u64)> {
        let argument = packet.strip_prefix(EVENT)?.strip_suffix(b"\"]")?;
        let (number, rest) = argument.split_at_checked(DIGITS)?;
        let (sent, padding) = rest.split_at_checked(DIGITS)?;
        (padding == self.padding.as_bytes()).then_some((super::hexadecimal(number)? as usize, super::hexadecimal(sent)?))
    }
}

impl Scenario for Broadcasts {
    fn on_text(&mut self, net: &mut Net, client: usize, packet: &[u8]) {
        if packet.starts_with(b"30[") {
            self.joined += 1;
            return;
        }
        let known = self.read(packet).and_then(|(number, sent)| Some((number, sent, self.missing.get_mut(number)?)));
        let Some((number, sent, missing)) = known else {
            self.counters.wrong += 1;
            return;
        };
        if *missing == 0 {
            self.counters.duplicates += 1;
            return;
        }
        *missing -= 1;
        if *missing == 0 {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if self.is_single {
            if number < self.next_number[client] {
                self.counters.disorder += 1;
            }
            self.next_number[client] = number + 1;
        }
        self.counters.received += 1;
        if self.is_measuring {
            self.counters.measured += 1;
            let is_across = !client.is_multiple_of(self.servers);
            self.latencies[usize::from(is_across)].record(net.now().saturating_sub(sent));
        }
        self.fill_window(net);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(number: usize) -> String {
        format!("2[\"msg\",\"{number:016x}{:016x}{}\"]", 5, "x".repeat(32))
    }

    #[test]
    fn broadcast_is_read_with_its_number_and_time() {
        let scenario = Broadcasts::new(4, 1, None, 64);
        assert_eq!(scenario.read(delivery(0x2a).as_bytes()), Some((0x2a, 5)));
        for wrong in ["2[\"msg\",\"\"]", "2[\"other\",1]", &delivery(1).replace("xx", "x"), &delivery(1).replacen('0', "g", 1), ""] {
            assert_eq!(scenario.read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn rooms_have_members_on_all_servers() {
        let scenario = Broadcasts::new(8, 2, Some(2), 64);
        assert_eq!(scenario.members, [[0, 1, 4, 5], [2, 3, 6, 7]]);
    }

    #[test]
    fn disorder_and_duplicates_are_counted() {
        let mut net = Net::new(1, 0).unwrap();
        let mut scenario = Broadcasts { missing: vec![1, 1, 1], ..Broadcasts::new(1, 1, None, 64) };
        for number in [0, 2, 1, 1, 3] {
            scenario.on_text(&mut net, 0, delivery(number).as_bytes());
        }
        let Counters { received, disorder, duplicates, wrong, .. } = scenario.counters;
        assert_eq!((received, disorder, duplicates, wrong), (3, 1, 1, 1));
    }
}
