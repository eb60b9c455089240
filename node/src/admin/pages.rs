//! The pages that look at this node: what is sent to them, in its order.

use parking_lot::Mutex;
use sociable_adapter::{Operation, Target};
use sociable_protocol::{Args, Encoding, Id, Value};

use super::records::Record;
use crate::namespace::Namespace;

/// Most reports that wait for a list of sockets.
const MAX_HELD: usize = 4096;

/// Sends reports to the pages of this node. While a list of sockets is collected, later reports wait: the list replaces all that a page knows.
#[derive(Default)]
pub(super) struct Pages(Mutex<Lists>);

#[derive(Default)]
struct Lists {
    /// The lists that are being collected.
    open: usize,
    held: Vec<Record>,
}

impl Pages {
    /// Sends reports to all pages of this node. Returns the number of reports that were dropped.
    pub(super) fn send(&self, namespace: &Namespace, records: Vec<Record>) -> usize {
        let mut lists = self.0.lock();
        if lists.open > 0 {
            let room = MAX_HELD - lists.held.len().min(MAX_HELD);
            let dropped = records.len().saturating_sub(room);
            lists.held.extend(records.into_iter().take(room));
            return dropped;
        }
        drop(lists);
        records.iter().for_each(|(name, args)| emit(namespace, None, name, args));
        0
    }

    /// Holds reports back until [`end_list`](Self::end_list).
    pub(super) fn begin_list(&self) {
        self.0.lock().open += 1;
    }

    /// Sends the reports that waited, if no other list is being collected.
    pub(super) fn end_list(&self, namespace: &Namespace) {
        let held = {
            let mut lists = self.0.lock();
            lists.open -= 1;
            if lists.open > 0 { vec![] } else { std::mem::take(&mut lists.held) }
        };
        self.send(namespace, held);
    }
}

/// Sends an event to one page, or to all pages of this node. The history of recovery does not keep it.
pub(super) fn emit(namespace: &Namespace, page: Option<Id>, name: &str, args: &str) {
    if let Some(args) = encode(namespace.encoding(), args) {
        emit_args(namespace, page, name, args);
    }
}

/// Sends an event with encoded arguments.
pub(super) fn emit_args(namespace: &Namespace, page: Option<Id>, name: &str, args: Args) {
    let frames = namespace.event_frames(name, args, None);
    let target = Target { rooms: page.iter().map(|id| id.as_str().into()).collect(), except: vec![] };
    // An overloaded thread counts what it refuses.
    let _ = namespace.broadcast_local(target, Operation::Emit { frames, volatile: false, compress: true });
}

/// Returns the arguments of a JSON array.
pub(super) fn encode(encoding: Encoding, args: &str) -> Option<Args> {
    let mut builder = Args::builder(encoding);
    for value in &serde_json::from_str::<Vec<Value>>(args).ok()? {
        builder.push(value).ok()?;
    }
    Some(builder.finish())
}
