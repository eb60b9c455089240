//! A packet of Engine.IO.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use bytestring::ByteString;
use thiserror::Error;

/// Base64 with or without padding. The bits behind the last byte are ignored, as by the JavaScript server.
const UNPADDED: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Decodes base64 as Node does, which refuses nothing.
///
/// The URL alphabet is accepted too. The first `=` ends the text. Other characters are skipped, because Java clients break lines.
pub(super) fn from_base64(text: &str) -> Vec<u8> {
    UNPADDED.decode(text).unwrap_or_else(|_| {
        let digit = |byte| match byte {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            b'+' | b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => Some(byte),
            _ => None,
        };
        let mut digits: Vec<u8> = text.bytes().take_while(|&byte| byte != b'=').filter_map(digit).collect();
        if digits.len() % 4 == 1 {
            // A single digit is less than a byte.
            digits.pop();
        }
        UNPADDED.decode(digits).unwrap_or_default()
    })
}

/// The kinds of packets. Their numbers are the digits on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// The server's handshake.
    Open = 0,
    /// The session ends.
    Close = 1,
    /// The server's heartbeat, or a probe of a new transport.
    Ping = 2,
    /// The answer to a ping.
    Pong = 3,
    /// A message of the layer above.
    Message = 4,
    /// The client has moved to the new transport.
    Upgrade = 5,
    /// No content: ends a pending poll.
    Noop = 6,
}

impl PacketType {
    /// Returns the digit on the wire.
    pub const fn digit(self) -> char {
        (b'0' + self as u8) as char
    }
}

/// The server's handshake: the first packet of a session.
///
/// ```
/// use sociable_protocol::engine::OpenPacket;
///
/// let open = OpenPacket { sid: "x1", upgrades: &["websocket"], ping_interval: 25_000, ping_timeout: 20_000, max_payload: 1_000_000 };
/// assert_eq!(
///     open.encode(),
///     r#"0{"sid":"x1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPacket<'a> {
    /// The id of the session.
    pub sid: &'a str,
    /// The transports to which the client may upgrade.
    pub upgrades: &'a [&'a str],
    /// The time between two pings, in milliseconds.
    pub ping_interval: u64,
    /// The time to answer a ping, in milliseconds.
    pub ping_timeout: u64,
    /// The longest body of a request, in bytes.
    pub max_payload: u64,
}

impl OpenPacket<'_> {
    /// Returns the packet as text: exactly these keys, in this order.
    pub fn encode(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let upgrades = self.upgrades.iter().map(|name| text(name)).collect::<Vec<_>>().join(",");
        format!(
            r#"0{{"sid":{},"upgrades":[{upgrades}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            text(self.sid),
            self.ping_interval,
            self.ping_timeout,
            self.max_payload
        )
    }
}

/// A received packet. Its content is a slice of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A handshake. No proper client sends one to a server.
    Open,
    /// The client ends the session.
    Close,
    /// A ping, with the text to send back.
    Ping(ByteString),
    /// A pong, with the text of the ping.
    Pong(ByteString),
    /// A text message.
    Message(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// The client has moved to the transport on which this came.
    Upgrade,
    /// No content.
    Noop,
}

/// The error of a text that is no packet. The session cannot continue.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PacketError {
    /// The packet is empty, without even a type.
    #[error("empty packet: a packet begins with its type, a digit from 0 to 6")]
    Empty,
    /// The first character is not a type.
    #[error("unknown packet type {0:?}: a packet begins with a digit from 0 to 6, or with b and base64")]
    UnknownType(char),
    /// A packet in base64 (revision 3) is not a message.
    #[error("base64 packet is not a message: it has to begin with b4")]
    BadBase64,
    /// The length of a packet in a payload (revision 3) is not a number, or exceeds the payload.
    #[error("packet length malformed or too large")]
    BadLength,
    /// A text packet (revision 3) is not UTF-8.
    #[error("text packet is not UTF-8")]
    NotText,
}

