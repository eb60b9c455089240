//! Half surrogate pairs in JSON: possible in JavaScript's text, impossible in Rust's.

/// The replacement, as long as the replaced escape.
const REPLACEMENT: &str = "\\ufffd";

/// Returns the text with U+FFFD for each half of a surrogate pair. `None` if there is no half. The text has to be valid JSON.
pub(super) fn replaced(json: &str) -> Option<String> {
    let mut replaced = String::new();
    // The ends of the searched and of the copied part.
    let (mut at, mut copied) = (0, 0);
    while let Some(escape) = json[at..].find('\\') {
        let begin = at + escape;
        at = match unit(json, begin) {
            Some(0xd800..0xdc00) if matches!(unit(json, begin + REPLACEMENT.len()), Some(0xdc00..0xe000)) => begin + 2 * REPLACEMENT.len(),
            Some(0xd800..0xe000) => {
                replaced.push_str(&json[copied..begin]);
                replaced.push_str(REPLACEMENT);
                copied = begin + REPLACEMENT.len();
                copied
            }
            Some(_) => begin + REPLACEMENT.len(),
            // An escape of two characters.
            None => begin + 2,
        };
    }
    if copied == 0 {
        return None;
    }
    replaced.push_str(&json[copied..]);
    Some(replaced)
}

/// Returns the UTF-16 unit escaped at this position, if any.
fn unit(json: &str, at: usize) -> Option<u16> {
    u16::from_str_radix(json.get(at..)?.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_replaced_and_pairs_are_kept() {
        for (json, whole) in [
            (r#""\ud800""#, r#""\ufffd""#),
            (r#""\uDBFFx\udc00\n\uDEAD", "é\ud800é", 1"#, r#""\ufffdx\ufffd\n\ufffd", "é\ufffdé", 1"#),
            (r#""\ud83d\ude00\ud83d\ud83d\ude00\ude00""#, r#""\ud83d\ude00\ufffd\ud83d\ude00\ufffd""#),
            (r#"{"\udead":"\ud800\\udc00"}"#, r#"{"\ufffd":"\ufffd\\udc00"}"#),
        ] {
            assert_eq!(replaced(json).as_deref(), Some(whole), "{json}");
        }
        for json in ["", "1", r#""\\ud800""#, r#""\u00e9\\\"\ud83d\ude00🦀""#] {
            assert_eq!(replaced(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn units_are_replaced_as_by_utf16_lossy(units in prop::collection::vec(prop_oneof![any::<u16>(), 0xd7f0u16..0xe010], 0..20)) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let json = format!("\"{escaped}\"");
            let whole = replaced(&json).unwrap_or(json);
            prop_assert_eq!(serde_json::from_str::<String>(&whole).unwrap(), String::from_utf16_lossy(&units));
        }
    }
}
