//! An Engine.IO session by polling. Each request goes on a connection of its own, so that it arrives at any worker.

use std::net::SocketAddr;

use serde_json::Value;

use crate::http::{Response, get, post};

/// The packets of a payload.
pub fn packets(payload: &str) -> Vec<String> {
    payload.split('\u{1e}').map(str::to_owned).collect()
}

#[derive(Clone, Debug)]
pub struct Polling {
    pub addr: SocketAddr,
    pub sid: String,
    /// With the query of all its requests.
    pub target: String,
    /// What the server told at the handshake.
    pub handshake: Value,
    /// What came behind the handshake.
    pub early: Vec<String>,
}

impl Polling {
    /// Opens a session under a path, which ends with a slash.
    pub async fn open(addr: SocketAddr, path: &str) -> Self {
        let base = format!("{path}?EIO=4&transport=polling");
        let response = get(addr, &base).await;
        assert_eq!(response.status, 200, "{response:?}");
        let mut early = packets(response.text());
        let open = early.remove(0);
        let handshake: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        let sid = handshake["sid"].as_str().unwrap().to_owned();
        Self { addr, target: format!("{base}&sid={sid}"), sid, handshake, early }
    }

    /// Where its WebSocket is asked for.
    pub fn upgrade_target(&self) -> String {
        self.target.replace("transport=polling", "transport=websocket")
    }

    pub async fn poll(&self) -> Response {
        get(self.addr, &self.target).await
    }

    pub async fn post(&self, body: &str) -> Response {
        post(self.addr, &self.target, body).await
    }

    /// Sends packets that are taken.
    pub async fn send(&self, body: &str) {
        assert_eq!(self.post(body).await.brief(), (200, "ok"));
    }

    /// The payload of the next poll.
    pub async fn receive(&self) -> String {
        let response = self.poll().await;
        assert_eq!(response.status, 200, "{response:?}");
        response.text().to_owned()
    }
}
