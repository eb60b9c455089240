//! Properties that hold for every input of a decoder or a parser. Each function panics if its property does not hold.
//!
//! Each checks more than the absence of panics. Decoded values can be encoded and decoded again. Outputs are no larger
//! than the input allows. Limits hold, and the split of an input does not matter. The fuzzer calls these functions with
//! generated inputs, and the tests of this crate with those of `fuzz/corpus`.

mod args;
mod deflate;
mod engine;
mod engine_v3;
mod forwarded;
mod frames;
mod http_answer;
mod http_body;
mod http_request;
mod id;
mod json;
mod msgpack;
mod packets;
mod proxy_protocol;
mod query;
mod value;
mod websocket;

pub use args::{args_json, args_msgpack};
pub use deflate::deflate;
pub use engine::{engine_packet, engine_payload};
pub use engine_v3::engine_v3_payload;
pub use forwarded::forwarded;
pub use frames::frames;
pub use http_answer::http_answer_head;
pub use http_body::http_body;
pub use http_request::http_request_head;
pub use id::id;
pub use json::json_decoder;
pub use msgpack::msgpack_decoder;
pub use packets::packets;
pub use proxy_protocol::proxy_protocol;
pub use query::query;
pub use value::value;
pub use websocket::websocket_decoder;

/// A check of an input.
pub type Check = fn(&[u8]);

/// Every check by the name of its fuzz target and of its folder of inputs.
pub const ALL: [(&str, Check); 19] = [
    ("args_json", args_json),
    ("args_msgpack", args_msgpack),
    ("deflate", deflate),
    ("engine_packet", engine_packet),
    ("engine_payload", engine_payload),
    ("engine_v3_payload", engine_v3_payload),
    ("forwarded", forwarded),
    ("frames", frames),
    ("http_answer_head", http_answer_head),
    ("http_body", http_body),
    ("http_request_head", http_request_head),
    ("id", id),
    ("json_decoder", json_decoder),
    ("msgpack_decoder", msgpack_decoder),
    ("packets", packets),
    ("proxy_protocol", proxy_protocol),
    ("query", query),
    ("value", value),
    ("websocket_decoder", websocket_decoder),
];
