//! The admin UI costs nothing while nobody looks.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{AdminMode, AdminOptions};
use crate::handler::registry::Handlers;
use crate::server::Server;
use crate::testing::TestServer;

/// The number of listeners of a namespace.
fn listeners(io: &Server) -> usize {
    let Handlers { events, any, any_outgoing, connect, disconnecting, disconnect, rooms, .. } = &*io.setup().snapshot();
    events.len() + any.len() + any_outgoing.len() + connect.len() + disconnecting.len() + disconnect.len() + rooms.len()
}

/// The number of own listeners of each socket.
async fn own_listeners(io: &Server) -> Vec<usize> {
    let count = |own: &Handlers| own.any.len() + own.disconnect.len() + usize::from(own.tap.is_some());
    let (sender, receiver) = std::sync::mpsc::channel();
    let sockets = crate::thread::ask_threads(io.inner.engine(), |thread| {
        thread.spread(100).iter().map(|socket| socket.socket()).filter(|socket| socket.namespace().name() == "/").collect::<Vec<_>>()
    });
    for socket in sockets.await.into_iter().flatten() {
        let sender = sender.clone();
        socket.configure(move |own| {
            let _ = sender.send(count(own));
        });
    }
    drop(sender);
    tokio::task::spawn_blocking(move || receiver.iter().collect()).await.unwrap_or_default()
}

#[tokio::test]
async fn listeners_are_there_only_while_someone_looks() {
    let io = Server::builder().build().unwrap();
    let hash = bcrypt::hash("changeit", 4).unwrap();
    io.admin(AdminOptions::new([("ada", hash)]).mode(AdminMode::Development)).unwrap();
    let server = TestServer::start(&io).unwrap();
    let client = server.connect().await.unwrap();
    assert_eq!((listeners(&io), own_listeners(&io).await), (0, vec![0]));
    for _ in 0..2 {
        let page = server.client().namespace("/admin").auth(&json!({ "username": "ada", "password": "changeit" })).connect().await.unwrap();
        page.expect("all_sockets").await.unwrap();
        assert_eq!((listeners(&io), own_listeners(&io).await), (2, vec![3]));
        page.disconnect();
        let deadline = Instant::now() + Duration::from_secs(15);
        while listeners(&io) > 0 || own_listeners(&io).await != [0] {
            assert!(Instant::now() < deadline, "listeners remain");
            tokio::task::yield_now().await;
        }
    }
    client.sync().await.unwrap();
}
