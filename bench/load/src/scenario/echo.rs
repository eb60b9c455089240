//! Messages over a WebSocket that the server sends back.

use std::collections::VecDeque;
use std::time::Duration;

use super::pace::Pace;
use super::{ClosedLoop, Counters};
use crate::histogram::Histogram;
use crate::net::{Ignore, Net, Scenario, TURN};
use crate::plan::{Echo, Plan};
use crate::report::Report;
use crate::{RunError, frame, limits};

/// The event of a message with an attachment.
const BINARY: &[u8] = b"51-[\"echo\",{\"_placeholder\":true,\"num\":0}]";

/// A message that waits for its answer: the time at which it had to be sent, and the id of its acknowledgement.
type Waiting = (u64, u64);

struct EchoLoop {
    kind: Echo,
    /// The frames of a message, for the kinds whose messages are all alike.
    request: Vec<u8>,
    /// The argument as JSON.
    argument: Vec<u8>,
    /// The expected answer, without the `4` of Engine.IO.
    answer: Vec<u8>,
    attachment: Vec<u8>,
    /// The messages of each client that wait, the oldest first.
    waiting: Vec<VecDeque<Waiting>>,
    next_ack: u64,
    /// The pace of an open loop, and the client whose turn it is.
    pace: Option<Pace>,
    turn: usize,
    counters: Counters,
    latencies: Histogram,
}

/// Messages as fast as the server answers.
pub(super) fn run(net: &mut Net, plan: &Plan, kind: Echo, in_flight: usize, size: usize) -> Result<Report, RunError> {
    net.connect(&mut Ignore, plan)?;
    let mut scenario = EchoLoop::new(kind, plan.clients, size);
    scenario.begin(net, in_flight);
    let name = match kind {
        Echo::Event => "echo",
        Echo::Ack => "ack",
        Echo::Binary => "binary",
    };
    let mut report = super::measure(net, &mut scenario, plan, name);
    report.latency = scenario.latencies.latency();
    Ok(report)
}

/// Messages at a share of the rate that the server reached just before.
pub(super) fn run_paced(net: &mut Net, plan: &Plan, share: f64, size: usize) -> Result<Report, RunError> {
    net.connect(&mut Ignore, plan)?;
    let mut scenario = EchoLoop::new(Echo::Event, plan.clients, size);
    scenario.begin(net, 1);
    let half = Duration::from_secs_f64(plan.warmup / 2.0);
    net.run(&mut scenario, half, |_| false);
    let (begun, received) = (net.now(), scenario.counters.received);
    net.run(&mut scenario, half, |_| false);
    let peak = (scenario.counters.received - received) as f64 / (net.now() - begun) as f64 * 1e9;
    scenario.counters.is_stopped = true;
    net.run(&mut scenario, limits::DRAINING, |scenario| scenario.outstanding() == 0);

    scenario.counters.is_stopped = false;
    // A server that answered nothing has no rate.
    scenario.pace = Some(Pace::start(net.now(), (peak * share).clamp(1.0, limits::RATE)));
    let mut report = super::measure(net, &mut scenario, plan, "latency");
    report.peak_per_second = Some(peak.round());
    report.latency = scenario.latencies.latency();
    Ok(report)
}

impl EchoLoop {
    fn new(kind: Echo, clients: usize, size: usize) -> Self {
        let argument = format!("\"{}\"", super::letters(size));
        let attachment: Vec<u8> = (0..size).map(|at| (at * 7) as u8).collect();
        let (mut request, mut answer) = (vec![], vec![]);
        match kind {
            Echo::Event => {
                answer = format!("2[\"echo\",{argument}]").into_bytes();
                frame::encode(&mut request, frame::TEXT, &[b"4", answer.as_slice()].concat());
            }
            Echo::Ack => {}
            Echo::Binary => {
                answer = BINARY.to_vec();
                frame::encode(&mut request, frame::TEXT, &[b"4", BINARY].concat());
                frame::encode(&mut request, frame::BINARY, &attachment);
            }
        }
        Self {
            kind,
            request,
            argument: argument.into_bytes(),
            answer,
            attachment,
            waiting: vec![VecDeque::new(); clients],
            next_ack: 0,
            pace: None,
            turn: 0,
            counters: Counters::default(),
            latencies: Histogram::default(),
        }
    }

