//! Requests of clients that keep to no rule.

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::setup::{SESSION, World, ask, empty, get, websocket};
use crate::world::PATIENCE;

/// A field as a client may write it that keeps to no rule: neither indexed nor compressed.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let (name_length, value_length) = (u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap());
    [&[0, name_length], name.as_bytes(), &[value_length], value.as_bytes()].concat()
}

/// Returns the kind of the frame that answers the request: 3 resets its stream, 7 ends its connection.
async fn answer_to(world: &World, path: &str, name: &str, value: &str) -> u8 {
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path), (name, value)];
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
    let mut stream = world.connect().await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers = [0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1];
    stream.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &headers, &block].concat()).await.unwrap();
    loop {
        let mut head = [0; 9];
        timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        if matches!(head[3], 1 | 3 | 7) {
            return head[3];
        }
    }
}

#[tokio::test]
async fn handshake_is_refused_when_its_sid_is_repeated() {
    let world = World::new(|_| {}).await;
    let mut client = world.client().await;
    assert_eq!(ask(&mut client, get("/head").body(empty()).unwrap()).await.0, StatusCode::OK);
    let (before, query) = (world.asked().len(), format!("sid={SESSION}&sid="));
    let request = get(&format!("/socket.io/?EIO=4&transport=polling&{query}")).body(empty()).unwrap();
    let (status, _, body) = ask(&mut client, request).await;
    assert_eq!((status, &*body), (StatusCode::BAD_REQUEST, r#"{"code":3,"message":"Bad request"}"#));
    let mut upgrade = websocket();
    *upgrade.uri_mut() = format!("https://localhost/socket.io/?EIO=4&transport=websocket&{query}").parse().unwrap();
    let (status, _, body) = ask(&mut client, upgrade).await;
    assert_eq!((status, &*body), (StatusCode::BAD_REQUEST, "Bad request"));
    assert_eq!(world.asked().len(), before);
}

#[tokio::test]
async fn request_is_refused_when_a_field_smuggles_a_line() {
    let world = World::new(|_| {}).await;
    for (name, value) in [
        ("x-a", "b\r\nx-c: d"),
        ("x-a", "b\nx-c: d"),
        ("x-a", "b\0"),
        ("x-a\r\nx-b", "c"),
        ("x-a: b", "c"),
        ("X-A", "b"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "websocket"),
        ("content-length", "5"),
        (":path", "/head"),
    ] {
        let answer = answer_to(&world, "/head", name, value).await;
        assert!(matches!(answer, 3 | 7), "{answer} to {name:?}: {value:?}");
    }
    assert!(matches!(answer_to(&world, "/head HTTP/1.1\r\nx-a: b", "x-b", "c").await, 3 | 7));
    assert_eq!(world.asked(), Vec::<String>::new());
    assert_eq!(answer_to(&world, "/head", "x-a", "b").await, 1);
    assert_eq!(world.asked(), ["/head"]);
}
