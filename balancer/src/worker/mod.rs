//! The state that the connections of one thread share.

pub(crate) mod deadlines;
pub(crate) mod pool;
pub(crate) mod retry;

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use self::deadlines::DeadlineTable;
use self::pool::Pool;
use self::retry::RetryBudget;
use crate::limits::waiting::BUFFER;
use crate::state::BalancerState;

/// The most spare vectors, and their largest size. Others are freed.
const SPARE: usize = 32;
const MAX_SPARE: usize = 256 * 1024;

/// The state that the connections of a thread share.
pub(crate) struct Worker {
    pub(crate) state: Arc<BalancerState>,
    pub(crate) deadlines: Rc<DeadlineTable>,
    pub(crate) pool: Pool,
    /// No connection is idle from now on: each closes behind its answer.
    pub(crate) draining: Cell<bool>,
    /// Connections before their first HTTP, which have no deadline yet.
    pub(crate) handshaking: Cell<usize>,
    pub(crate) retries: RetryBudget,
    buffer: RefCell<Box<[u8]>>,
    spare: RefCell<Vec<Vec<u8>>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("connections", &self.deadlines.len()).finish_non_exhaustive()
    }
}

impl Worker {
    pub(crate) fn new(state: Arc<BalancerState>) -> Rc<Self> {
        let pool = Pool::new(Arc::clone(&state.descriptors));
        Rc::new(Self {
            state,
            deadlines: Rc::default(),
            pool,
            draining: Cell::new(false),
            handshaking: Cell::new(0),
            retries: RetryBudget::default(),
            buffer: RefCell::new(vec![0; BUFFER].into()),
            spare: RefCell::default(),
        })
    }

    /// Returns the shared read buffer. The bytes must be used or copied before the next await.
    pub(crate) fn read_buffer(&self) -> RefMut<'_, Box<[u8]>> {
        self.buffer.borrow_mut()
    }

    /// An empty vector.
    pub(crate) fn spare_buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes a vector that is not needed any more.
    pub(crate) fn recycle(&self, memory: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if (1..=MAX_SPARE).contains(&memory.capacity()) && spare.len() < SPARE {
            spare.push(memory);
        }
    }

    /// Returns true if it has no connections.
    pub(crate) fn is_empty(&self) -> bool {
        self.deadlines.len() == 0 && self.handshaking.get() == 0
    }

    /// Once a second.
    pub(crate) fn tick(&self, pool_idle: Duration) {
        self.deadlines.tick();
        self.pool.sweep(self.deadlines.now(), pool_idle);
    }
}
