//! Ids that requests bring.

use std::str;

use sociable_protocol::{Id, NodeTag};

/// The input is an id or a tag.
pub fn id(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let valid = |length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let (id, tag) = (Id::try_from(text), NodeTag::try_from(text));
    assert_eq!(id.is_ok(), valid(20));
    assert_eq!(tag.is_ok(), valid(4));
    if let Ok(tag) = tag {
        assert_eq!(tag.as_str(), text);
    }
    let Ok(id) = id else { return };
    assert_eq!(id.as_str(), text);
    assert_eq!(id.tag().as_str(), &text[..4]);
    for shards in [1, 2, 7, usize::MAX] {
        assert!(id.shard(shards) < shards);
    }
    let json = serde_json::to_string(&id).expect("an id is text");
    assert_eq!(serde_json::from_str::<Id>(&json).ok(), Some(id));
}
