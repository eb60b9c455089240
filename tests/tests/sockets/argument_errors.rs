//! Reports of events that can't be handled: none to clients by default, as in JavaScript, or an answer if enabled.

use std::time::Duration;

use serde_json::{Value, json};
use sociable::testing::{TestClient, TestError, TestServer};
use sociable::{Ack, Args, Data, ExtractError, Failure, Server, Valid, Validate};

#[derive(serde::Deserialize)]
struct Move {
    x: u8,
}

impl Validate for Move {
    fn validate(&self) -> Result<(), Failure> {
        if self.x < 8 { Ok(()) } else { Err(Failure::new("off the board").with_data(&json!({ "limit": 8 }))) }
    }
}

fn server(answer_errors: bool) -> Server {
    let io = Server::builder().answer_errors(answer_errors).build().unwrap();
    io.event_middleware(async |name: sociable::EventName| if &*name.0 == "blocked" { Err(Failure::new("not for you")) } else { Ok(()) });
    io.on("move", async |Valid(to): Valid<Move>, ack: Ack| drop(ack.send(to.x)));
    io.on("pair", async |Args((a, b)): Args<(u8, u8)>, ack: Ack| drop(ack.send((a, b))));
    io.on("fails", async || Err::<(), _>(Failure::new("it fails").with_data(&json!([1]))));
    io.on("fails late", async |ack: Ack| {
        ack.send("sent before").ok();
        tokio::task::yield_now().await;
        Err::<(), _>("too late")
    });
    io.on("own", async |age: Result<Data<u8>, ExtractError>, ack: Ack| {
        drop(match age {
            Ok(Data(age)) => ack.send(age),
            Err(error) => ack.send(error.to_string()),
        });
    });
    io.on("blocked", async |ack: Ack| drop(ack.send("not reached")));
    io
}

async fn ask(client: &TestClient, event: &str, args: impl sociable::EmitArgs) -> Value {
    client.emit_with_ack(event, args).await.unwrap().decode(0).unwrap()
}

#[tokio::test]
async fn client_gets_argument_errors_in_its_ack() {
    let io = server(true);
    let server = TestServer::start(&io).unwrap();
    let client = server.connect().await.unwrap();
    assert_eq!(ask(&client, "move", &json!({ "x": 7 })).await, json!(7));
    assert_eq!(ask(&client, "move", &json!({ "x": 8 })).await, json!({ "error": { "message": "off the board", "data": { "limit": 8 } } }));
    for (event, args, argument) in [("move", json!("up"), 0), ("move", json!({}), 0), ("pair", json!(1), 1)] {
        let answer = ask(&client, event, &args).await;
        assert_eq!(answer["error"]["data"], json!({ "code": "E_ARGUMENTS", "argument": argument }), "{answer}");
    }
    assert_eq!(ask(&client, "fails", ()).await, json!({ "error": { "message": "it fails", "data": [1] } }));
    assert_eq!(ask(&client, "blocked", ()).await, json!({ "error": { "message": "not for you" } }));
    assert_eq!(ask(&client, "fails late", ()).await, json!("sent before"));
    // Without an acknowledgement nothing is sent.
    client.emit("fails", ()).unwrap();
    client.sync().await.unwrap();
    assert!(client.pending().is_empty());
    assert_eq!((io.stats().bad_arguments, io.stats().events_refused), (4, 1));
}

#[tokio::test]
async fn client_gets_no_error_answer_by_default() {
    let server = TestServer::start(&server(false)).unwrap();
    let client = server.client().patience(Duration::from_millis(200)).connect().await.unwrap();
    for event in ["move", "fails", "blocked"] {
        let error = client.emit_with_ack(event, ()).await.unwrap_err();
        assert!(matches!(error, TestError::Timeout { .. }), "{error}");
    }
}

#[tokio::test]
async fn handler_answers_bad_arguments_itself() {
    let server = TestServer::start(&server(false)).unwrap();
    let client = server.connect().await.unwrap();
    assert_eq!(ask(&client, "own", 7).await, json!(7));
    let answer = ask(&client, "own", "old").await;
    assert!(answer.as_str().is_some_and(|text| text.contains("argument")), "{answer}");
}
