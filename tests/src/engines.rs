//! An Engine.IO server for the tests of that layer.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use bytestring::ByteString;
use sociable::CloseReason;
use sociable::engine::{Connection, Engine, EngineBuilder, Session};

use crate::eventually;

/// A list that listeners on other threads add to, and a way to add to it.
pub fn note<T: Send + 'static>() -> (Arc<Mutex<Vec<T>>>, impl Fn(T) + Clone + Send + Sync + 'static) {
    let list = Arc::new(Mutex::new(vec![]));
    let notes = Arc::clone(&list);
    (list, move |item| notes.lock().unwrap().push(item))
}

/// An engine that sends each message back as it came, and notes why its sessions end. The message `panic` panics.
#[derive(Clone, Debug)]
pub struct Engines {
    pub engine: Engine,
    ended: Arc<Mutex<Vec<(String, CloseReason)>>>,
}

struct Echo {
    session: Rc<Session>,
    ended: Arc<Mutex<Vec<(String, CloseReason)>>>,
}

impl Connection for Echo {
    fn text(&self, text: ByteString) {
        match &*text {
            "panic" => panic!("crash"),
            text if text.starts_with("close") => self.session.close(),
            text => self.session.send_text(text).unwrap(),
        }
    }

    fn binary(&self, bytes: Bytes) {
        self.session.send_binary(&bytes).unwrap();
    }

    fn closed(&self, reason: CloseReason) {
        self.ended.lock().unwrap().push((self.session.id().as_str().to_owned(), reason));
    }
}

impl Engines {
    /// With the default options and these.
    pub fn new(options: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let ended = Arc::<Mutex<Vec<_>>>::default();
        let list = Arc::clone(&ended);
        let echo = move |session| Echo { session, ended: Arc::clone(&list) };
        Self { engine: options(Engine::builder()).build(echo).unwrap(), ended }
    }

    /// Returns the reason of a session's end, if it has ended.
    pub fn end_of(&self, sid: &str) -> Option<CloseReason> {
        self.ended.lock().unwrap().iter().find(|(id, _)| id == sid).map(|(_, reason)| *reason)
    }

    /// Waits until a session has ended, for this reason.
    pub async fn ends(&self, sid: &str, reason: CloseReason) {
        eventually("the session ends", || self.end_of(sid).is_some()).await;
        assert_eq!(self.end_of(sid), Some(reason));
    }
}