    /// Starts a closed loop for each message in flight.
    fn begin(&mut self, net: &mut Net, in_flight: usize) {
        for client in 0..self.waiting.len() {
            for _ in 0..in_flight {
                let now = net.now();
                self.send(net, client, now);
            }
            net.flush();
        }
    }

    /// Sends a message whose latency is measured from this time.
    fn send(&mut self, net: &mut Net, client: usize, time: u64) {
        let ack = self.next_ack;
        if self.kind == Echo::Ack {
            self.next_ack += 1;
            let packet = [format!("42{ack}[\"echo\",").as_bytes(), &self.argument, b"]"].concat();
            net.send_frame(client, frame::TEXT, &packet);
        } else {
            net.send_bytes(client, &self.request);
        }
        self.waiting[client].push_back((time, ack));
        self.counters.sent += 1;
    }

    /// Notes an answer to the oldest message of a client, and sends the next.
    fn complete(&mut self, net: &mut Net, client: usize, is_right: impl FnOnce(&Self, u64) -> bool) {
        let Some((sent, ack)) = self.waiting[client].pop_front() else {
            self.counters.wrong += 1;
            return;
        };
        if !is_right(self, ack) {
            self.counters.wrong += 1;
        }
        self.counters.received += 1;
        if self.counters.is_measuring {
            self.counters.measured += 1;
            self.latencies.record(net.now().saturating_sub(sent));
        }
        if !self.counters.is_stopped && self.pace.is_none() {
            let now = net.now();
            self.send(net, client, now);
        }
    }

    /// Returns whether a packet acknowledges this message with its argument.
    fn is_acknowledgement(&self, packet: &[u8], ack: u64) -> bool {
        let arguments = || packet.strip_prefix(format!("3{ack}[").as_bytes())?.strip_suffix(b"]");
        arguments().is_some_and(|argument| argument == self.argument)
    }
}

impl Scenario for EchoLoop {
    fn on_turn(&mut self, net: &mut Net) -> Duration {
        let Some(mut pace) = self.pace.filter(|_| !self.counters.is_stopped) else { return TURN };
        let now = net.now();
        while let Some(time) = pace.take(now) {
            self.send(net, self.turn, time);
            self.turn = (self.turn + 1) % self.waiting.len();
        }
        self.pace = Some(pace);
        pace.wait(now)
    }

    fn on_text(&mut self, net: &mut Net, client: usize, packet: &[u8]) {
        match self.kind {
            Echo::Event => self.complete(net, client, |this, _| packet == this.answer),
            Echo::Ack => self.complete(net, client, |this, ack| this.is_acknowledgement(packet, ack)),
            // The attachment follows.
            Echo::Binary if packet == self.answer => {}
            Echo::Binary => self.counters.wrong += 1,
        }
    }

    fn on_binary(&mut self, net: &mut Net, client: usize, data: &[u8]) {
        self.complete(net, client, |this, _| data == this.attachment);
    }
}

impl ClosedLoop for EchoLoop {
    fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    fn outstanding(&self) -> u64 {
        self.counters.sent - self.counters.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgement_has_the_id_and_the_argument() {
        let scenario = EchoLoop::new(Echo::Ack, 1, 3);
        assert!(scenario.is_acknowledgement(b"312[\"abc\"]", 12));
        for wrong in [&b"312[\"abd\"]"[..], b"313[\"abc\"]", b"212[\"abc\"]", b"312[\"abc\",1]", b"312", b""] {
            assert!(!scenario.is_acknowledgement(wrong, 12), "{wrong:?}");
        }
    }
}
