//! The sockets of one client, by their namespaces.

use std::rc::Rc;

use bytestring::ByteString;
use sociable_protocol::maps::Map;

use crate::thread::socket::LocalSocket;

/// Up to so many are searched from the front: that is as fast as a map, and smaller.
const FEW: usize = 16;

/// The sockets in the order in which they joined their namespaces. Nearly every client has one.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    list: Vec<Rc<LocalSocket>>,
    /// All of them, if there are many.
    by_name: Option<Box<Map<ByteString, Rc<LocalSocket>>>>,
}

impl Sockets {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    #[inline]
    pub(crate) fn find(&self, namespace: &str) -> Option<&Rc<LocalSocket>> {
        match &self.by_name {
            None => self.list.iter().find(|socket| **name(socket) == *namespace),
            Some(by_name) => by_name.get(namespace),
        }
    }

    pub(crate) fn all(&self) -> Vec<Rc<LocalSocket>> {
        self.list.clone()
    }

    pub(crate) fn add(&mut self, socket: Rc<LocalSocket>) {
        if let Some(by_name) = &mut self.by_name {
            by_name.insert(name(&socket).clone(), Rc::clone(&socket));
        }
        self.list.push(socket);
        if self.by_name.is_none() && self.list.len() > FEW {
            self.by_name = Some(Box::new(self.list.iter().map(|socket| (name(socket).clone(), Rc::clone(socket))).collect()));
        }
    }

    /// False if it is not here.
    pub(crate) fn remove(&mut self, socket: &Rc<LocalSocket>) -> bool {
        let before = self.list.len();
        self.list.retain(|other| !Rc::ptr_eq(other, socket));
        if self.list.len() <= FEW / 2 {
            self.by_name = None;
        }
        if let Some(by_name) = &mut self.by_name
            && by_name.get(name(socket)).is_some_and(|known| Rc::ptr_eq(known, socket))
        {
            by_name.remove(name(socket));
        }
        self.list.len() < before
    }
}

fn name(socket: &LocalSocket) -> &ByteString {
    socket.shared.namespace.name()
}
