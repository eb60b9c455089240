//! The trace contexts of an envelope's records. They travel in a header of the NATS message, which nodes of earlier versions ignore.

use std::collections::VecDeque;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use sociable_protocol::TraceContext;

use crate::nats::stats::Counters;

/// The name of the header: one line for each record with a context, `NUMBER TRACEPARENT TRACESTATE`.
const NAME: &str = "Sociable-Trace";
/// The most bytes of the header in one envelope: a stream takes 64 KiB of all headers. Further contexts are left out.
const MAX_BYTES: usize = 16 << 10;
/// The bytes of a message besides payload and lines of this header.
const RESERVED: usize = 128;

/// The trace contexts of an envelope that is being packed.
#[derive(Debug, Default)]
pub(crate) struct PackedTraces {
    /// The records so far.
    records: usize,
    lines: Vec<String>,
    bytes: usize,
    left_out: u64,
}

impl PackedTraces {
    /// Adds the next record of the envelope.
    pub(crate) fn push(&mut self, trace: Option<Box<TraceContext>>) {
        if let Some(trace) = trace {
            let line = format!("{} {trace} {}", self.records, trace.state());
            let bytes = NAME.len() + line.len() + ": \r\n".len();
            if self.bytes + bytes <= MAX_BYTES {
                self.bytes += bytes;
                self.lines.push(line);
            } else {
                self.left_out += 1;
            }
        }
        self.records += 1;
    }

    /// Returns the header, if there is one and a message has `room` for it besides its payload. Contexts that are left out are counted.
    pub(crate) fn into_headers(self, room: usize, counters: &Counters) -> Option<HeaderMap> {
        let fits = self.bytes + RESERVED <= room;
        let left_out = self.left_out + if fits { 0 } else { self.lines.len() as u64 };
        if left_out > 0 {
            counters.traces_left_out.add(left_out);
        }
        if self.lines.is_empty() || !fits {
            return None;
        }
        let mut headers = HeaderMap::new();
        for line in self.lines {
            headers.append(header(), HeaderValue::from(line.trim_end()));
        }
        Some(headers)
    }
}

/// The trace contexts of an envelope that came, by the numbers of their records.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// The number of the next record.
    next: usize,
    contexts: VecDeque<(usize, Box<TraceContext>)>,
}

impl Traces {
    /// Reads the header of a message. Malformed lines are ignored.
    pub(crate) fn read(headers: Option<&HeaderMap>) -> Self {
        let Some(headers) = headers else { return Self::default() };
        let (mut bytes, mut contexts) = (0, VecDeque::new());
        for line in headers.get_all(header()) {
            bytes += NAME.len() + line.as_str().len();
            if bytes > MAX_BYTES {
                break;
            }
            contexts.extend(read_line(line.as_str()));
        }
        Self { next: 0, contexts }
    }

    /// Returns the context of the next record. Lines that are not in order are skipped.
    pub(crate) fn next(&mut self) -> Option<Box<TraceContext>> {
        let record = self.next;
        self.next += 1;
        while let Some((of, context)) = self.contexts.pop_front_if(|(of, _)| *of <= record) {
            if of == record {
                return Some(context);
            }
        }
        None
    }

    /// Returns the approximate memory of the contexts, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.contexts.iter().map(|(_, context)| context.cost() + size_of::<(usize, Box<TraceContext>)>()).sum()
    }
}

/// Returns the name without an allocation.
fn header() -> HeaderName {
    HeaderName::from_static(NAME)
}

fn read_line(line: &str) -> Option<(usize, Box<TraceContext>)> {
    let (record, context) = line.split_once(' ')?;
    let (traceparent, tracestate) = match context.split_once(' ') {
        Some((traceparent, tracestate)) => (traceparent, Some(tracestate)),
        None => (context, None),
    };
    Some((record.parse().ok()?, Box::new(TraceContext::parse(traceparent, tracestate)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 1 << 20;

    fn context(span: u8, state: &str) -> Option<Box<TraceContext>> {
        Some(Box::new(TraceContext::new([7; 16], [span; 8], true).unwrap().with_state(state)))
    }

    #[test]
    fn records_keep_their_contexts() {
        let records = [None, context(1, ""), context(2, "a=1, b=2"), None, context(3, "")];
        let mut packed = PackedTraces::default();
        records.iter().cloned().for_each(|record| packed.push(record));
        let mut read = Traces::read(packed.into_headers(ROOM, &Counters::default()).as_ref());
        assert!(read.cost() > 0);
        for record in records {
            assert_eq!(read.next(), record);
        }
        assert_eq!((read.next(), read.cost()), (None, 0));
    }

    #[test]
    fn envelope_without_contexts_has_no_header() {
        let mut packed = PackedTraces::default();
        packed.push(None);
        assert_eq!(packed.into_headers(ROOM, &Counters::default()), None);
        assert_eq!(Traces::read(None).next(), None);
    }

    #[test]
    fn header_stays_within_its_bounds() {
        let mut packed = PackedTraces::default();
        (0..4000).for_each(|_| packed.push(context(1, &format!("a={}", "x".repeat(500)))));
        assert!((1..=MAX_BYTES).contains(&packed.bytes));
        let (counters, kept) = (Counters::default(), packed.lines.len());
        assert!(packed.into_headers(ROOM, &counters).is_some());
        assert_eq!(counters.traces_left_out.get(), 4000 - kept as u64);

        let mut packed = PackedTraces::default();
        packed.push(context(1, ""));
        let counters = Counters::default();
        assert_eq!(packed.into_headers(RESERVED, &counters), None);
        assert_eq!(counters.traces_left_out.get(), 1);
    }

    #[test]
    fn malformed_lines_are_ignored() {
        let traceparent = context(1, "").unwrap().to_string();
        let mut headers = HeaderMap::new();
        for line in ["", "0", "x y", &format!("-1 {traceparent}"), "1 00-0-0-01", &format!("3 {traceparent}"), &format!("2 {traceparent}")]
        {
            headers.append(NAME, line);
        }
        let mut read = Traces::read(Some(&headers));
        let contexts: Vec<_> = std::iter::repeat_with(|| read.next()).take(5).collect();
        assert_eq!(contexts, [None, None, None, context(1, ""), None]);
    }

    #[test]
    fn reader_takes_no_more_than_its_bound() {
        let mut headers = HeaderMap::new();
        let traceparent = context(1, "").unwrap().to_string();
        (0..10_000).for_each(|record| headers.append(NAME, format!("{record} {traceparent}").as_str()));
        assert!(Traces::read(Some(&headers)).contexts.len() < MAX_BYTES / traceparent.len());
    }
}
