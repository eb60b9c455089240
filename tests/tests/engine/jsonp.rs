//! Long-polling by scripts and forms.

use serde_json::Value;
use sociable_tests::{Engines, Node, get, request};

async fn post(node: &Node, path: &str, form: &str) -> (u16, String) {
    let answer = request(node.addr, "POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], form).await;
    (answer.status, answer.text().to_owned())
}

/// Returns the argument that a script passes to its callback.
fn payload(script: &str, callback: &str) -> String {
    let text = script.strip_prefix(&format!("___eio[{callback}](")).and_then(|rest| rest.strip_suffix(");"));
    serde_json::from_str(text.unwrap_or_else(|| panic!("not a script: {script}"))).unwrap()
}

#[tokio::test]
async fn jsonp_sends_scripts_and_receives_forms() {
    let engines = Engines::new(|builder| builder.jsonp(true).allow_eio3(true).http_compression(None));
    let node = Node::start(&engines.engine);
    for (revision, sent, echoed) in [(4, "4hé\u{1e}4a%5Cnb", "4hé\u{1e}4a\nb"), (3, "3:4hé4:4a%5Cnb", "3:4hé4:4a\nb")] {
        let path = format!("/engine.io/?EIO={revision}&transport=polling&j=7x");
        let opened = get(node.addr, &path).await;
        assert_eq!(opened.header("content-type"), Some("text/plain; charset=UTF-8"));
        let open = payload(opened.text(), "7");
        let handshake: Value = serde_json::from_str(&open[open.find('{').unwrap()..]).unwrap();
        let path = format!("{path}&sid={}", handshake["sid"].as_str().unwrap());
        assert_eq!(post(&node, &path, "nothing=1").await, (200, "ok".into()));
        assert_eq!(post(&node, &path, &format!("d={sent}")).await, (200, "ok".into()));
        assert_eq!(payload(get(node.addr, &path).await.text(), "7"), echoed);
    }
}

#[tokio::test]
async fn jsonp_errors_are_no_scripts() {
    let engines = Engines::new(|builder| builder.jsonp(true));
    let node = Node::start(&engines.engine);
    let refused = get(node.addr, "/engine.io/?EIO=4&transport=polling&j=0&sid=unknown").await;
    assert_eq!(refused.brief(), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
}
