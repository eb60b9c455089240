//! The parsers of this crate for the fuzz targets. No part of the API.

use std::net::{IpAddr, SocketAddr};

use crate::client::forwarded::{self, ForwardedHeader};
use crate::client::proxy_protocol;
use crate::http::answer::{self, Asked};
use crate::http::body::{self, Framing};
use crate::http::fields::accept;
use crate::http::request;
use crate::route::affinity::Affinity;
use crate::route::target::EnginePaths;

pub use crate::client::forwarded::ForwardedHeader as Header;

/// The longest head of a request, in bytes.
pub const MAX_REQUEST_HEAD: usize = crate::http::head::MAX_HEAD;
/// The longest head of an answer that comes in parts, in bytes.
pub const MAX_ANSWER_HEAD: usize = answer::MAX_HEAD;
/// The longest header of the PROXY protocol, in bytes.
pub const MAX_PROXY_HEADER: usize = proxy_protocol::MAX_HEADER;
/// The key that answers are read for.
pub const WEBSOCKET_KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

/// The end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The message has no body.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// With an empty chunk.
    Chunked,
    /// With the connection.
    Close,
}

impl From<Framing> for Body {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Empty,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked,
            Framing::Close => Self::Close,
        }
    }
}

impl From<Body> for Framing {
    fn from(body: Body) -> Self {
        match body {
            Body::Empty => Self::Empty,
            Body::Length(length) => Self::Length(length),
            Body::Chunked => Self::Chunked,
            Body::Close => Self::Close,
        }
    }
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The bytes that were read.
    pub length: usize,
    /// The head for the node.
    pub written: Vec<u8>,
    /// The body that follows.
    pub body: Body,
    /// True if it asks for a WebSocket.
    pub upgrades: bool,
    /// The address of the client.
    pub client: IpAddr,
}

/// Reads the head of a request. Peers in 10.0.0.0/8 are trusted proxies. The error names the refusal.
///
/// # Errors
///
/// The head is refused.
pub fn request_head(input: &[u8], peer: IpAddr) -> Result<Option<RequestHead>, &'static str> {
    let engine = EnginePaths::new(["/socket.io/"]);
    let forwarding = forwarding(Header::XForwarded);
    let peer = SocketAddr::new(peer, 50_000);
    let context = request::RequestContext {
        engine: &engine,
        affinity: &Affinity::Address,
        forwarding: &forwarding,
        peer,
        tls: false,
        recorded: false,
    };
    let read = request::Request::read(input, &context).map_err(|refusal| refusal.reason())?;
    Ok(read.map(|(request, length)| RequestHead {
        length,
        body: request.body.into(),
        upgrades: request.upgrade.is_some(),
        client: request.client,
        written: request.head,
    }))
}

/// The request that an answer is for.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The request asked for a WebSocket with [`WEBSOCKET_KEY`].
    pub upgrade: bool,
    /// The request was a HEAD.
    pub bodiless: bool,
    /// The client supports chunks.
    pub chunks: bool,
    /// The connection ends behind the answer.
    pub close: bool,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// The bytes that were read.
    pub length: usize,
    /// The head for the client.
    pub written: Vec<u8>,
    /// The status.
    pub status: u16,
    /// The body as the node sends it.
    pub body: Body,
    /// The body as the client gets it.
    pub sent: Body,
    /// True if the WebSocket is open.
    pub switched: bool,
}

/// Reads the head of an answer.
///
/// # Errors
///
/// The answer can't be passed on.
pub fn answer_head(input: &[u8], expected: Expected) -> Result<Option<AnswerHead>, String> {
    let Expected { upgrade, bodiless, chunks, close } = expected;
    let asked = Asked { upgrade: upgrade.then(|| accept(WEBSOCKET_KEY)), bodiless, chunks, close };
    let mut written = vec![];
    let write = |head: &answer::AnswerHead<'_>| {
        head.write(&mut written);
        Ok(())
    };
    let read = answer::read(input, &asked, write).map_err(|error| error.to_string())?;
    Ok(read.map(|(answer, sent, length)| AnswerHead {
        length,
        written,
        status: answer.status,
        body: answer.body.into(),
        sent: sent.into(),
        switched: answer.switched,
    }))
}

/// A decoder of a body.
#[derive(Clone, Copy, Debug)]
pub struct Decoder(body::Decoder);

impl Decoder {
    /// A decoder at the beginning of a body.
    pub fn new(body: Body) -> Self {
        Self(body::Decoder::new(body.into()))
    }

    /// Takes the next piece of the body from the front of the input.
    ///
    /// # Errors
    ///
    /// The framing is malformed.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, String> {
        self.0.next(input).map_err(|error| error.to_string())
    }

    /// Returns true if the body is complete.
    pub fn is_done(&self) -> bool {
        self.0.is_done()
    }
}

/// Returns a body of these pieces, which must not be empty, in its framing.
pub fn encode<'a>(body: Body, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = vec![];
    for piece in pieces {
        body::encode(body.into(), piece, &mut out);
    }
    body::finish(body.into(), &mut out);
    out
}

/// Reads a header of the PROXY protocol: its length, and the client's address if it names one.
///
/// # Errors
///
/// The input starts with no header.
pub fn proxy_header(input: &[u8]) -> Result<Option<(usize, Option<SocketAddr>)>, String> {
    let read = proxy_protocol::parse(input).map_err(|error| error.to_string())?;
    Ok(read.map(|header| (header.length, header.addresses.map(|addresses| addresses.source))))
}

/// The origin of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The address of the client.
    pub client: IpAddr,
    /// True if the client came over TLS.
    pub secure: bool,
    /// The host that the client asked for.
    pub host: Option<Vec<u8>>,
    /// The fields for the node, as lines.
    pub written: Vec<u8>,
}

/// Reads the origin of a request over TLS or not from its fields. Peers in 10.0.0.0/8 are trusted proxies.
pub fn origin(header: Header, peer: IpAddr, tls: bool, host: Option<&[u8]>, fields: &[(&[u8], &[u8])]) -> Origin {
    let forwarding = forwarding(header);
    let origin = forwarding.read(peer, tls, host, fields.iter().copied());
    let mut written = vec![];
    origin.write(&mut written);
    Origin { client: origin.client(), secure: origin.is_secure(), host: origin.host().map(<[u8]>::to_vec), written }
}

/// Returns true if a field of this name from this peer is not passed on.
pub fn replaces(peer: IpAddr, name: &[u8]) -> bool {
    forwarding(Header::XForwarded).read(peer, false, None, std::iter::empty()).replaces(name)
}

fn forwarding(header: ForwardedHeader) -> forwarded::Forwarding {
    forwarded::Forwarding::new("10.0.0.0/8".parse().into_iter().collect(), header, vec![])
}
