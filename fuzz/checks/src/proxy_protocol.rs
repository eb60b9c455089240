//! Headers of the PROXY protocol, as the balancer reads them.

use sociable_balancer_core::fuzzing::{MAX_PROXY_HEADER, proxy_header};

/// The first bytes of every header, so that the fuzzer need not find them.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The input starts with a header, or follows the signature of one.
pub fn proxy_protocol(input: &[u8]) {
    check(input);
    check(&[SIGNATURE, input].concat());
}

fn check(input: &[u8]) {
    match proxy_header(input) {
        Ok(Some((length, client))) => {
            assert!((16..=MAX_PROXY_HEADER.min(input.len())).contains(&length));
            assert_eq!(proxy_header(&input[..length]), Ok(Some((length, client))));
            for end in 0..length {
                assert_eq!(proxy_header(&input[..end]), Ok(None), "{end} of {length} bytes");
            }
            // An address has one form, or limits could be evaded.
            assert!(client.is_none_or(|client| client.ip() == client.ip().to_canonical()));
        }
        Ok(None) => assert!(input.len() < MAX_PROXY_HEADER, "more is waited for than is read"),
        // No prefix of the input was accepted as another header.
        Err(_) => (0..input.len().min(MAX_PROXY_HEADER)).for_each(|end| assert!(!matches!(proxy_header(&input[..end]), Ok(Some(_))))),
    }
}
