//! The formats that Sociable speaks, without I/O: bytes and text in, packets out, and back.
//!
//! # Layout
//!
//! In the order in which to read:
//!
//! * [`engine`]: Engine.IO, the connection under Socket.IO: its packets, and the payloads of long-polling.
//! * [`packet`]: the packets of Socket.IO: what they mean, not how they are written.
//! * [`args`]: the arguments of an event or acknowledgement, kept as they came until a type is asked for.
//! * [`parser`]: how Socket.IO packets are written: as JSON with attachments, or as MessagePack.
//! * [`value`]: a JSON value that may hold binary, for code that does not know its types in advance.
//! * [`websocket`]: frames, the form in which encoded packets are queued, shared and sent.
//! * [`id`]: the ids of sessions and sockets, which carry the process that made them.
//! * [`health`], [`Announcement`]: what nodes tell balancers, and each other.
//! * [`query`]: the query of a request: what node and balancer take it for.
//! * [`log`]: how logs show names and ids that others chose.
//! * [`TraceContext`]: a span as other processes name it.
//! * [`maps`]: hash maps, by who chooses their keys. [`Latency`]: a histogram of times.
//!
//! # Rules of the house
//!
//! * Nothing here recurses as deep as its input says, takes memory that has only been promised, or panics on what came from outside.
//! * What comes in is sliced, not copied; what goes out is encoded once.
//!
//! ```
//! use sociable_protocol::{Body, JsonParser, Parser};
//!
//! let parser = JsonParser::default();
//! let packet = parser.decoder().text(r#"2["greet","Ada",36]"#.into())?.expect("no attachments are awaited");
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
