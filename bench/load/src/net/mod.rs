//! The event loop of all clients, on one thread.
//!
//! One thread, and one read for a ready socket, keep the generator cheaper than the servers that it measures.

mod address;
mod connection;
mod loss;

use std::collections::HashMap;
use std::io::{self, Read};
use std::mem;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use flate2::{Decompress, FlushDecompress};
use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

pub use self::address::{Address, AddressError};
use self::connection::{Connection, Route, State};
pub(crate) use self::loss::{Cut, Loss};
use crate::plan::Plan;
use crate::{RunError, frame, http, limits};

/// The events of one turn of the loop.
const EVENTS: usize = 4_096;

/// The bytes of one read.
const READ: usize = 256 << 10;

/// The longest wait for events, so that the conditions of the loop are looked at.
pub(crate) const TURN: Duration = Duration::from_millis(20);

/// The reactions of a scenario to the messages of servers.
pub(crate) trait Scenario {
    /// Does what is due before the loop waits, and returns the longest wait.
    fn on_turn(&mut self, _net: &mut Net) -> Duration {
        TURN
    }

    /// An Engine.IO session, with the handshake as JSON. The client asks for the namespace `/`.
    fn on_open(&mut self, net: &mut Net, connection: usize, _handshake: &[u8]) {
        net.send_frame(connection, frame::TEXT, b"40");
    }

    /// The answer to the CONNECT packet, as JSON.
    fn on_connect(&mut self, _net: &mut Net, _connection: usize, _answer: &[u8]) {}

    /// A ping of Engine.IO, which is answered already.
    fn on_ping(&mut self, _net: &mut Net, _connection: usize) {}

    /// The end of a connection that the scenario has not cut.
    fn on_close(&mut self, net: &mut Net, _connection: usize, loss: Loss) {
        net.count_disconnect(loss);
    }

    /// A Socket.IO packet, without the `4` of Engine.IO.
    fn on_text(&mut self, _net: &mut Net, _connection: usize, _packet: &[u8]) {}

    /// A binary attachment.
    fn on_binary(&mut self, _net: &mut Net, _connection: usize, _data: &[u8]) {}

    /// A response on a connection of [`Net::open_http`].
    fn on_response(&mut self, _net: &mut Net, _connection: usize, _response: &http::Response) {}
}

/// A scenario that ignores all messages.
pub(crate) struct Ignore;

impl Scenario for Ignore {}

/// All connections of a run.
pub(crate) struct Net {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// The connections with output that was added in this step.
    to_write: Vec<usize>,
    started: Instant,
    sources: u8,
    /// The first connection of those with a small window.
    pub(crate) narrow_from: usize,
    /// The percentage of the WebSockets that offer compression, and the inflater of all.
    deflate: u8,
    inflate: Decompress,
    /// The last compressed message.
    inflated: Vec<u8>,
    /// The connections in the namespace `/`.
    ready: usize,
    /// The ends that the scenario has not heard of.
    closed: Vec<(usize, Loss)>,
    /// The streams of silent cuts, by their clients: open, and never read.
    silenced: HashMap<usize, TcpStream>,
    pub(crate) disconnects: u64,
    pub(crate) protocol_errors: u64,
    pub(crate) last_error: Option<String>,
}

