use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;

fn verdicts(text: &str) -> (bool, bool) {
    (scan_value(text.as_bytes(), 1_000).is_ok(), serde_json::from_str::<IgnoredAny>(text).is_ok())
}

#[test]
fn grammar_is_that_of_rfc_8259() {
    let good =
        ["0", "-0", "1.5e+3", "1E9", "[]", "{}", " [ 1 , {\"a\" : [ ] } ]\t\r\n", "\"\\ud800\\n\"", "\"\u{7f}é🦀\"", "true", "1e999"];
    for text in good {
        assert_eq!(verdicts(text), (true, true), "{text}");
    }
    let bad = [
        "",
        " ",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "[1,]",
        "[,1]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "[1",
        "]",
        "[}",
        "{]",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12",
        "\"\n\"",
        "tru",
        "truex",
        "nul",
        "NaN",
        "1 2",
        "[1 2]",
        "\u{feff}1",
        "//\n1",
        "\u{a0}1",
        "[1]]",
        "{\"a\":1}}",
        "{1:2}",
        "{,}",
        "[\"a\":1]",
    ];
    for text in bad {
        assert_eq!(verdicts(text), (false, false), "{text:?}");
    }
}

#[test]
fn depth_limit_applies_at_any_depth() {
    for depth in [1, 2, 63, 64, 65, 128, 129, 1_000, 100_000] {
        let arrays = "[".repeat(depth) + &"]".repeat(depth);
        let objects = "{\"a\":".repeat(depth) + "[1]" + &"}".repeat(depth);
        assert_eq!(scan_value(arrays.as_bytes(), depth), Ok(0..arrays.len()), "{depth}");
        assert_eq!(scan_value(objects.as_bytes(), depth + 1), Ok(0..objects.len()), "{depth}");
        assert_eq!(scan_value(arrays.as_bytes(), depth - 1), Err(Fault::Depth), "{depth}");
        assert_eq!(array(arrays.as_bytes(), depth, &mut ()).map(|array| array.count), Ok(usize::from(depth > 1)), "{depth}");
        assert_eq!(array(arrays.as_bytes(), depth - 1, &mut ()), Err(Fault::Depth), "{depth}");
        let wrong = "[".repeat(depth) + "{" + &"]".repeat(depth);
        assert_eq!(scan_value(wrong.as_bytes(), usize::MAX), Err(Fault::Syntax), "{depth}");
    }
}

#[test]
fn elements_are_found() {
    let text = br#" [ "a" , [1,2] , {"b":3}  ] "#;
    let found = array(text, 9, &mut ()).unwrap();
    assert_eq!(found.count, 3);
    assert_eq!(&text[found.first], b"\"a\"");
    assert_eq!(&text[found.rest.clone()], br#"[1,2] , {"b":3}"#);
    assert_eq!(&text[found.all], br#""a" , [1,2] , {"b":3}"#);
    let (second, at) = next(text, found.rest.start).unwrap();
    assert_eq!(&text[second], b"[1,2]");
    assert_eq!(&text[next(text, at).unwrap().0], b"{\"b\":3}");
    assert_eq!(array(b"[]", 9, &mut ()), Ok(Array::default()));
    assert_eq!(array(b"{}", 9, &mut ()), Err(Fault::Syntax));
    assert_eq!(array(b"[1]2", 9, &mut ()), Err(Fault::Syntax));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Returns a change: its position, the inserted character, and the number of removed ones.
fn change() -> impl Strategy<Value = (prop::sample::Index, char, usize)> {
    (any::<prop::sample::Index>(), any::<char>(), 0usize..3)
}

/// Returns bytes with a special meaning in a string, and their neighbours.
fn specials() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(b'a'), Just(0x80), Just(0x21), Just(0xff), any::<u8>()], 0..40)
}

proptest! {
    #[test]
    fn json_is_recognised(value in json()) {
        let compact = value.to_string();
        prop_assert_eq!(scan_value(compact.as_bytes(), 1_000), Ok(0..compact.len()));
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(scan_value(pretty.as_bytes(), 1_000), Ok(0..pretty.len()));
    }

    #[test]
    fn verdict_is_that_of_serde_json(text in "[\\[\\]{}:,\"\\\\0-9eE.+\\-tfnrulasu \\n\\x01é]{0,24}") {
        let (ours, theirs) = verdicts(&text);
        prop_assert_eq!(ours, theirs, "{:?}", text);
    }

    #[test]
    fn verdict_on_mutated_json_is_that_of_serde_json(value in json(), (at, by, cut) in change()) {
        let mut text: Vec<char> = value.to_string().chars().collect();
        let at = at.index(text.len());
        text.splice(at..(at + cut).min(text.len()), [by]);
        let text = String::from_iter(text);
        let (ours, theirs) = verdicts(&text);
        prop_assert_eq!(ours, theirs, "{:?}", text);
    }

    #[test]
    fn plain_counts_to_the_first_special_byte(bytes in specials()) {
        let expected = bytes.iter().position(|byte| *byte < 0x20 || [b'"', b'\\'].contains(byte)).unwrap_or(bytes.len());
        prop_assert_eq!(plain(&bytes), expected);
    }
}
