//! Formats of bodies, and the faults of bodies.

use bytes::Bytes;
use serde_json::{Value, json};
use sociable_gateway::api::Limits;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{ALL, Backend, keys, post, problem};

/// A request of the key for all things.
fn authorized(operation: &str) -> actix_web::test::TestRequest {
    post(operation).insert_header(("Authorization", format!("Bearer {ALL}")))
}

#[actix_web::test]
async fn message_pack_is_read_and_answered() {
    #[derive(serde::Serialize)]
    struct Binary<'a>(#[serde(serialize_with = "as_bytes")] &'a [u8]);
    fn as_bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }
    #[derive(serde::Serialize)]
    struct Request<'a> {
        event: &'a str,
        args: (Binary<'a>, Value),
    }
    let backend = Backend::start();
    let client = backend.client(&[]).await;
    let request = Request { event: "dots?", args: (Binary(&[1, 2, 3]), json!({"$binary": "BAU="})) };
    let body = rmp_serde::to_vec_named(&request).unwrap();
    let answer = async {
        let event = client.expect("dots?").await.unwrap();
        client.answer(&event, event.args.clone()).unwrap();
    };
    let asked = backend.send(authorized("emit-with-ack").insert_header(("Content-Type", "application/msgpack")).set_payload(body));
    let (answered, ()) = tokio::join!(asked, answer);
    assert_eq!((answered.status, answered.header("content-type")), (200, Some("application/msgpack")));
    let answered: sociable::Value = rmp_serde::from_slice(&answered.body).unwrap();
    let args = &answered["answers"][0]["args"];
    assert_eq!((args[0].as_bytes(), args[1].as_bytes()), (Some(&Bytes::from_static(&[1, 2, 3])), Some(&Bytes::from_static(&[4, 5]))));
}

#[actix_web::test]
async fn accept_chooses_the_format_of_the_answer() {
    let backend = Backend::start();
    let accept =
        async |accept: &str| backend.send(authorized("emit").insert_header(("Accept", accept)).set_json(json!({"event": "a"}))).await;
    let answered = accept("application/msgpack").await;
    assert_eq!((answered.status, answered.header("content-type")), (200, Some("application/msgpack")));
    assert_eq!(accept("*/*").await.header("content-type"), Some("application/json"));
    assert_eq!(accept("text/html").await.problem().0, 406);
}

#[actix_web::test]
async fn fault_of_a_body_is_named_with_its_place() {
    let backend = Backend::start();
    let send = async |body: &'static str| {
        backend.send(authorized("emit").insert_header(("Content-Type", "application/json; charset=utf-8")).set_payload(body)).await
    };
    let answered = send("{\"event\": \"a\",\n  oops}").await;
    assert_eq!(answered.problem(), problem(400, "malformed", Value::Null));
    assert_eq!((&answered.json()["line"], &answered.json()["column"]), (&json!(2), &json!(3)));
    assert_eq!(send("").await.problem().0, 400);
    assert_eq!(send(r#"{"rooms":[]}"#).await.problem(), problem(422, "invalid", ""));
    assert_eq!(send(r#"{"event":"a","args":[1,{"b":{"$binary":"*"}}]}"#).await.problem(), problem(422, "invalid", "/args/1"));
    assert_eq!(send(r#"{"event":"a","room":"b"}"#).await.problem(), problem(422, "invalid", "/room"));
}

#[actix_web::test]
async fn other_types_of_bodies_are_refused() {
    let backend = Backend::start();
    let answered = backend.send(authorized("emit").set_form([("event", "a")])).await;
    assert_eq!((answered.problem().0, &answered.json()["parameter"]), (415, &json!("Content-Type")));
    let answered = backend.send(authorized("emit").insert_header(("Content-Encoding", "gzip")).set_json(json!({"event": "a"}))).await;
    assert_eq!((answered.problem().0, &answered.json()["parameter"]), (415, &json!("Content-Encoding")));
}

#[actix_web::test]
async fn body_that_does_not_arrive_is_given_up() {
    let backend = Backend::with(Limits::default().body_timeout(Duration::from_millis(50)), keys());
    let api = backend.api.clone();
    let http = actix_web::HttpServer::new(move || actix_web::App::new().service(api.service())).workers(1).bind("127.0.0.1:0").unwrap();
    let server = http.addrs()[0];
    actix_web::rt::spawn(http.disable_signals().run());
    let mut connection = tokio::net::TcpStream::connect(server).await.unwrap();
    let head = format!("POST /api/v1/emit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ALL}\r\nContent-Length: 20\r\n\r\n{{");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}
