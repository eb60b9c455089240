//! WebSockets over HTTP/2 (RFC 8441).

use http::StatusCode;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::setup::{World, ask, empty, get, text, until, websocket};
use crate::world::PATIENCE;

/// Opens WebSockets on new connections, up to `each` on one, until one is refused. Gives how many there are, how they are held, and the refusal.
async fn open_all(world: &World, each: usize) -> (usize, Vec<Box<dyn std::any::Any>>, Option<StatusCode>) {
    let (mut open, mut held): (usize, Vec<Box<dyn std::any::Any>>) = (0, vec![]);
    while open < 200 {
        let stream = TcpStream::connect(world.address).await.unwrap();
        let tls = TlsConnector::from(world.certificate.client("h2")).connect(ServerName::try_from("localhost").unwrap(), stream);
        // A connection too many is closed.
        let Ok(stream) = tls.await else { return (open, held, None) };
        let Ok((mut client, connection)) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await else {
            return (open, held, None);
        };
        tokio::spawn(connection);
        match timeout(PATIENCE, client.send_request(get("/head").body(empty()).unwrap())).await.unwrap() {
            Ok(answer) if answer.status() == StatusCode::OK => drop(text(answer.into_body()).await),
            Ok(answer) => return (open, held, Some(answer.status())),
            Err(_) => return (open, held, None),
        }
        for _ in 0..each {
            let answer = timeout(PATIENCE, client.send_request(websocket())).await.unwrap().unwrap();
            if answer.status() != StatusCode::OK {
                held.push(Box::new(client));
                return (open, held, Some(answer.status()));
            }
            open += 1;
            held.push(Box::new(answer));
        }
        held.push(Box::new(client));
    }
    (open, held, None)
}

#[tokio::test]
async fn websocket_carries_bytes_both_ways_on_a_stream() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    // The answer shows the client that WebSockets are allowed.
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
    let mut answer = timeout(PATIENCE, client.send_request(websocket())).await.unwrap().unwrap();
    assert_eq!((answer.status(), answer.headers()["sec-websocket-protocol"].to_str().unwrap()), (StatusCode::OK, "chat"));
    assert!(["sec-websocket-accept", "upgrade"].iter().all(|name| !answer.headers().contains_key(*name)));
    let (mut read, mut write) = tokio::io::split(TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap()));
    // More than all that may wait on the way.
    let sent = "0123456789abcdef".repeat(100_000);
    let bytes = sent.clone().into_bytes();
    tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut came = String::new();
    timeout(PATIENCE, read.read_to_string(&mut came)).await.unwrap().unwrap();
    assert!(came == sent, "{} of {} bytes", came.len(), sent.len());

    let mut other = websocket();
    other.extensions_mut().insert(Protocol::from_static("connect-ip"));
    assert_eq!(ask(&mut client, other).await.0, StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn websockets_of_one_connection_count_as_connections() {
    let world = World::new(|options| options.max_connections = 20).await;
    let (open, held, refused) = open_all(&world, 100).await;
    assert!((19..=20).contains(&open), "{open} WebSockets");
    assert_eq!((refused, world.balancer.connections()), (Some(StatusCode::SERVICE_UNAVAILABLE), 20));
    drop(held);
    until("all connections have ended", || world.balancer.connections() == 0).await;
}

#[tokio::test]
async fn websockets_of_one_address_are_limited() {
    let world = World::new(|options| options.max_connections_per_address = Some(15)).await;
    let (open, held, refused) = open_all(&world, 100).await;
    assert!((14..=15).contains(&open) && refused == Some(StatusCode::TOO_MANY_REQUESTS), "{open}, then {refused:?}");
    drop(held);
    until("all connections have ended", || world.balancer.connections() == 0).await;
    let (open, ..) = open_all(&world, 1).await;
    assert!((14..=15).contains(&open), "{open} on connections of their own");
}
