//! Queries of requests.

use std::str;

use sociable_protocol::Id;
use sociable_protocol::query::{Query, Repeated, loggable};

/// The input is a query.
pub fn query(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let values = |wanted: &str| -> Vec<_> {
        form_urlencoded::parse(input).filter(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).collect()
    };
    let (sids, transports, revisions) = (values("sid"), values("transport"), values("EIO"));
    match Query::read(text) {
        Ok(read) => {
            let once = |value: &Option<_>, values: &[String]| assert_eq!(value.as_deref(), values.first().map(|value| &**value));
            once(&read.sid, &sids);
            once(&read.transport, &transports);
            once(&read.revision, &revisions);
            assert!(sids.len() <= 1 && transports.len() <= 1 && revisions.len() <= 1);
            assert_eq!(read.session().is_some(), sids.first().is_some_and(|sid| !sid.is_empty()));
            assert_eq!(read.jsonp.as_deref(), values("j").last().map(|value| &**value));
        }
        Err(Repeated(name)) => assert!(values(name).len() > 1),
    }
    let told = loggable(&format!("/?{text}"));
    let shown: Vec<_> = form_urlencoded::parse(&told.as_bytes()[2..]).filter(|(name, _)| name == "sid").collect();
    assert_eq!(shown.len(), sids.len());
    assert!(shown.iter().all(|(_, sid)| Id::try_from(&**sid).is_err()));
}
