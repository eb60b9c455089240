//! HTTP/1.1, as far as a proxy needs it: heads and bodies, without I/O.

pub(crate) mod answer;
mod body;
pub(crate) mod head;
pub(crate) mod refusal;

pub(crate) use body::{Decoder, Framing, encode, finish};