impl Packet {
    /// Decodes a text frame, or one record of a payload. `b` and base64 is a binary message.
    ///
    /// ```
    /// use sociable_protocol::engine::Packet;
    ///
    /// assert_eq!(Packet::decode("2probe".into()), Ok(Packet::Ping("probe".into())));
    /// assert_eq!(Packet::decode("bAQID".into()), Ok(Packet::Binary(vec![1, 2, 3].into())));
    /// assert!(Packet::decode("x".into()).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// The type is missing or unknown.
    #[inline]
    pub fn decode(text: ByteString) -> Result<Packet, PacketError> {
        let Some(first) = text.chars().next() else { return Err(PacketError::Empty) };
        let body = &text[first.len_utf8()..];
        Ok(match first {
            '0' => Packet::Open,
            '1' => Packet::Close,
            '2' => Packet::Ping(text.slice_ref(body)),
            '3' => Packet::Pong(text.slice_ref(body)),
            '4' => Packet::Message(text.slice_ref(body)),
            '5' => Packet::Upgrade,
            '6' => Packet::Noop,
            'b' => Packet::Binary(from_base64(body).into()),
            other => return Err(PacketError::UnknownType(other)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_type_is_read() {
        let decode = |text: &str| Packet::decode(text.into());
        assert_eq!(decode("0{}"), Ok(Packet::Open));
        assert_eq!(decode("1"), Ok(Packet::Close));
        assert_eq!(decode("2"), Ok(Packet::Ping("".into())));
        assert_eq!(decode("3probe"), Ok(Packet::Pong("probe".into())));
        assert_eq!(decode("4"), Ok(Packet::Message("".into())));
        assert_eq!(decode("4hä"), Ok(Packet::Message("hä".into())));
        assert_eq!(decode("5"), Ok(Packet::Upgrade));
        assert_eq!(decode("6"), Ok(Packet::Noop));
        assert_eq!(decode("b"), Ok(Packet::Binary(Bytes::new())));
        assert_eq!(PacketType::Message.digit(), '4');
    }

    /// The bytes are the result of `Buffer.from(text, "base64")` in Node 20.
    #[test]
    fn base64_is_read_as_in_node() {
        let cases: [(&str, &[u8]); 21] = [
            ("AQI=", &[1, 2]),
            ("AQI", &[1, 2]),
            ("AQJ=", &[1, 2]),
            ("AQID\n", &[1, 2, 3]),
            ("AQ\r\nID\r\n", &[1, 2, 3]),
            ("\n A Q\tI D ", &[1, 2, 3]),
            ("-_-_", &[0xfb, 0xff, 0xbf]),
            ("+_-/", &[0xfb, 0xff, 0xbf]),
            ("AQ==", &[1]),
            ("AQ=", &[1]),
            ("AQ===", &[1]),
            ("AQI=\n", &[1, 2]),
            ("AQ=\n=", &[1]),
            ("AQID====", &[1, 2, 3]),
            ("AQ==AQID", &[1]),
            ("=AQID", &[]),
            ("A", &[]),
            ("AQIDA", &[1, 2, 3]),
            ("?A.Q\0I!D\u{7f}", &[1, 2, 3]),
            ("é🦀AQID€", &[1, 2, 3]),
            ("?", &[]),
        ];
        for (text, bytes) in cases {
            assert_eq!(Packet::decode(format!("b{text}").into()), Ok(Packet::Binary(Bytes::from_static(bytes))), "{text:?}");
        }
    }

    #[test]
    fn base64_is_read_with_foreign_characters_inside() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let lines = |width: usize, end: &str| {
            let text = UNPADDED.encode(&bytes);
            text.as_bytes().chunks(width).map(|line| format!("{}{end}", str::from_utf8(line).unwrap())).collect::<String>()
        };
        for text in
            [lines(76, "\n"), lines(64, "\r\n"), lines(1, " "), lines(3, "é"), lines(10_000, "").replace('+', "-").replace('/', "_")]
        {
            assert_eq!(from_base64(&text), bytes);
        }
    }

    #[test]
    fn multibyte_packet_does_not_panic() {
        // socketioxide #794: the type was cut off by bytes.
        for text in ["é", "🦀4", "\u{feff}4hello"] {
            assert!(Packet::decode(text.into()).is_err());
        }
        assert_eq!(Packet::decode("b🦀".into()), Ok(Packet::Binary(Bytes::new())));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-6b]?\\PC{0,20}") {
            let _ = Packet::decode(text.into());
        }
    }
}
