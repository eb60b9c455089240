//! Reading the headers of a request.

use std::borrow::Cow;

use actix_http::RequestHead;
use actix_http::header::{self, HeaderValue};

/// Returns the value of a header that is a list, with all of its lines.
pub(crate) fn header_list(head: &RequestHead, name: header::HeaderName) -> Option<Cow<'_, str>> {
    let mut lines = head.headers.get_all(name).filter_map(|line| line.to_str().ok());
    let first = lines.next()?;
    Some(match lines.next() {
        None => Cow::Borrowed(first),
        Some(second) => Cow::Owned(std::iter::once(second).chain(lines).fold(first.to_owned(), |list, line| list + ", " + line)),
    })
}

/// Returns the value of a header as text, if it is text.
pub(crate) fn header_str(head: &RequestHead, name: header::HeaderName) -> Option<&str> {
    head.headers.get(name).map(HeaderValue::to_str)?.ok()
}
