//! Engine.IO, revision 4: packets on the wire, and the payloads of long-polling. [`v3`] is the revision before.
//!
//! Over WebSocket, a text frame is one [`Packet`] and a binary frame is one binary message. Over long-polling, the body of a request or response
//! joins packets by [`RECORD_SEPARATOR`]. A binary message is `b` and base64.

mod packet;
mod payload;
pub mod v3;

pub use packet::{OpenPacket, Packet, PacketError, PacketType};
pub use payload::{RECORD_SEPARATOR, decode_payload, encode_payload, in_base64};
