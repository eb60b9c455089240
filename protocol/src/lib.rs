//! The formats of Sociable, without I/O: decoding of bytes and text into packets, and encoding.
//!
//! # Layout
//!
//! In reading order:
//!
//! * [`engine`]: Engine.IO, the connection under Socket.IO: its packets, and the payloads of long-polling.
//! * [`packet`]: the packets of Socket.IO, apart from their encoding.
//! * [`args`]: the arguments of an event or acknowledgement, encoded until they are decoded into a type.
//! * [`parser`]: the encodings of Socket.IO packets: JSON with attachments, or MessagePack.
//! * [`value`]: a JSON value that may hold binary, for code that does not know its types in advance.
//! * [`websocket`]: frames, the form in which encoded packets are queued, shared and sent.
//! * [`id`]: the ids of sessions and sockets, which name their process.
//! * [`health`], [`Announcement`]: the reports of nodes to balancers and to each other.
//! * [`query`]: the query of a request, as node and balancer read it.
//! * [`log`]: the forms of foreign names and ids in logs.
//! * [`TraceContext`]: a span as other processes name it.
//! * [`maps`]: hash maps, by the origin of their keys. [`Latency`]: a histogram of durations.
//!
//! # Rules of this crate
//!
//! * No recursion as deep as the input, no memory for announced lengths, no panic on any input.
//! * Input is sliced, not copied. Output is encoded once.
//!
//! ```
//! use sociable_protocol::{Body, JsonParser, Parser};
//!
//! let parser = JsonParser::default();
//! let packet = parser.decoder().text(r#"2["greet","Ada",36]"#.into())?.expect("no attachments are expected");
//! let Body::Event { name, args, .. } = packet.body else { panic!("an event") };
//! assert_eq!(name, "greet");
//! assert_eq!(args.decode_all::<(String, u32)>()?, ("Ada".to_owned(), 36));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod announcement;
pub mod args;
pub mod engine;
pub mod health;
pub mod id;
mod latency;
pub mod log;
pub mod maps;
mod msgpack;
pub mod packet;
pub mod parser;
pub mod query;
pub mod trace_context;
pub mod value;
pub mod websocket;

pub use announcement::{Announcement, Occasion};
pub use args::{Args, ArgsBuilder, ArgsError, EncodeError, Encoding, Raw};
pub use health::Health;
pub use id::{Id, IdError, IdSource, NodeTag};
pub use latency::{Latency, Times};
pub use packet::{Body, Packet};
pub use parser::{DecodeError, Decoder, JsonParser, Limits, MsgPackParser, Parser};
pub use trace_context::TraceContext;
pub use value::Value;
pub use websocket::{Frames, FramesBuilder};

/// The code of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
