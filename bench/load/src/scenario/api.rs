//! Events that a backend sends to rooms by HTTP. The clients of the rooms have WebSockets.
//!
//! A unit is complete when the backend has its response and each client of the room has the event.

use super::{ClosedLoop, Counters};
use crate::histogram::Histogram;
use crate::net::{Address, Ignore, Net, Scenario};
use crate::plan::Plan;
use crate::report::Report;
use crate::{RunError, frame, http, limits};

/// The path of the API, and the key of the backend.
const PATH: &str = "/api/v1/emit";
const KEY: &str = "the-key-of-the-load-generator-0001";

/// The event before its argument.
const EVENT: &[u8] = b"2[\"msg\",\"";

/// The digits of a number in an argument.
const DIGITS: usize = 16;

/// A step between rooms that is prime to most numbers of rooms.
const STEP: usize = 7_919;

/// The event that a connection of the backend sends.
#[derive(Clone, Copy, Debug, Default)]
struct Event {
    number: usize,
    /// The time of sending.
    sent: u64,
    /// The deliveries and the response that are missing.
    missing: usize,
}

#[derive(Default)]
struct Backend {
    server: Option<Address>,
    /// The first connection of the backend.
    first: usize,
    rooms: usize,
    /// The clients of each room.
    members: usize,
    padding: String,
    /// The event of each connection.
    events: Vec<Event>,
    /// The number of the next event.
    next: usize,
    joined: usize,
    failure: Option<String>,
    counters: Counters,
    latencies: Histogram,
}

pub(super) fn run(net: &mut Net, plan: &Plan, rooms: usize, connections: usize, size: usize) -> Result<Report, RunError> {
    net.connect(&mut Ignore, plan)?;
    let mut scenario = Backend::new(plan, rooms, connections, size);
    for client in 0..plan.clients {
        net.send_frame(client, frame::TEXT, format!("420[\"join\",\"room-{}\"]", scenario.room_of(client)).as_bytes());
    }
    net.run(&mut scenario, limits::JOINING, |scenario| scenario.joined >= plan.clients);
    if scenario.joined < plan.clients {
        let seconds = limits::JOINING.as_secs();
        return Err(RunError::Incomplete { done: scenario.joined, wanted: plan.clients, what: "joined", seconds });
    }
    for connection in 0..connections {
        net.open_http(&plan.servers[0])?;
        scenario.publish(net, connection);
    }
    let mut report = super::measure(net, &mut scenario, plan, "api");
    report.latency = scenario.latencies.latency();
    if let Some(failure) = scenario.failure {
        net.protocol_errors += 1;
        net.last_error = Some(failure);
    }
    Ok(report)
}

impl Backend {
    fn new(plan: &Plan, rooms: usize, connections: usize, size: usize) -> Self {
        Self {
            server: plan.servers.first().cloned(),
            first: plan.clients,
            rooms,
            members: plan.clients / rooms,
            padding: "x".repeat(size - 2 * DIGITS),
            events: vec![Event::default(); connections],
            ..Self::default()
        }
    }

    /// Returns the room of a client. Clients beyond the last whole division are in a room without events.
    fn room_of(&self, client: usize) -> usize {
        if client < self.rooms * self.members { client % self.rooms } else { self.rooms }
    }

    /// Sends the next event by a connection.
    fn publish(&mut self, net: &mut Net, connection: usize) {
        let (number, padding) = (self.next, &self.padding);
        let room = number.wrapping_mul(STEP) % self.rooms;
        let body = format!("{{\"rooms\":[\"room-{room}\"],\"event\":\"msg\",\"args\":[\"{connection:016x}{number:016x}{padding}\"]}}");
        let host = self.server.as_ref().map(|server| server.socket().to_string()).unwrap_or_default();
        let request = format!(
            "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.events[connection] = Event { number, sent: net.now(), missing: self.members + 1 };
        self.next += 1;
        self.counters.sent += 1;
        net.send_bytes(self.first + connection, request.as_bytes());
    }

    /// Returns the connection and the number of an event.
    fn read(&self, packet: &[u8]) -> Option<(usize, usize)> {
        let argument = packet.strip_prefix(EVENT)?.strip_suffix(b"\"]")?;
        let (connection, rest) = argument.split_at_checked(DIGITS)?;
        let (number, padding) = rest.split_at_checked(DIGITS)?;
        (padding == self.padding.as_bytes()).then_some((super::hexadecimal(connection)? as usize, super::hexadecimal(number)? as usize))
    }

    /// Notes a part of an event. The last part starts the next event.
    fn on_part(&mut self, net: &mut Net, connection: usize) {
        let event = &mut self.events[connection];
        if event.missing == 0 {
            self.counters.wrong += 1;
            return;
        }
        event.missing -= 1;
        if event.missing > 0 {
            return;
        }
        self.counters.received += 1;
        if self.counters.is_measuring {
            self.counters.measured += 1;
            self.latencies.record(net.now() - event.sent);
        }
        if !self.counters.is_stopped {
            self.publish(net, connection);
        }
    }
}

impl Scenario for Backend {
    fn on_text(&mut self, net: &mut Net, _client: usize, packet: &[u8]) {
        if packet.starts_with(b"30[") {
            self.joined += 1;
            return;
        }
        match self.read(packet) {
            Some((connection, number)) if self.events.get(connection).is_some_and(|event| event.number == number) => {
                self.on_part(net, connection);
            }
            _ => self.counters.wrong += 1,
        }
    }

    fn on_response(&mut self, net: &mut Net, connection: usize, response: &http::Response) {
        if response.status == 200 {
            self.on_part(net, connection - self.first);
            return;
        }
        let body = String::from_utf8_lossy(&response.body[..response.body.len().min(80)]);
        self.failure.get_or_insert_with(|| format!("HTTP {}: {body}", response.status));
    }
}

impl ClosedLoop for Backend {
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
    fn event_is_read_with_its_connection_and_number() {
        let scenario = Backend { padding: "xx".into(), ..Backend::default() };
        let packet = format!("2[\"msg\",\"{:016x}{:016x}xx\"]", 3, 0x2a);
        assert_eq!(scenario.read(packet.as_bytes()), Some((3, 0x2a)));
        for wrong in ["2[\"msg\",\"\"]", &packet.replace("xx\"", "x\""), &packet.replacen('0', "g", 1)] {
            assert_eq!(scenario.read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn rooms_have_the_same_number_of_clients() {
        let scenario = Backend { rooms: 3, members: 2, ..Backend::default() };
        assert_eq!((0..8).map(|client| scenario.room_of(client)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 3, 3]);
    }
}
