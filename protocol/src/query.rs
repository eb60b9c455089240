//! The query of an Engine.IO request.
//!
//! The node and the balancer both read queries here. With two readers, one could see a session where the other sees a handshake. A client that knows
//! such a difference could choose its node. A parameter that decides this may therefore come only once.

use std::borrow::Cow;

use thiserror::Error;

/// A parameter that came more than once: `sid`, `transport` or `EIO`.
///
/// Servers answer such a request with status 400 and code 3, `Bad request`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("parameter {0} repeated")]
pub struct Repeated(pub &'static str);

/// The query parameters of Engine.IO.
///
/// Names and values are decoded as forms are: `+` is a space, `%73id` is `sid`. Names are compared after decoding. The reader allocates only for a
/// value that has to be decoded.
///
/// ```
/// use sociable_protocol::query::{Query, Repeated};
///
/// let query = Query::read("EIO=4&transport=polling&s%69d=AbCdeeeeeeeeeeeeeeee")?;
/// assert_eq!(query.session(), Some("AbCdeeeeeeeeeeeeeeee"));
/// assert_eq!(Query::read("sid=AbCdeeeeeeeeeeeeeeee&sid="), Err(Repeated("sid")));
/// # Ok::<(), Repeated>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query<'a> {
    /// The value of `transport`.
    pub transport: Option<Cow<'a, str>>,
    /// The value of `EIO`: the revision of the protocol.
    pub revision: Option<Cow<'a, str>>,
    /// The value of `sid`. [`session`](Self::session) leaves out an empty one.
    pub sid: Option<Cow<'a, str>>,
    /// The value of `j`: the number of the JSONP callback. The last one counts.
    pub jsonp: Option<Cow<'a, str>>,
    /// True if `b64` has a value: the client accepts no binary. The last one counts.
    pub base64: bool,
}

impl<'a> Query<'a> {
    /// Parses a query without its question mark.
    ///
    /// # Errors
    ///
    /// [`Repeated`] if `sid`, `transport` or `EIO` comes more than once, even if the values are equal or empty.
    pub fn read(query: &'a str) -> Result<Self, Repeated> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sid" => once(&mut read.sid, value, "sid")?,
                "transport" => once(&mut read.transport, value, "transport")?,
                "EIO" => once(&mut read.revision, value, "EIO")?,
                "j" => read.jsonp = Some(value),
                "b64" => read.base64 = !value.is_empty(),
                _ => {}
            }
        }
        Ok(read)
    }

    /// Returns the id of the request's session; none for a handshake. An empty `sid` is a handshake, too.
    pub fn session(&self) -> Option<&str> {
        self.sid.as_deref().filter(|sid| !sid.is_empty())
    }
}

fn once<'a>(slot: &mut Option<Cow<'a, str>>, value: Cow<'a, str>, name: &'static str) -> Result<(), Repeated> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Repeated(name)),
    }
}

/// Returns a copy of a request target for a log, in which the value of each `sid` is [shortened](crate::log::shortened).
///
/// ```
/// use sociable_protocol::query::loggable;
///
/// assert_eq!(loggable("/socket.io/?EIO=4&sid=AbCdeeeeeeeeeeeeexyz"), "/socket.io/?EIO=4&sid=AbCd..exyz");
/// ```
pub fn loggable(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let mut out = String::with_capacity(target.len());
    out.push_str(path);
    let mut separator = '?';
    for parameter in query.split('&') {
        out.push(separator);
        separator = '&';
        match form_urlencoded::parse(parameter.as_bytes()).next() {
            Some((name, value)) if name == "sid" && !value.is_empty() => {
                out.push_str("sid=");
                out.extend(form_urlencoded::byte_serialize(crate::log::shortened(&value).to_string().as_bytes()));
            }
            _ => out.push_str(parameter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "AbCdeeeeeeeeeeeeexyz";

    #[test]
    fn query_is_read_as_a_form() {
        let query = Query::read("EIO=4&t=1&transport=poll%69ng&j=0&b64=1&sid=a+b%00&j=7&b64=").unwrap();
        assert_eq!((query.revision.as_deref(), query.transport.as_deref()), (Some("4"), Some("polling")));
        assert_eq!((query.session(), query.jsonp.as_deref(), query.base64), (Some("a b\0"), Some("7"), false));
        assert_eq!(Query::read(""), Ok(Query::default()));
        assert_eq!(Query::read("sid=").map(|query| (query.session().is_none(), query.sid.is_some())), Ok((true, true)));
    }

    #[test]
    fn plain_query_is_borrowed() {
        let query = format!("EIO=4&transport=polling&sid={SID}");
        let read = Query::read(&query).unwrap();
        assert!([&read.revision, &read.transport, &read.sid].into_iter().all(|value| matches!(value, Some(Cow::Borrowed(_)))));
    }

    #[test]
    fn repeated_parameter_is_refused() {
        for (query, name) in [
            ("sid=a&sid=b", "sid"),
            ("sid=a&sid=a", "sid"),
            ("sid=a&sid=", "sid"),
            ("sid=a&sid", "sid"),
            ("sid=&sid=", "sid"),
            ("sid&sid=a", "sid"),
            ("sid=a&s%69d=", "sid"),
            ("%73%69%64=a&sid=", "sid"),
            ("transport=polling&transport=websocket", "transport"),
            ("transport=polling&transpor%74", "transport"),
            ("EIO=4&EIO=3", "EIO"),
            ("%45IO=4&EIO=4", "EIO"),
        ] {
            assert_eq!(Query::read(query), Err(Repeated(name)), "{query}");
        }
        for query in ["sid=a&Sid=b&SID=c&eio=4", "sid=a&+sid=b&sid+=c&sid%00=d", "sid=a&sid[]=b&sid[0]=c", "j=1&j=2&b64=1&b64=1&x&x"] {
            assert!(Query::read(query).is_ok(), "{query}");
        }
    }

    #[test]
    fn logged_target_hides_the_session_id() {
        for target in ["/?sid=", "/?s%69d=", "/x?a=b&sid=%41bCd", "/?sid=x&sid="] {
            let logged = loggable(&format!("{target}{}&z=1", if target.ends_with("Cd") { &SID[4..] } else { SID }));
            assert!(!logged.contains("eeee") && logged.ends_with("sid=AbCd..exyz&z=1"), "{logged}");
        }
        for plain in ["/", "/?", "/?a=b&&c", "/a%20b?sid=&sid&x=%zz", "*"] {
            assert_eq!(loggable(plain), plain);
        }
    }
}
