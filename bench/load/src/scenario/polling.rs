//! Messages by POST that the server sends back in polls. A client has one connection for each of the two.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{ClosedLoop, Counters};
use crate::histogram::Histogram;
use crate::net::{Address, Net, Scenario};
use crate::plan::Plan;
use crate::report::Report;
use crate::{RunError, http, limits};

/// The character between the packets of a body.
const SEPARATOR: u8 = 0x1e;

struct Client {
    server: Address,
    get: usize,
    post: usize,
    /// The id of the session; empty before it is open.
    session: String,
    is_ready: bool,
    /// True while a POST waits for its response: the next goes after it.
    is_posting: bool,
    /// The packets for the next POST.
    packets: Vec<String>,
    /// The times of sending of the messages that wait for their answer.
    waiting: VecDeque<u64>,
}

#[derive(Default)]
struct PollingLoop {
    clients: Vec<Client>,
    /// The client of each connection.
    owners: Vec<usize>,
    request: String,
    ready: usize,
    failure: Option<String>,
    counters: Counters,
    latencies: Histogram,
}

pub(super) fn run(net: &mut Net, plan: &Plan, in_flight: usize, size: usize) -> Result<Report, RunError> {
    let request = format!("42[\"echo\",\"{}\"]", super::letters(size));
    let mut scenario = PollingLoop { request, ..PollingLoop::default() };
    scenario.connect(net, plan)?;
    for client in 0..plan.clients {
        for _ in 0..in_flight {
            scenario.echo(net, client);
        }
        scenario.post(net, client);
    }
    let mut report = super::measure(net, &mut scenario, plan, "polling");
    report.latency = scenario.latencies.latency();
    if let Some(failure) = scenario.failure {
        net.protocol_errors += 1;
        net.last_error = Some(failure);
    }
    Ok(report)
}

impl PollingLoop {
    fn connect(&mut self, net: &mut Net, plan: &Plan) -> Result<(), RunError> {
        let begun = Instant::now();
        while self.ready < plan.clients {
            while self.clients.len() < plan.clients && self.clients.len() - self.ready < plan.handshakes {
                self.open(net, &plan.servers[self.clients.len() % plan.servers.len()])?;
            }
            net.turn(self, Duration::from_millis(20));
            if let Some(why) = self.failure.take().or_else(|| net.last_error.take_if(|_| net.disconnects > 0)) {
                return Err(RunError::Disconnected(why));
            }
            if begun.elapsed() > limits::CONNECTING {
                let seconds = limits::CONNECTING.as_secs();
                return Err(RunError::Incomplete { done: self.ready, wanted: plan.clients, what: "connected", seconds });
            }
        }
        Ok(())
    }

    fn open(&mut self, net: &mut Net, server: &Address) -> Result<(), RunError> {
        let (get, post) = (net.open_http(server)?, net.open_http(server)?);
        let client = self.clients.len();
        self.owners.extend([client, client]);
        self.clients.push(Client {
            server: server.clone(),
            get,
            post,
            session: String::new(),
            is_ready: false,
            is_posting: false,
            packets: vec![],
            waiting: VecDeque::new(),
        });
        self.get(net, client);
        Ok(())
    }

    fn get(&mut self, net: &mut Net, client: usize) {
        let client = &self.clients[client];
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", client.target(), client.server.socket());
        net.send_bytes(client.get, request.as_bytes());
    }

    fn post(&mut self, net: &mut Net, client: usize) {
        let client = &mut self.clients[client];
        if client.is_posting || client.packets.is_empty() {
            return;
        }
        client.is_posting = true;
        let body = client.packets.join("\x1e");
        client.packets.clear();
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            client.target(),
            client.server.socket(),
            body.len()
        );
        net.send_bytes(client.post, request.as_bytes());
    }

    /// Adds a message to the next POST.
    fn echo(&mut self, net: &Net, client: usize) {
        let client = &mut self.clients[client];
        client.packets.push(self.request.clone());
        client.waiting.push_back(net.now());
        self.counters.sent += 1;
    }

    fn on_answer(&mut self, net: &Net, client: usize) {
        let Some(sent) = self.clients[client].waiting.pop_front() else {
            self.counters.wrong += 1;
            return;
        };
        self.counters.received += 1;
        if self.counters.is_measuring {
            self.counters.measured += 1;
            self.latencies.record(net.now() - sent);
        }
        if !self.counters.is_stopped {
            self.echo(net, client);
        }
    }

    fn on_packet(&mut self, net: &Net, client: usize, packet: &[u8]) {
        match packet {
            packet if packet == self.request.as_bytes() => self.on_answer(net, client),
            [b'0', handshake @ ..] => {
                let session = serde_json::from_slice::<serde_json::Value>(handshake).ok();
                let session = session.as_ref().and_then(|handshake| handshake.get("sid")?.as_str());
                self.clients[client].session = session.unwrap_or_default().into();
                self.clients[client].packets.push("40".into());
            }
            [b'4', b'0', ..] if !self.clients[client].is_ready => {
                self.clients[client].is_ready = true;
                self.ready += 1;
            }
            b"2" => self.clients[client].packets.push("3".into()),
            b"6" => {}
            _ => self.counters.wrong += 1,
        }
    }
}

impl Client {
    /// Returns the path of its next request.
    fn target(&self) -> String {
        let session = if self.session.is_empty() { String::new() } else { format!("&sid={}", self.session) };
        format!("{}?EIO=4&transport=polling{session}", self.server.path())
    }
}

impl Scenario for PollingLoop {
    fn on_response(&mut self, net: &mut Net, connection: usize, response: &http::Response) {
        let client = self.owners[connection];
        if response.status != 200 {
            let body = String::from_utf8_lossy(&response.body[..response.body.len().min(80)]);
            self.failure.get_or_insert_with(|| format!("HTTP {}: {body}", response.status));
            return;
        }
        if connection == self.clients[client].post {
            self.clients[client].is_posting = false;
            self.post(net, client);
            return;
        }
        for packet in response.body.split(|&byte| byte == SEPARATOR) {
            self.on_packet(net, client, packet);
        }
        self.post(net, client);
        self.get(net, client);
    }
}

impl ClosedLoop for PollingLoop {
    fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    fn outstanding(&self) -> u64 {
        self.counters.sent - self.counters.received
    }
}
