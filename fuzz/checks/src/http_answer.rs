//! Heads of answers, as the balancer reads and writes them.

use sociable_balancer_core::fuzzing::{AnswerHead, Body, Expected, MAX_ANSWER_HEAD, answer_head};

/// The first byte says what was asked for, and the head of an answer follows.
pub fn http_answer_head(input: &[u8]) {
    let Some((asked, input)) = input.split_first() else { return };
    let is_set = |bit: u8| asked & 1 << bit != 0;
    let expected = Expected { upgrade: is_set(0), bodiless: is_set(1), chunks: is_set(2), close: is_set(3) };
    let Ok(Some(read)) = answer_head(input, expected) else { return };
    assert!(read.length <= input.len());
    assert_eq!(answer_head(&input[..read.length], expected), Ok(Some(read.clone())));
    let step = (read.length / 64).max(1);
    for end in (0..read.length.min(MAX_ANSWER_HEAD)).step_by(step) {
        assert_eq!(answer_head(&input[..end], expected), Ok(None), "{end} of {} bytes", read.length);
    }
    fits(&read, expected);
    is_written_again(&read, expected);
}

/// The client gets what it asked for, in a framing that it understands.
fn fits(read: &AnswerHead, expected: Expected) {
    assert!(read.status >= 200 || read.switched);
    assert!(!read.switched || expected.upgrade);
    if expected.bodiless || matches!(read.status, 204 | 304) {
        assert_eq!(read.body, Body::Empty);
    }
    match (read.body, read.sent) {
        (Body::Chunked | Body::Close, sent) => assert_eq!(sent, if expected.chunks { Body::Chunked } else { Body::Close }),
        (body, sent) => assert_eq!(body, sent),
    }
}

/// The written head is read as the same answer, and written as it stands.
fn is_written_again(read: &AnswerHead, expected: Expected) {
    let again = answer_head(&read.written, expected).expect("a written head is accepted").expect("a written head is whole");
    assert_eq!(again.written.escape_ascii().to_string(), read.written.escape_ascii().to_string());
    assert_eq!((again.length, again.status, again.body), (read.written.len(), read.status, read.sent));
}
