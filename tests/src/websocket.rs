//! A WebSocket as bytes, which answers nothing itself.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::http::{Connection, Response};
use crate::within;

/// A byte stream, plain or encrypted.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// The example of RFC 6455, and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// With its status code, if it has one.
    Close(Option<u16>),
    /// A compressed message, text or binary.
    Deflated(Vec<u8>),
}

/// A frame as a client sends it. `head` is its first byte.
pub fn masked(head: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = vec![head];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The request that opens a WebSocket.
pub fn upgrade_request(target: &str, headers: &[(&str, &str)]) -> String {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

pub struct WebSocket {
    stream: Box<dyn Io>,
    read: Vec<u8>,
    /// The response that opened it.
    pub response: Response,
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}

impl WebSocket {
    pub async fn open(addr: SocketAddr, target: &str) -> Self {
        Self::try_open(addr, target, &[]).await.unwrap_or_else(|response| panic!("refused: {response:?}"))
    }

    /// Opens a session of Engine.IO. Returns its id, too.
    pub async fn session(addr: SocketAddr, target: &str) -> (Self, String) {
        let mut socket = Self::open(addr, target).await;
        let sid = socket.handshake().await;
        (socket, sid)
    }

    /// With more headers. `Err` if it is refused.
    pub async fn try_open(addr: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Result<Self, Response> {
        Self::over(Connection::open(addr).await, target, headers).await
    }

    pub async fn over(mut connection: Connection, target: &str, headers: &[(&str, &str)]) -> Result<Self, Response> {
        connection.send(upgrade_request(target, headers)).await;
        Self::opened(connection).await
    }

    /// On a connection on which the request was sent.
    pub async fn opened(mut connection: Connection) -> Result<Self, Response> {
        let response = connection.response().await.unwrap();
        if response.status != 101 {
            return Err(response);
        }
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        assert!(response.header("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
        assert!(response.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
        let (stream, read) = connection.into_parts();
        Ok(Self { stream, read, response })
    }

    /// Sends raw bytes. Bytes that the other side does not accept are lost, as on every network.
    pub async fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    pub async fn send(&mut self, text: &str) {
        self.send_raw(masked(0x81, text)).await;
    }

    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.send_raw(masked(0x82, bytes)).await;
    }

    /// Sends a close frame and ends this side.
    pub async fn close(&mut self) {
        self.send_raw(masked(0x88, [])).await;
    }

    /// The next frame. `None` when the connection has ended.
    #[track_caller]
    pub fn frame(&mut self) -> impl Future<Output = Option<Frame>> {
        within("a frame", self.read_frame())
    }

    /// The next frame, which is text.
    #[track_caller]
    pub fn text(&mut self) -> impl Future<Output = String> {
        let frame = self.frame();
        async move {
            match frame.await {
                Some(Frame::Text(text)) => text,
                other => panic!("no text, but {other:?}"),
            }
        }
    }

    /// Takes the handshake of Engine.IO, which has to be next. Returns the id of the session.
    pub async fn handshake(&mut self) -> String {
        let open = self.text().await;
        let handshake: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        handshake["sid"].as_str().unwrap().to_owned()
    }

    /// Returns all frames until the end.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = vec![];
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }

    async fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = parse(&self.read) {
                self.read.drain(..length);
                return Some(frame);
            }
            self.read.reserve(16 * 1024);
            if !self.stream.read_buf(&mut self.read).await.is_ok_and(|length| length > 0) {
                return None;
            }
        }
    }
}

/// The first frame of some bytes, if it is complete, and its length.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(first & 0xb0, 0x80, "the server sends whole messages, and no reserved bit but that of compression");
    assert_eq!(second & 0x80, 0, "the server does not mask");
    let (start, length) = match second {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize),
        short => (2, short as usize),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    let frame = match first & 0x4f {
        0x41 | 0x42 => Frame::Deflated(payload),
        1 => Frame::Text(String::from_utf8(payload).unwrap()),
        2 => Frame::Binary(payload),
        8 => Frame::Close(payload.get(..2).map(|code| u16::from_be_bytes(code.try_into().unwrap()))),
        9 => Frame::Ping(payload),
        10 => Frame::Pong(payload),
        other => panic!("a frame of kind {other}"),
    };
    Some((frame, start + length))
}

/// Bytes as polling carries them.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap()
}
