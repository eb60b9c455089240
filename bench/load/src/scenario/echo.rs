//! Messages over a WebSocket that the server sends back.

use std::collections::VecDeque;

use super::{ClosedLoop, Counters};
use crate::histogram::Histogram;
use crate::net::{Net, Scenario};
use crate::plan::{Echo, Plan};
use crate::report::Report;
use crate::{RunError, frame};

/// The event of a message with an attachment.
const BINARY: &[u8] = b"51-[\"echo\",{\"_placeholder\":true,\"num\":0}]";

/// A message that waits for its answer: its time of sending, and the id of its acknowledgement.
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
    counters: Counters,
    latencies: Histogram,
}

pub(super) fn run(net: &mut Net, plan: &Plan, kind: Echo, in_flight: usize, size: usize) -> Result<Report, RunError> {
    net.connect(&plan.servers, plan.clients, plan.handshakes)?;
    let mut scenario = EchoLoop::new(kind, plan.clients, size);
    for client in 0..plan.clients {
        for _ in 0..in_flight {
            scenario.send(net, client);
        }
        net.flush();
    }
    let name = match kind {
        Echo::Event => "echo",
        Echo::Ack => "ack",
        Echo::Binary => "binary",
    };
    let mut report = super::measure(net, &mut scenario, plan, name);
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
            counters: Counters::default(),
            latencies: Histogram::default(),
        }
    }

    fn send(&mut self, net: &mut Net, client: usize) {
        let ack = self.next_ack;
        if self.kind == Echo::Ack {
            self.next_ack += 1;
            let packet = [format!("42{ack}[\"echo\",").as_bytes(), &self.argument, b"]"].concat();
            net.send_frame(client, frame::TEXT, &packet);
        } else {
            net.send_bytes(client, &self.request);
        }
        self.waiting[client].push_back((net.now(), ack));
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
            self.latencies.record(net.now() - sent);
        }
        if !self.counters.is_stopped {
            self.send(net, client);
        }
    }

    /// Returns whether a packet acknowledges this message with its argument.
    fn is_acknowledgement(&self, packet: &[u8], ack: u64) -> bool {
        let arguments = || packet.strip_prefix(format!("3{ack}[").as_bytes())?.strip_suffix(b"]");
        arguments().is_some_and(|argument| argument == self.argument)
    }
}

impl Scenario for EchoLoop {
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
