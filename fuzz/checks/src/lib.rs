//! What must hold for every input of a decoder: one function a decoder, which panics where it does not hold.
//!
//! Each asks for more than that nothing panics: what was read can be written and read again, what comes out is no larger than the
//! input allows, limits hold, and how an input was split is of no matter. The fuzzer calls these functions with inputs that
//! it makes up, the tests of this crate with those of `fuzz/corpus`.

mod args;
mod engine;
mod engine_v3;
mod frames;
mod id;
mod json;
mod msgpack;
mod packets;
mod query;
mod value;
mod websocket;

pub use args::{args_json, args_msgpack};
pub use engine::{engine_packet, engine_payload};
pub use engine_v3::engine_v3_payload;
pub use frames::frames;
pub use id::id;
pub use json::json_decoder;
pub use msgpack::msgpack_decoder;
pub use packets::packets;
pub use query::query;
pub use value::value;
pub use websocket::websocket_decoder;

/// What an input is held against.
pub type Check = fn(&[u8]);

/// Every check by the name of its fuzz target and of its folder of inputs.
pub const ALL: [(&str, Check); 13] = [
    ("args_json", args_json),
    ("args_msgpack", args_msgpack),
    ("engine_packet", engine_packet),
    ("engine_payload", engine_payload),
    ("engine_v3_payload", engine_v3_payload),
    ("frames", frames),
    ("id", id),
    ("json_decoder", json_decoder),
    ("msgpack_decoder", msgpack_decoder),
    ("packets", packets),
    ("query", query),
    ("value", value),
    ("websocket_decoder", websocket_decoder),
];