impl Net {
    pub(crate) fn new(sources: u8, deflate: u8) -> io::Result<Self> {
        // Each client needs a descriptor. With fewer the run fails later, and says why.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            connections: vec![],
            buffer: vec![0; READ],
            to_write: vec![],
            started: Instant::now(),
            sources,
            narrow_from: usize::MAX,
            deflate,
            inflate: Decompress::new(false),
            inflated: vec![],
            ready: 0,
            closed: vec![],
            silenced: HashMap::new(),
            disconnects: 0,
            protocol_errors: 0,
            last_error: None,
        })
    }

    /// Returns the nanoseconds since the run began.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Returns whether the run has had all of its time.
    pub(crate) fn is_over(&self) -> bool {
        self.started.elapsed() >= limits::RUN
    }

    /// Starts a connection. The bytes of `output` leave first.
    fn start(&self, at: usize, server: &Address, is_http: bool, output: Vec<u8>) -> io::Result<Connection> {
        // Both connections of a polling client have one source address.
        let client = if is_http { at / 2 } else { at };
        let source = Ipv4Addr::new(127, 0, 0, 1 + (client % usize::from(self.sources)) as u8);
        let route = Route { server: server.socket(), source: (self.sources > 1).then_some(source), is_narrow: at >= self.narrow_from };
        let mut connection = Connection::start(&route, is_http, output)?;
        if let Some(stream) = &mut connection.stream {
            self.poll.registry().register(stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        }
        Ok(connection)
    }

    fn start_websocket(&self, at: usize, server: &Address) -> io::Result<Connection> {
        // Spread evenly: with 50, every second client offers compression.
        let share = |client: usize| client * usize::from(self.deflate) / 100;
        let offers = share(at + 1) > share(at);
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
        let request = format!(
            "GET {}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: c29jaWFibGUtbG9hZC1rZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            server.path(),
            server.socket(),
            if offers { offer } else { "" }
        );
        self.start(at, server, false, request.into_bytes())
    }

    /// Opens a new WebSocket in the place of one that is closed.
    pub(crate) fn reopen(&mut self, at: usize, server: &Address) {
        match self.start_websocket(at, server) {
            Ok(connection) => self.connections[at] = connection,
            Err(error) => self.closed.push((at, Loss::of("connect", &error))),
        }
    }

    /// Cuts a connection. The scenario is not told.
    pub(crate) fn cut(&mut self, at: usize, cut: Cut) {
        let Some(mut stream) = self.leave(at) else { return };
        match cut {
            Cut::Close => {}
            // The server sees a reset if the option is set, and a close otherwise.
            Cut::Reset => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
            Cut::Silent => {
                let _ = self.poll.registry().deregister(&mut stream);
                self.silenced.insert(at, stream);
            }
        }
    }

    /// Stops reading a connection: the client is a slow one.
    pub(crate) fn stop_reading(&mut self, at: usize) {
        self.connections[at].is_muted = true;
    }

    /// Reads a slow client's connection again.
    pub(crate) fn read_again(&mut self, scenario: &mut impl Scenario, at: usize) {
        self.connections[at].is_muted = false;
        self.read(scenario, at);
    }

    /// Opens a connection for HTTP requests.
    pub(crate) fn open_http(&mut self, server: &Address) -> io::Result<usize> {
        let at = self.connections.len();
        let connection = self.start(at, server, true, vec![])?;
        self.connections.push(connection);
        Ok(at)
    }

    /// Opens a WebSocket for each client, and waits until all are in the namespace `/`.
    pub(crate) fn connect(&mut self, scenario: &mut impl Scenario, plan: &Plan) -> Result<(), RunError> {
        let (begun, clients) = (Instant::now(), plan.clients);
        while self.ready < clients {
            while self.connections.len() < clients && self.connections.len() < self.ready + plan.handshakes {
                let at = self.connections.len();
                let connection = self.start_websocket(at, &plan.servers[at % plan.servers.len()])?;
                self.connections.push(connection);
            }
            let wait = scenario.on_turn(self);
            self.turn(scenario, wait);
            if self.disconnects > 0 {
                return Err(RunError::Disconnected(self.last_error.take().unwrap_or_default()));
            }
            if begun.elapsed() > limits::CONNECTING {
                let seconds = limits::CONNECTING.as_secs();
                return Err(RunError::Incomplete { done: self.ready, wanted: clients, what: "connected", seconds });
            }
        }
        Ok(())
    }

    fn list(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        if !connection.is_listed {
            connection.is_listed = true;
            self.to_write.push(at);
        }
    }

    /// Adds bytes to the output of a connection. They leave at the end of the step.
    #[inline]
    pub(crate) fn send_bytes(&mut self, at: usize, bytes: &[u8]) {
        self.connections[at].output.extend_from_slice(bytes);
        self.list(at);
    }

    /// Adds a frame to the output of a connection.
    pub(crate) fn send_frame(&mut self, at: usize, opcode: u8, payload: &[u8]) {
        frame::encode(&mut self.connections[at].output, opcode, payload);
        self.list(at);
    }

    /// Writes the output of this step.
    pub(crate) fn flush(&mut self) {
        while let Some(at) = self.to_write.pop() {
            self.connections[at].is_listed = false;
            self.write(at);
        }
    }

    fn write(&mut self, at: usize) {
        if let Err(error) = self.connections[at].write() {
            self.close(at, Loss::of("write", &error));
        }
    }

    fn close(&mut self, at: usize, loss: impl Into<Loss>) {
        if self.leave(at).is_some() {
            self.closed.push((at, loss.into()));
        }
    }

    /// Takes a connection out of the loop, and returns its stream unless it is closed.
    fn leave(&mut self, at: usize) -> Option<TcpStream> {
        let connection = &mut self.connections[at];
        if connection.state == State::Ready {
            self.ready = self.ready.saturating_sub(1);
        }
        connection.state = State::Closed;
        connection.output.clear();
        connection.input.clear();
        connection.stream.take()
    }

    pub(crate) fn count_disconnect(&mut self, loss: Loss) {
        self.disconnects += 1;
        self.last_error = Some(loss.to_string());
    }

    fn protocol_error(&mut self, why: String) {
        self.protocol_errors += 1;
        self.last_error = Some(why);
    }

    /// Waits for events, at most for `timeout`, and handles them.
    pub(crate) fn turn(&mut self, scenario: &mut impl Scenario, timeout: Duration) {
        self.flush();
        let mut events = mem::replace(&mut self.events, Events::with_capacity(0));
        if let Err(error) = self.poll.poll(&mut events, Some(timeout))
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.protocol_error(format!("poll: {error}"));
        }
        for event in &events {
            let Token(at) = event.token();
            if self.connections[at].state == State::Closed {
                continue;
            }
            if event.is_writable() && !self.connections[at].output.is_empty() {
                self.write(at);
            }
            if !self.connections[at].is_muted && (event.is_readable() || event.is_read_closed() || event.is_error()) {
                self.read(scenario, at);
            }
            self.flush();
        }
        self.events = events;
        for (at, loss) in mem::take(&mut self.closed) {
            scenario.on_close(self, at, loss);
        }
    }

    /// Turns the loop until `done` says so, or `limit` has passed.
    pub(crate) fn run<S: Scenario>(&mut self, scenario: &mut S, limit: Duration, done: impl Fn(&S) -> bool) {
        let end = Instant::now() + limit;
        while !done(scenario) && !self.is_over() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let wait = scenario.on_turn(self);
            self.turn(scenario, left.min(wait));
        }
    }

    fn read(&mut self, scenario: &mut impl Scenario, at: usize) {
        let mut buffer = mem::take(&mut self.buffer);
        // A server that sends faster than its messages are read would hold the loop here.
        while self.connections[at].state != State::Closed && !self.is_over() {
            let Some(stream) = &mut self.connections[at].stream else { break };
            match stream.read(&mut buffer) {
                Ok(0) => self.close(at, "closed by the server"),
                Ok(count) => {
                    self.take_in(scenario, at, &buffer[..count]);
                    // A short read has emptied the socket. The next bytes raise an event.
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.close(at, Loss::of("read", &error)),
            }
        }
        self.buffer = buffer;
    }

    /// Handles new bytes, together with those that wait for them.
    fn take_in(&mut self, scenario: &mut impl Scenario, at: usize, bytes: &[u8]) {
        if self.connections[at].input.is_empty() {
            let used = self.decode(scenario, at, bytes);
            self.connections[at].input.extend_from_slice(&bytes[used..]);
            return;
        }
        let mut input = mem::take(&mut self.connections[at].input);
        input.extend_from_slice(bytes);
        let used = self.decode(scenario, at, &input);
        input.drain(..used);
        if input.len() > limits::INPUT {
            self.close(at, "a message of the server is too long");
        } else if !input.is_empty() {
            self.connections[at].input = input;
        }
    }

    /// Handles every whole message, and returns the bytes that they took.
    fn decode(&mut self, scenario: &mut impl Scenario, at: usize, input: &[u8]) -> usize {
        let mut used = 0;
        if self.connections[at].is_http {
            while let Some(response) = http::decode(&input[used..]) {
                used += response.length;
                scenario.on_response(self, at, &response);
            }
            return used;
        }
        if self.connections[at].state == State::Upgrading {
            let Some(end) = memmem::find(input, b"\r\n\r\n") else { return 0 };
            if !input.starts_with(b"HTTP/1.1 101") {
                let line = input.split(|&byte| byte == b'\r').next().unwrap_or_default();
                self.close(at, Loss::Rejected(String::from_utf8_lossy(line).into_owned()));
                return input.len();
            }
            self.connections[at].state = State::Joining;
            used = end + 4;
        }
        while let Some(frame) = frame::decode(&input[used..]) {
            used += frame.length;
            match frame.opcode {
                _ if frame.is_deflated => self.on_deflated(scenario, at, &frame),
                frame::TEXT if frame.is_final => self.on_packet(scenario, at, frame.payload),
                frame::BINARY if frame.is_final => scenario.on_binary(self, at, frame.payload),
                frame::PING => self.send_frame(at, frame::PONG, frame.payload),
                frame::PONG => {}
                frame::CLOSE => self.close(at, "WebSocket close frame"),
                opcode => self.protocol_error(format!("frame of opcode {opcode}, final: {}", frame.is_final)),
            }
            if self.connections[at].state == State::Closed {
                return input.len();
            }
        }
        used
    }

    fn on_deflated(&mut self, scenario: &mut impl Scenario, at: usize, frame: &frame::Frame<'_>) {
        let mut message = mem::take(&mut self.inflated);
        message.clear();
        message.reserve(limits::SIZE + 1_024);
        self.inflate.reset(false);
        // The end of the message is not sent.
        let parts = [frame.payload, &[0, 0, 0xff, 0xff]];
        let is_whole = parts.into_iter().all(|part| self.inflate.decompress_vec(part, &mut message, FlushDecompress::Sync).is_ok());
        match frame.opcode {
            frame::TEXT if is_whole && frame.is_final => self.on_packet(scenario, at, &message),
            frame::BINARY if is_whole && frame.is_final => scenario.on_binary(self, at, &message),
            opcode => self.protocol_error(format!("compressed frame of opcode {opcode}, whole: {is_whole}")),
        }
        self.inflated = message;
    }

    #[inline]
    fn on_packet(&mut self, scenario: &mut impl Scenario, at: usize, packet: &[u8]) {
        match packet {
            [b'4', packet @ ..] if self.connections[at].state == State::Ready => scenario.on_text(self, at, packet),
            [b'4', b'0', answer @ ..] => {
                self.connections[at].state = State::Ready;
                self.ready += 1;
                scenario.on_connect(self, at, answer);
            }
            [b'4', b'4', ..] => self.close(at, Loss::Rejected(String::from_utf8_lossy(packet).into_owned())),
            // A server sends what a recovered client missed before it lets the client in.
            [b'4', packet @ ..] => scenario.on_text(self, at, packet),
            [b'0', handshake @ ..] => scenario.on_open(self, at, handshake),
            [b'2', ..] => {
                self.send_frame(at, frame::TEXT, b"3");
                scenario.on_ping(self, at);
            }
            [b'1', ..] => self.close(at, "Engine.IO close packet"),
            [b'6', ..] => {}
            other => self.protocol_error(format!("packet {:?}", String::from_utf8_lossy(&other[..other.len().min(80)]))),
        }
    }

    /// Closes all connections.
    pub(crate) fn close_all(&mut self) {
        self.connections.clear();
        self.silenced.clear();
    }
}
