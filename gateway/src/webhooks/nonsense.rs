//! The cause why an answer is not understood, for the log: without its content.

use serde_json::error::Category;

/// The longest name of a field in the log.
const MAX_NAME: usize = 64;

/// Returns the cause of an error. The name of an unknown field is the only part of it that comes from the backend.
pub(super) fn cause_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    if matches!(error.classify(), Category::Syntax | Category::Eof) {
        return text.to_owned();
    }
    // The last part comes from the types of an answer.
    let expected = text.rsplit_once(", expected ").map(|(_, expected)| expected);
    if let Some((name, _)) = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, "))
        && is_name(name)
    {
        return format!("unknown field `{name}`, expected {}", expected.unwrap_or("none"));
    }
    // The names are those of the fields of an answer.
    if text.starts_with("missing field ") || text.starts_with("duplicate field ") {
        return text.to_owned();
    }
    match expected {
        Some(expected) => format!("expected {expected}"),
        None => "a value has another form".to_owned(),
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::super::answer::Answer;
    use super::*;

    #[test]
    fn cause_names_a_field_and_no_content() {
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(65));
        for (body, cause) in [
            (
                r#"{"alow":true}"#,
                "unknown field `alow`, expected one of `allow`, `error`, `ack`, `join`, `leave`, `data`, `emit`, `disconnect`",
            ),
            (r#"{"emit":[{"args":[]}]}"#, "missing field `event`"),
            (r#"{"ack":[],"ack":[]}"#, "duplicate field `ack`"),
            (r#"{"error":"secret, expected secret"}"#, "expected struct AnswerError"),
            (r#"{"ack":"secret"}"#, "expected a sequence"),
            (r#"{"ack":[{"$binary":"secret"}]}"#, "a value has another form"),
            (r#"{"allow":tru}"#, "expected ident"),
            ("<html>secret", "expected value"),
            ("{", "EOF while parsing an object"),
        ] {
            assert_eq!(cause_of(&Answer::parse(body.as_bytes()).unwrap_err()), cause, "{body}");
        }
        for body in [&*long, "{\"a\\n\\u001b[31m\":1}", r#"{"a` secret":1}"#] {
            let cause = cause_of(&Answer::parse(body.as_bytes()).unwrap_err());
            assert!(cause.starts_with("expected one of `allow`"), "{cause}");
        }
    }
}
