//! The sockets of one client, by their namespaces.

use std::rc::Rc;

use bytestring::ByteString;
use sociable_protocol::maps::Map;

/// Up to this number, sockets are searched linearly: as fast as a map, and smaller.
const FEW: usize = 16;

/// A member of a namespace.
pub(crate) trait InNamespace {
    /// Returns the name of the namespace.
    fn namespace_name(&self) -> &ByteString;
}

/// The sockets in the order in which they joined their namespaces. Nearly every client has one.
#[derive(Debug)]
pub(crate) struct Sockets<S> {
    list: Vec<Rc<S>>,
    /// An index of all sockets, if there are many.
    by_name: Option<Box<Map<ByteString, Rc<S>>>>,
}

impl<S> Default for Sockets<S> {
    fn default() -> Self {
        Self { list: vec![], by_name: None }
    }
}

impl<S: InNamespace> Sockets<S> {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    #[inline]
    pub(crate) fn find(&self, namespace: &str) -> Option<&Rc<S>> {
        match &self.by_name {
            None => self.list.iter().find(|socket| **socket.namespace_name() == *namespace),
            Some(by_name) => by_name.get(namespace),
        }
    }

    pub(crate) fn all(&self) -> Vec<Rc<S>> {
        self.list.clone()
    }

    pub(crate) fn add(&mut self, socket: Rc<S>) {
        if let Some(by_name) = &mut self.by_name {
            by_name.insert(socket.namespace_name().clone(), Rc::clone(&socket));
        }
        self.list.push(socket);
        if self.by_name.is_none() && self.list.len() > FEW {
            self.by_name = Some(Box::new(self.list.iter().map(|socket| (socket.namespace_name().clone(), Rc::clone(socket))).collect()));
        }
    }

    /// Removes a socket. False if it is not in the list.
    pub(crate) fn remove(&mut self, socket: &Rc<S>) -> bool {
        let before = self.list.len();
        self.list.retain(|other| !Rc::ptr_eq(other, socket));
        if self.list.len() <= FEW / 2 {
            self.by_name = None;
        }
        if let Some(by_name) = &mut self.by_name
            && by_name.get(socket.namespace_name()).is_some_and(|known| Rc::ptr_eq(known, socket))
        {
            by_name.remove(socket.namespace_name());
        }
        self.list.len() < before
    }
}
