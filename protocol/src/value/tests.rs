use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// Asserts that a value decodes into the same as serde_json does from the text.
fn same<T: DeserializeOwned + PartialEq + std::fmt::Debug>(json: &str) {
    let expected = serde_json::from_str::<T>(json).ok();
    assert_eq!(T::deserialize(value(json)).ok(), expected, "{json}");
}

#[derive(Debug, Deserialize, PartialEq)]
enum Shape {
    Unit,
    Newtype(u32),
    Tuple(u32, String),
    Struct { a: Option<i8> },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Tagged {
    One { n: u8 },
    Two,
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Newtype(u32);

#[derive(Debug, Deserialize, PartialEq)]
struct Unit;

#[test]
fn types_are_read_as_from_json() {
    for json in [r#""Unit""#, r#"{"Unit":null}"#, r#"{"Newtype":1}"#, r#"{"Tuple":[1,"a"]}"#, r#"{"Struct":{"a":-1}}"#, r#"{"Struct":{}}"#]
    {
        same::<Shape>(json);
    }
    for json in [
        r#""Newtype""#,
        r#"{"Unit":1}"#,
        r#"{"Tuple":[1]}"#,
        r#"{"Tuple":[1,"a",2]}"#,
        r#"{"Unit":null,"b":1}"#,
        "{}",
        "1",
        "null",
        r#""X""#,
    ] {
        same::<Shape>(json);
    }
    same::<Tagged>(r#"{"kind":"one","n":3}"#);
    same::<Tagged>(r#"{"n":3,"kind":"two"}"#);
    same::<Option<Newtype>>("null");
    same::<Option<Newtype>>("5");
    same::<Unit>("null");
    same::<Unit>("1");
    same::<(bool, f32, char, String)>(r#"[true,1,"x","y"]"#);
    same::<(bool, f32)>("[true]");
    same::<(bool, f32)>("[true,1.5,2]");
    same::<i8>("-128");
    same::<i8>("128");
    same::<u64>("18446744073709551615");
    same::<f64>("-0.5");
    same::<Vec<Option<u8>>>("[1,null,300]");
    same::<BTreeMap<u32, bool>>(r#"{"1":true,"20":false}"#);
    same::<BTreeMap<u32, bool>>(r#"{"x":true}"#);
    same::<BTreeMap<i8, ()>>(r#"{"-1":null}"#);
    same::<BTreeMap<bool, ()>>(r#"{"true":null}"#);
    same::<BTreeMap<Newtype, u8>>(r#"{"7":1}"#);
    same::<BTreeMap<String, Vec<u8>>>(r#"{"a":[1,2]}"#);
    same::<serde_json::Value>(r#"{"a":[1,-2,2.5,"x",null,true,{}]}"#);
}

#[test]
fn binary_is_read_as_bytes() {
    let binary = Value::Array(vec![Value::Binary(vec![1, 2].into())]);
    assert_eq!(<(Bytes,)>::deserialize(binary.clone()).unwrap().0, [1, 2][..]);
    assert_eq!(<(serde_bytes::ByteBuf,)>::deserialize(binary.clone()).unwrap().0, [1, 2]);
    assert_eq!(Value::deserialize(binary.clone()).unwrap(), binary);
    assert!(<(String,)>::deserialize(Value::Array(vec![Value::Binary(vec![0xff].into())])).is_err());
}

#[test]
fn placeholders_are_replaced_by_attachments() {
    let attachments = [Bytes::from_static(b"zero"), Bytes::from_static(b"one")];
    let read = |json: &str| Value::from_json(json, &attachments);
    let filled = read(r#"[{"a":{"_placeholder":true,"num":1}},{"num":0,"x":2,"_placeholder":true}]"#).unwrap();
    assert_eq!(filled[0]["a"].as_bytes(), Some(&attachments[1]));
    assert_eq!(filled[1].as_bytes(), Some(&attachments[0]));
    for object in [r#"{"_placeholder":1,"num":0}"#, r#"{"_placeholder":false,"num":9}"#, r#"{"_placeholder":"true"}"#] {
        assert!(read(object).unwrap().as_object().is_some(), "{object}");
    }
    for bad in ["2", "-1", "0.5", "\"0\"", "null", "1e300"] {
        assert!(read(&format!(r#"{{"_placeholder":true,"num":{bad}}}"#)).is_err(), "{bad}");
    }
    assert!(read(r#"{"_placeholder":true}"#).is_err());
    assert!(Value::from_json(r#"{"_placeholder":true,"num":0}"#, &[]).unwrap().as_object().is_some());
}

#[test]
fn keys_keep_their_order_and_last_equal_key_counts() {
    let object = value(r#"{"b":1,"a":2,"b":3}"#);
    assert_eq!(serde_json::to_string(&object).unwrap(), r#"{"b":1,"a":2,"b":3}"#);
    assert_eq!(object["b"].as_u64(), Some(3));
    assert!(object["c"][4]["d"].is_null());
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(Value::from_json(&nested(127), &[]).is_ok());
    assert!(Value::from_json(&nested(1_000_000), &[]).is_err());
}
