//! Envelopes and records of the bus, as bytes. `docs/wire-format.md` describes the format for other languages.
//!
//! An envelope names its publisher, and its number among those of the publisher. A record is one message, question or
//! answer. Names and arguments of events are encoded as packets for clients, so their parsers check them on arrival.
//!
//! Decoded records share no buffer with the envelope. The client reads into blocks of 64 KiB, and one small event in an
//! outbox would hold a block.
//!
//! * `format`: the parts of the format. `encode`, `decode`: records to bytes and back. `traces`: the trace contexts of records.

mod decode;
mod encode;
mod format;
#[cfg(test)]
mod tests;
mod traces;

pub(crate) use self::decode::{Reader, decode_value, records};
pub(crate) use self::encode::{
    encode_answer, encode_cancel, encode_end, encode_lost, encode_message, encode_order, encode_persisted, encode_refused, encode_request,
    encode_value, is_order,
};
pub(crate) use self::format::{HEAD, Head, LIMITS, PersistedEvent, Publisher, Record, VERSIONS, common_version};
pub(crate) use self::traces::{PackedTraces, Traces};
