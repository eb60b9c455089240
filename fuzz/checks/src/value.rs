//! Values of any kind.

use std::str;

use bytes::Bytes;
use sociable_protocol::{Args, Encoding, Value};

/// The input is JSON, read without attachments and with two.
pub fn value(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let plain = Value::from_json(text, &[]);
    let expected = serde_json::from_str::<serde_json::Value>(text);
    assert_eq!(plain.is_ok(), expected.is_ok());
    if let (Ok(plain), Ok(expected)) = (plain, expected) {
        assert_eq!(serde_json::to_value(&plain).ok(), Some(expected));
        survives(&plain);
    }
    if let Ok(filled) = Value::from_json(text, &[Bytes::new(), Bytes::from_static(b"\xff\x00")]) {
        survives(&filled);
    }
}

fn survives(value: &Value) {
    for encoding in [Encoding::Json, Encoding::MsgPack] {
        let args = Args::encode(encoding, value).expect("a value can be encoded");
        assert_eq!(args.decode::<Value>(0).as_ref(), Ok(value), "{encoding:?}");
    }
}
