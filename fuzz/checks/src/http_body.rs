//! Bodies of HTTP/1.1, as the balancer reads and writes them.

use sociable_balancer_core::fuzzing::{Body, Decoder, encode};

/// A decoded body, what stands behind it, and whether it is whole; or that it is malformed behind these bytes.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    body: Vec<u8>,
    rest: Result<Vec<u8>, String>,
    is_done: bool,
}

/// The first byte selects the split of the body, the second its end: by chunks, or after so many bytes. The body
/// follows.
pub fn http_body(input: &[u8]) {
    let Some((&[split, end], input)) = input.split_first_chunk::<2>() else { return };
    let framing = match end {
        0 => Body::Chunked,
        1 => Body::Close,
        end => Body::Length(u64::from(end) - 2),
    };
    let whole = decode(framing, input, input.len());
    for piece in [1, 2, usize::from(split) + 1] {
        assert_eq!(decode(framing, input, piece), whole, "in pieces of {piece} bytes");
    }
    holds(framing, input, &whole);
    // The decoded body is encoded in another split, and decoded again.
    let pieces = whole.body.chunks(usize::from(split) + 1);
    for framing in [Body::Chunked, Body::Length(whole.body.len() as u64)] {
        let mut wire = encode(framing, pieces.clone());
        wire.extend_from_slice(b"GET / HTTP/1.1");
        let again = decode(framing, &wire, 3);
        assert_eq!(again, Decoded { body: whole.body.clone(), rest: Ok(b"GET / HTTP/1.1".to_vec()), is_done: true });
    }
}

fn decode(framing: Body, wire: &[u8], piece: usize) -> Decoded {
    let mut decoder = Decoder::new(framing);
    let (mut body, mut rest) = (vec![], vec![]);
    for mut input in wire.chunks(piece.max(1)) {
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(data)) => body.extend_from_slice(data),
                Ok(None) => break,
                Err(error) => return Decoded { body, rest: Err(error), is_done: false },
            }
        }
        assert!(input.is_empty() || decoder.is_done(), "what belongs to the body is taken");
        rest.extend_from_slice(input);
    }
    Decoded { body, rest: Ok(rest), is_done: decoder.is_done() }
}

fn holds(framing: Body, input: &[u8], decoded: &Decoded) {
    let rest = decoded.rest.as_deref().unwrap_or_default();
    assert!(decoded.body.len() + rest.len() <= input.len() && input.ends_with(rest));
    match framing {
        Body::Length(length) => {
            let length = input.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            assert_eq!((&*decoded.body, &decoded.rest), (&input[..length], &Ok(input[length..].to_vec())));
        }
        Body::Close => assert_eq!((&*decoded.body, decoded.is_done), (input, false)),
        Body::Chunked if decoded.is_done => assert!(input[..input.len() - rest.len()].ends_with(b"\r\n\r\n")),
        Body::Chunked => assert!(rest.is_empty(), "nothing stands behind a body that is not whole"),
        Body::Empty => unreachable!("no input begins so"),
    }
}
