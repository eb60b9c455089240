//! An Engine.IO session by polling. Each request uses a connection of its own, so any worker may get it.

use std::net::SocketAddr;

use serde_json::Value;

use crate::client::Revision;
use crate::http::{Response, get, post};

/// The packets of a payload of the fourth revision.
pub fn packets(payload: &str) -> Vec<String> {
    payload.split('\u{1e}').map(str::to_owned).collect()
}

/// The packets of a payload of the third revision: each behind its length in UTF-16 units and a colon.
fn packets_v3(payload: &str) -> Vec<String> {
    let mut packets = vec![];
    let mut rest = payload;
    while let Some((length, behind)) = rest.split_once(':') {
        let mut units = length.parse::<usize>().unwrap();
        let end = behind.char_indices().find(|(_, c)| {
            let ends = units == 0;
            units -= if ends { 0 } else { c.len_utf16() };
            ends
        });
        let (packet, more) = behind.split_at(end.map_or(behind.len(), |(at, _)| at));
        packets.push(packet.to_owned());
        rest = more;
    }
    packets
}

#[derive(Clone, Debug)]
pub struct Polling {
    pub addr: SocketAddr,
    pub revision: Revision,
    pub sid: String,
    /// With the query of all its requests.
    pub target: String,
    /// The handshake of the server.
    pub handshake: Value,
    /// The packets that came behind the handshake.
    pub early: Vec<String>,
}

impl Polling {
    /// Opens a session under a path, which ends with a slash.
    pub async fn open(addr: SocketAddr, path: &str) -> Self {
        Self::open_at(addr, &format!("{path}?EIO=4&transport=polling"), Revision::V4).await
    }

    /// Opens a session of the third revision, of a client that takes no binary payloads.
    pub async fn open_v3(addr: SocketAddr, path: &str) -> Self {
        Self::open_at(addr, &format!("{path}?EIO=3&transport=polling&b64=1"), Revision::V3).await
    }

    /// Opens a session by a request to this target.
    async fn open_at(addr: SocketAddr, target: &str, revision: Revision) -> Self {
        Self::opened(addr, target, revision, &get(addr, target).await)
    }

    /// Opens a session by a request to this target. `Err` if it is refused.
    pub async fn try_open(addr: SocketAddr, target: &str) -> Result<Self, Response> {
        match get(addr, target).await {
            response if response.status == 200 => Ok(Self::opened(addr, target, Revision::V4, &response)),
            refused => Err(refused),
        }
    }

    /// The session that a response has opened.
    pub fn opened(addr: SocketAddr, target: &str, revision: Revision, response: &Response) -> Self {
        assert_eq!(response.status, 200, "{response:?}");
        let mut early = if revision == Revision::V3 { packets_v3(response.text()) } else { packets(response.text()) };
        let open = early.remove(0);
        let handshake: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        let sid = handshake["sid"].as_str().unwrap().to_owned();
        Self { addr, revision, target: format!("{target}&sid={sid}"), sid, handshake, early }
    }

    /// The target by which its WebSocket is asked for.
    pub fn upgrade_target(&self) -> String {
        self.target.replace("transport=polling", "transport=websocket")
    }

    pub async fn poll(&self) -> Response {
        get(self.addr, &self.target).await
    }

    pub async fn post(&self, body: &str) -> Response {
        post(self.addr, &self.target, body).await
    }

    /// Posts packets in the payload of its revision.
    pub async fn post_packets(&self, packets: &[&str]) -> Response {
        let framed = |packet: &&str| format!("{}:{packet}", packet.encode_utf16().count());
        match self.revision {
            Revision::V3 => self.post(&packets.iter().map(framed).collect::<String>()).await,
            Revision::V4 => self.post(&packets.join("\u{1e}")).await,
        }
    }

    /// Sends a payload that is taken.
    pub async fn send(&self, body: &str) {
        assert_eq!(self.post(body).await.brief(), (200, "ok"));
    }

    /// The payload of the next poll.
    pub async fn receive(&self) -> String {
        let response = self.poll().await;
        assert_eq!(response.status, 200, "{response:?}");
        response.text().to_owned()
    }

    /// The packets of a payload of its revision.
    pub fn packets(&self, payload: &str) -> Vec<String> {
        if self.revision == Revision::V3 { packets_v3(payload) } else { packets(payload) }
    }
}
