//! Packets of Socket.IO, as clients write and read them.
//!
//! The tests have a codec of their own, so that a fault of the server's codec can't hide behind itself.

use std::borrow::Borrow;
use std::fmt;

use serde_json::{Value, json};

/// A packet with its attachments. Builders make the packets that a test sends, and those that it expects.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    pub kind: Kind,
    pub namespace: String,
    /// The id of the acknowledgement that an event asks for, or that an ack is.
    pub id: Option<u64>,
    /// The payload; null without one. Events have an array of their name and arguments, acks one of arguments.
    pub data: Value,
    pub attachments: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
}

/// A request to join the main namespace, without auth.
pub fn connect() -> Packet {
    Packet::new(Kind::Connect, Value::Null)
}

/// The end of a socket in the main namespace, from either side.
pub fn disconnect() -> Packet {
    Packet::new(Kind::Disconnect, Value::Null)
}

/// An event of the main namespace. An array is the list of arguments, `()` stands for none, anything else is the only one.
pub fn event(name: &str, args: impl Into<Value>) -> Packet {
    let mut data = vec![json!(name)];
    data.extend(list(args.into()));
    Packet::new(Kind::Event, Value::Array(data))
}

/// The acknowledgement of an event. Arguments are given as for [`event`].
pub fn ack(id: u64, args: impl Into<Value>) -> Packet {
    Packet { id: Some(id), ..Packet::new(Kind::Ack, Value::Array(list(args.into()))) }
}

/// The answer of a namespace that refuses a client.
pub fn connect_error(message: &str) -> Packet {
    Packet::new(Kind::ConnectError, json!({ "message": message }))
}

/// The place of an attachment in the payload of its packet.
pub fn attachment(number: usize) -> Value {
    json!({ "_placeholder": true, "num": number })
}

fn list(args: Value) -> Vec<Value> {
    match args {
        Value::Array(args) => args,
        Value::Null => vec![],
        single => vec![single],
    }
}

impl Packet {
    fn new(kind: Kind, data: Value) -> Self {
        Self { kind, namespace: "/".to_owned(), id: None, data, attachments: vec![] }
    }

    /// Sets another namespace.
    pub fn of(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// With the id under which its acknowledgement is to come.
    pub fn id(mut self, id: u64) -> Self {
        self.id = Some(id);
        self
    }

    /// With auth, or what else a packet carries that is no event.
    pub fn data(mut self, data: impl Into<Value>) -> Self {
        self.data = data.into();
        self
    }

    /// With one more attachment, which its payload names by [`attachment`].
    pub fn attach(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.attachments.push(bytes.into());
        self
    }

    /// The name of an event.
    #[track_caller]
    pub fn name(&self) -> &str {
        assert_eq!(self.kind, Kind::Event, "{self:?}");
        self.data[0].as_str().unwrap()
    }

    /// The arguments of an event or of an acknowledgement.
    #[track_caller]
    pub fn args(&self) -> &[Value] {
        let data = self.data.as_array().unwrap_or_else(|| panic!("no arguments: {self:?}"));
        if self.kind == Kind::Event { &data[1..] } else { data }
    }

    /// The text of a packet, and how many attachments come behind it.
    #[track_caller]
    pub fn parse(text: &str) -> (Self, usize) {
        Self::try_parse(text).unwrap_or_else(|| panic!("no packet: {text}"))
    }

    fn try_parse(text: &str) -> Option<(Self, usize)> {
        let (kind, mut rest) = text.split_at_checked(1)?;
        let (kind, binary) = match kind {
            "0" => (Kind::Connect, false),
            "1" => (Kind::Disconnect, false),
            "2" => (Kind::Event, false),
            "3" => (Kind::Ack, false),
            "4" => (Kind::ConnectError, false),
            "5" => (Kind::Event, true),
            "6" => (Kind::Ack, true),
            _ => return None,
        };
        let mut attachments = 0;
        if binary {
            let (count, behind) = rest.split_once('-')?;
            (attachments, rest) = (count.parse().ok()?, behind);
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',')?;
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (id, payload) = rest.split_at(digits);
        let id = if id.is_empty() { None } else { Some(id.parse().ok()?) };
        let data = if payload.is_empty() { Value::Null } else { serde_json::from_str(payload).ok()? };
        Some((Self { kind, namespace: namespace.to_owned(), id, data, attachments: vec![] }, attachments))
    }
}

/// The text of the packet; attachments follow it as messages of their own.
impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = !self.attachments.is_empty();
        let digit = match self.kind {
            Kind::Connect => '0',
            Kind::Disconnect => '1',
            Kind::Event => {
                if binary {
                    '5'
                } else {
                    '2'
                }
            }
            Kind::Ack => {
                if binary {
                    '6'
                } else {
                    '3'
                }
            }
            Kind::ConnectError => '4',
        };
        write!(f, "{digit}")?;
        if binary {
            write!(f, "{}-", self.attachments.len())?;
        }
        if self.namespace != "/" {
            write!(f, "{},", self.namespace)?;
        }
        if let Some(id) = self.id {
            write!(f, "{id}")?;
        }
        if self.data.is_null() { Ok(()) } else { write!(f, "{}", self.data) }
    }
}

/// The text message of Engine.IO that carries a packet without attachments.
pub fn message(packet: impl Borrow<Packet>) -> String {
    format!("4{}", packet.borrow())
}
