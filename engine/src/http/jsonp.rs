//! JSONP: long-polling for pages of other origins. Responses are scripts, and packets arrive as the field of a form.

use bytes::Bytes;

/// The longest number of a callback that is read.
const MAX_DIGITS: usize = 20;

/// Returns the digits of the requested callback.
pub(super) fn callback(value: &str) -> String {
    value.chars().filter(char::is_ascii_digit).take(MAX_DIGITS).collect()
}

/// Returns a script that passes the payload to the callback.
pub(super) fn script(callback: &str, payload: &str) -> String {
    // Both are line breaks in scripts, though not in JSON.
    let text = serde_json::Value::from(payload).to_string().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    format!("___eio[{callback}]({text});")
}

/// Returns the payload in the body of a form. `None` if it has none.
pub(super) fn payload(body: &[u8]) -> Option<Bytes> {
    let (_, value) = form_urlencoded::parse(body).filter(|(name, _)| name == "d").last()?;
    // Browsers encode line breaks of forms differently. So clients write `\n` for a line break, and `\\n` for a literal `\n`.
    let mut text = String::with_capacity(value.len());
    let mut rest = &*value;
    while let Some(at) = rest.find("\\n") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        match before.strip_suffix('\\') {
            Some(before) => {
                text.push_str(before);
                text.push_str("\\n");
            }
            None => {
                text.push_str(before);
                text.push('\n');
            }
        }
        rest = after;
    }
    text.push_str(rest);
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_escapes_any_payload() {
        assert_eq!(script(&callback("0"), "4a\"\\\n\u{2028}é"), "___eio[0](\"4a\\\"\\\\\\n\\u2028é\");");
        assert_eq!(callback("1);alert(2"), "12");
        assert_eq!(callback(&"9".repeat(100)).len(), MAX_DIGITS);
    }

    #[test]
    fn form_is_read_as_in_the_javascript_server() {
        let read = |body: &str| payload(body.as_bytes()).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        assert_eq!(read("d=4hello%20w+x"), Some("4hello w x".into()));
        assert_eq!(read("d=4a%5Cnb%5C%5Cnc"), Some("4a\nb\\nc".into()));
        assert_eq!(read("a=1&d=4x&d=4y"), Some("4y".into()));
        assert_eq!(read("a=1"), None);
        assert_eq!(read(""), None);
    }
}
