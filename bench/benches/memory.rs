//! The memory of an actor, and the allocations of a message to one.
//!
//! Counted, not timed: bytes as they were asked of the allocator, without what it adds.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use actix::{Actor, Context, Handler, Message};
use allocation_counter::{AllocationInfo, measure};
use sociable_bench::{Increment, State};
use sociable_engine::actor::ActorCell;

const ACTORS: usize = 10_000;
const MESSAGES: u64 = 10_000;

#[derive(Message)]
#[rtype(result = "()")]
struct Add(u64);

struct Mailbox {
    state: State,
    handled: Rc<Cell<u64>>,
}

impl Actor for Mailbox {
    type Context = Context<Self>;
}

impl Handler<Add> for Mailbox {
    type Result = ();

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) {
        self.state.total += n;
        self.handled.set(self.handled.get() + 1);
    }
}

fn main() {
    let system = actix::System::new();
    let handled = Rc::new(Cell::new(0));
    let state = size_of::<State>();

    let mut cells = Vec::with_capacity(ACTORS);
    let own = measure(|| cells.extend((0..ACTORS).map(|_| Rc::new(ActorCell::new(State::default())))));
    let own_messages = measure(|| {
        for _ in 0..MESSAGES {
            let outcome = cells[0].send(Increment(black_box(1)));
            drop(black_box(outcome));
        }
    });

    let mut actors = Vec::with_capacity(ACTORS);
    let actix = measure(|| {
        system.block_on(async {
            actors.extend((0..ACTORS).map(|_| Mailbox { state: State::default(), handled: Rc::clone(&handled) }.start()));
            // Each has been polled once after this.
            actors.iter().for_each(|addr| addr.do_send(Add(1)));
            while handled.get() < ACTORS as u64 {
                tokio::task::yield_now().await;
            }
        });
    });
    let actix_messages = measure(|| {
        system.block_on(async {
            let until = handled.get() + MESSAGES;
            (0..MESSAGES).for_each(|_| actors[0].do_send(Add(black_box(1))));
            while handled.get() < until {
                tokio::task::yield_now().await;
            }
        });
    });

    println!("an actor beside its state of {state} bytes, and one message to it:");
    print("a call", state, &own, &own_messages);
    print("actix", state + size_of::<Rc<Cell<u64>>>(), &actix, &actix_messages);
    println!("an ActorCell within a larger structure: {} bytes beside the state", size_of::<ActorCell<State>>() - state);
}

fn print(name: &str, state: usize, actors: &AllocationInfo, messages: &AllocationInfo) {
    let bytes = actors.bytes_current as f64 / ACTORS as f64 - state as f64;
    let allocations = messages.count_total as f64 / MESSAGES as f64;
    println!("{name:>8}: {bytes:5.0} bytes, {allocations:.2} allocations a message");
}
