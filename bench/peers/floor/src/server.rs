//! The connections and rooms of the loop.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::mem;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::frame;
use crate::poll::{self, Request};

/// The bytes of one read.
const READ: usize = 256 << 10;

/// The first packet of Engine.IO, behind the id.
const OPEN: &str = r#""upgrades":[],"pingInterval":600000,"pingTimeout":60000,"maxPayload":1000000"#;
const CONNECTED: &[u8] = br#"40{"sid":"floor"}"#;

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    is_upgraded: bool,
    /// Present only while bytes wait, so that idle connections stay small.
    buffers: Option<Box<Buffers>>,
}

/// A session of long-polling. It ends with the program.
#[derive(Debug, Default)]
struct Session {
    /// The connection whose GET waits for packets.
    waiting: Option<usize>,
    /// The packets that wait for a GET.
    packets: Vec<u8>,
}

#[derive(Debug, Default)]
struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// All connections, by their tokens, and the rooms.
#[derive(Debug)]
pub(crate) struct Server {
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    rooms: HashMap<Vec<u8>, Vec<usize>>,
    sessions: Vec<Session>,
    /// The connections with output of this step.
    to_write: Vec<usize>,
    buffer: Vec<u8>,
    drop_every: Option<u64>,
    deliveries: u64,
}

impl Server {
    pub(crate) fn new(drop_every: Option<u64>) -> Self {
        Self {
            connections: vec![],
            free: vec![],
            rooms: HashMap::new(),
            sessions: vec![],
            to_write: vec![],
            buffer: vec![0; READ],
            drop_every,
            deliveries: 0,
        }
    }

    pub(crate) fn accept(&mut self, registry: &Registry, mut stream: TcpStream) -> io::Result<()> {
        // Without it messages are late, and no slower to count.
        let _ = stream.set_nodelay(true);
        let at = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        registry.register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        self.connections[at] = Some(Connection { stream, is_upgraded: false, buffers: None });
        Ok(())
    }

    /// Handles an event of a connection.
    pub(crate) fn step(&mut self, at: usize, is_readable: bool, is_writable: bool) {
        if is_writable {
            self.flush(at);
        }
        if is_readable && self.connections[at].is_some() && self.read(at).is_none() {
            for members in self.rooms.values_mut() {
                members.retain(|&member| member != at);
            }
            for session in self.sessions.iter_mut().filter(|session| session.waiting == Some(at)) {
                session.waiting = None;
            }
            self.connections[at] = None;
            self.free.push(at);
        }
    }

    /// Writes the output of this step.
    pub(crate) fn flush_all(&mut self) {
        while let Some(at) = self.to_write.pop() {
            self.flush(at);
        }
    }

    fn flush(&mut self, at: usize) {
        let Some(connection) = &mut self.connections[at] else { return };
        let Some(buffers) = &mut connection.buffers else { return };
        let written = write(&mut connection.stream, &buffers.output);
        buffers.output.drain(..written);
        if buffers.output.is_empty() && buffers.input.is_empty() {
            connection.buffers = None;
        }
    }

    fn send(&mut self, at: usize, bytes: &[u8]) {
        let Some(connection) = &mut self.connections[at] else { return };
        let output = &mut connection.buffers.get_or_insert_default().output;
        if output.is_empty() {
            self.to_write.push(at);
        }
        output.extend_from_slice(bytes);
    }

    /// Reads all that has arrived. Returns nothing when the connection is over.
    fn read(&mut self, at: usize) -> Option<()> {
        let mut buffer = mem::take(&mut self.buffer);
        let outcome = self.read_with(at, &mut buffer);
        self.buffer = buffer;
        outcome
    }

