//! A socket as the admin UI shows it. Its parts are cut, so that no client can make the report long.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde_json::{Map, Value, json};
use sociable_engine::{Handshake, Transport};
use sociable_protocol::{Args, Encoding};
use time::OffsetDateTime;

use crate::socket::Socket;
use crate::trace::plain;

/// Most bytes of the data, of the headers and of the query, each.
const MAX_PART: usize = 2048;

/// Most bytes of the URL.
const MAX_URL: usize = 512;

/// Most rooms, and the longest name of a room in bytes.
const MAX_ROOMS: usize = 50;
const MAX_ROOM: usize = 256;

/// Headers that are credentials.
const SECRET: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SerializedSocket<'a> {
    id: String,
    client_id: &'a str,
    transport: &'static str,
    nsp: &'a str,
    data: Value,
    handshake: SerializedHandshake<'a>,
    rooms: Vec<String>,
}

#[derive(Serialize)]
struct SerializedHandshake<'a> {
    address: String,
    headers: Map<String, Value>,
    query: Map<String, Value>,
    issued: u64,
    secure: bool,
    time: String,
    url: &'a str,
    xdomain: bool,
}

impl<'a> SerializedSocket<'a> {
    pub(super) fn new(socket: &'a Socket, client_id: &'a str, transport: Transport) -> Self {
        let rooms = socket.rooms();
        let rooms = rooms.iter().take(MAX_ROOMS).map(|room| cut(room, MAX_ROOM).to_owned()).collect();
        Self {
            id: socket.id().as_str().to_owned(),
            client_id,
            transport: transport.as_str(),
            nsp: socket.namespace().name(),
            data: data(socket),
            handshake: SerializedHandshake::new(socket.handshake()),
            rooms,
        }
    }
}

impl<'a> SerializedHandshake<'a> {
    fn new(handshake: &'a Handshake) -> Self {
        let shown = |(name, value): (&str, &str)| (name.to_owned(), if SECRET.contains(&name) { "(hidden)" } else { value }.to_owned());
        let issued = OffsetDateTime::from_unix_timestamp_nanos(i128::from(handshake.issued()) * 1_000_000).ok();
        Self {
            address: address(handshake),
            headers: within(handshake.headers().map(shown)),
            query: within(handshake.query().map(|(name, value)| (name.into_owned(), value.into_owned()))),
            issued: handshake.issued(),
            secure: handshake.secure(),
            time: issued.map(shown_time).unwrap_or_default(),
            url: cut(handshake.url(), MAX_URL),
            xdomain: handshake.xdomain(),
        }
    }
}

/// Returns the address of a client, as a proxy tells it, or else that of its connection.
pub(super) fn address(handshake: &Handshake) -> String {
    let proxied = handshake.header("cf-connecting-ip").or_else(|| handshake.header("x-forwarded-for"));
    let peer = || handshake.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
    proxied.map_or_else(peer, |address| plain(cut(address, MAX_ROOM)).to_string())
}

/// Returns a time as JavaScript writes it.
pub(super) fn shown_time(time: OffsetDateTime) -> String {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, millis) = time.to_hms_milli();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z", u8::from(month))
}

/// Returns the data of a socket. Its length replaces long data.
pub(super) fn data(socket: &Socket) -> Value {
    let Some(data) = socket.0.data() else { return json!({}) };
    let encoded = Args::encode(Encoding::Json, &data).ok();
    let text = encoded.as_ref().and_then(Args::raw_json).unwrap_or("{}");
    if text.len() > MAX_PART {
        return json!({ "bytes": text.len() });
    }
    serde_json::from_str(text).unwrap_or_default()
}

/// Returns a number that changes with the data.
pub(super) fn fingerprint(data: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Returns the first pairs that fit.
fn within(pairs: impl Iterator<Item = (String, String)>) -> Map<String, Value> {
    let mut left = MAX_PART;
    let fits = |(name, value): &(String, String)| {
        left = left.saturating_sub(name.len() + value.len());
        left > 0
    };
    pairs.take_while(fits).map(|(name, value)| (name, Value::String(value))).collect()
}

/// Returns the start of a text, up to a number of bytes.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_three_digits_of_a_second() {
        let at = |millis: i128| shown_time(OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000).unwrap());
        assert_eq!((&*at(1_700_000_000_500), &*at(0)), ("2023-11-14T22:13:20.500Z", "1970-01-01T00:00:00.000Z"));
    }

    #[test]
    fn pairs_and_texts_are_cut_at_their_bounds() {
        let pair = |name: &str, length: usize| (name.to_owned(), "é".repeat(length / 2));
        let kept = within([pair("a", 1000), pair("b", 1000), pair("c", 1000)].into_iter());
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cut("aéé", 2), "a");
        assert_eq!(cut("a", 2), "a");
    }
}