    fn read_with(&mut self, at: usize, buffer: &mut [u8]) -> Option<()> {
        loop {
            let connection = self.connections[at].as_mut()?;
            let count = match connection.stream.read(buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            let mut input = connection.buffers.as_mut().map(|buffers| mem::take(&mut buffers.input)).unwrap_or_default();
            if input.is_empty() {
                let used = self.decode(at, &mut buffer[..count])?;
                input.extend_from_slice(&buffer[used..count]);
            } else {
                input.extend_from_slice(&buffer[..count]);
                let used = self.decode(at, &mut input)?;
                input.drain(..used);
            }
            if !input.is_empty() {
                self.connections[at].as_mut()?.buffers.get_or_insert_default().input = input;
            }
            // A short read has emptied the socket.
            if count < buffer.len() {
                return Some(());
            }
        }
    }

    /// Handles all whole frames, and returns the bytes that they took. Returns nothing when the client closes.
    fn decode(&mut self, at: usize, input: &mut [u8]) -> Option<usize> {
        let mut used = 0;
        while !self.connections[at].as_ref()?.is_upgraded {
            let Some((request, length)) = poll::decode(&input[used..]) else { return Some(used) };
            match request {
                Request::Upgrade(head) => self.on_upgrade(at, head)?,
                Request::Open => {
                    let packet = format!("0{{\"sid\":\"{}\",{OPEN}}}", self.sessions.len());
                    self.sessions.push(Session::default());
                    self.send(at, &poll::response(packet.as_bytes()));
                }
                Request::Poll(session) => {
                    self.sessions.get_mut(session)?.waiting = Some(at);
                    self.answer_poll(session);
                }
                Request::Post(session, body) => self.on_post(at, session, body)?,
            }
            used += length;
        }
        let mut answers = vec![];
        while let Some((opcode, start, end)) = frame::decode(&input[used..]) {
            let (start, end) = (used + start, used + end);
            frame::unmask(&mut input[start - 4..end]);
            used = end;
            let payload = &input[start..end];
            match opcode {
                frame::TEXT => self.on_packet(at, payload, &mut answers),
                frame::BINARY => frame::encode(&mut answers, frame::BINARY, payload),
                frame::PING => frame::encode(&mut answers, frame::PONG, payload),
                frame::CLOSE => return None,
                _ => {}
            }
        }
        if !answers.is_empty() {
            self.send(at, &answers);
        }
        Some(used)
    }

    fn on_upgrade(&mut self, at: usize, head: &[u8]) -> Option<()> {
        let accept = frame::accept(&frame::key(head)?);
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes();
        frame::encode(&mut answer, frame::TEXT, format!("0{{\"sid\":\"floor\",{OPEN}}}").as_bytes());
        self.connections[at].as_mut()?.is_upgraded = true;
        self.send(at, &answer);
        Some(())
    }

    /// Answers the packets of a POST in the session's polls.
    fn on_post(&mut self, at: usize, session: usize, body: &[u8]) -> Option<()> {
        let packets = &mut self.sessions.get_mut(session)?.packets;
        for packet in body.split(|&byte| byte == poll::SEPARATOR) {
            let answer = match packet {
                b"40" => CONNECTED,
                packet if packet.starts_with(b"42[\"echo\"") => packet,
                _ => continue,
            };
            if !packets.is_empty() {
                packets.push(poll::SEPARATOR);
            }
            packets.extend_from_slice(answer);
        }
        self.answer_poll(session);
        self.send(at, &poll::response(b"ok"));
        Some(())
    }

    /// Gives the packets of a session to the GET that waits for them.
    fn answer_poll(&mut self, session: usize) {
        let session = &mut self.sessions[session];
        if session.packets.is_empty() {
            return;
        }
        if let Some(at) = session.waiting.take() {
            let response = poll::response(&session.packets);
            session.packets.clear();
            self.send(at, &response);
        }
    }

    fn on_packet(&mut self, at: usize, packet: &[u8], answers: &mut Vec<u8>) {
        if packet == b"40" {
            frame::encode(answers, frame::TEXT, CONNECTED);
        } else if packet.starts_with(b"42[\"echo\"") || packet.starts_with(b"451-") {
            frame::encode(answers, frame::TEXT, packet);
        } else if let Some(arguments) = packet.strip_prefix(b"42[\"broadcast\",\"") {
            self.broadcast(arguments);
        } else if let Some(event) = packet.strip_prefix(b"42") {
            let digits = event.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (ack, event) = event.split_at(digits);
            if let Some(argument) = event.strip_prefix(b"[\"echo\",") {
                frame::encode(answers, frame::TEXT, &[b"43", ack, b"[", argument].concat());
            } else if let Some(room) = event.strip_prefix(b"[\"join\",\"") {
                let room = room.strip_suffix(b"\"]").unwrap_or(room);
                self.rooms.entry(room.to_vec()).or_default().push(at);
                frame::encode(answers, frame::TEXT, &[b"43", ack, b"[]"].concat());
            }
        }
    }

    /// Sends to all members of a room. The arguments are `ROOM","PAYLOAD"]`.
    fn broadcast(&mut self, arguments: &[u8]) {
        let Some(end) = memchr::memchr(b'"', arguments) else { return };
        let (room, rest) = (&arguments[..end], &arguments[end + 1..]);
        let event = b"42[\"msg\"";
        let mut message = vec![];
        frame::encode_head(&mut message, frame::TEXT, event.len() + rest.len());
        message.extend_from_slice(event);
        message.extend_from_slice(rest);
        let Some(members) = self.rooms.get_mut(room).map(mem::take) else { return };
        for &member in &members {
            self.deliveries += 1;
            if !self.drop_every.is_some_and(|every| self.deliveries.is_multiple_of(every)) {
                self.send(member, &message);
            }
        }
        self.rooms.insert(room.to_vec(), members);
    }
}

/// Writes as much as the kernel takes, and returns how much. A dead connection takes all: its end is read later.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return bytes.len(),
        }
    }
    written
}
