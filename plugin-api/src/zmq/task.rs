//! Tasks: what a worker has in hand, and what becomes of it.
//!
//! A task is in the hands of the runtime while a handler or spawned work is at it, which then knows
//! whether that came to its end. In between, as in a field of the service, it decides by the moment at
//! which it is dropped: see `Work::cut_off`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use crate::context::Context;
use crate::error::Result;
use crate::message::Message;
use crate::runtime;

/// Where a worker's tasks come in, and how many of them are out of it.
pub(crate) struct Intake {
    /// The numbers of the PULL sockets: the worker's own, and those that earlier instances had, from
    /// which tasks are left.
    sockets: RefCell<Vec<i32>>,
    limit: u32,
    timeout: Duration,
    out: Cell<u32>,
    taken: Cell<u64>,
}

impl Intake {
    pub(super) fn new(socket: i32, limit: u32, timeout: Duration) -> Self {
        let sockets = RefCell::new(vec![socket]);
        Self { sockets, limit, timeout, out: Cell::new(0), taken: Cell::new(0) }
    }

    /// Takes a message as a task; with the last permit, the next ones wait in the host.
    pub(crate) fn take(self: &Rc<Self>, ctx: &Context, socket: i32, message: Message) -> Task {
        self.taken.set(self.taken.get() + 1);
        self.out.set(self.out.get() + 1);
        let mut sockets = self.sockets.borrow_mut();
        if !sockets.contains(&socket) {
            sockets.push(socket);
        }
        if self.out.get() >= self.limit {
            let mut held = ctx.shared().held.borrow_mut();
            held.retain(|held| !sockets.contains(held));
            held.extend(&*sockets);
        }
        Task(Rc::new(Ticket {
            ctx: ctx.clone(),
            intake: Rc::clone(self),
            socket,
            message,
            number: self.taken.get(),
            holder: Cell::new(Holder::Service),
            gone: Cell::new(false),
        }))
    }

    fn put_back_permit(&self, ctx: &Context) {
        let shared = ctx.shared();
        if self.out.get() == self.limit {
            let sockets = self.sockets.borrow();
            shared.held.borrow_mut().retain(|held| !sockets.contains(held));
            shared.arrivals.notify_one();
        }
        self.out.set(self.out.get() - 1);
    }
}

/// A task of a worker: a [`Message`] that is to be worked on, and the permit to do so.
///
/// As long as it lives it counts towards the worker's `max_concurrent_tasks`: keep it until the work
/// is done. It may be worked on in [`on_task`](crate::Service::on_task), one after another; with
/// [`spawn`](Self::spawn) several are, beside the handlers.
///
/// A task that was not finished when another instance took over is given back to the host, and is
/// the first that the next instance gets.
pub struct Task(Rc<Ticket>);

struct Ticket {
    ctx: Context,
    intake: Rc<Intake>,
    /// By which it came.
    socket: i32,
    message: Message,
    number: u64,
    holder: Cell<Holder>,
    /// Whether the [`Task`] has been dropped.
    gone: Cell<bool>,
}

/// Who knows whether a task was finished.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The handler that is at it.
    Handler,
    /// The work that was spawned for it.
    Spawned,
    /// The service keeps it somewhere.
    Service,
}

impl Task {
    /// How many tasks the worker has taken since it started, this one included.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Works on the task beside the handlers: `work` begins soon and may take `work_timeout`, after
    /// which it is cut off. Its error is recorded and the service goes on, unless it is fatal; a panic
    /// ends the service, as in a handler. When the service stops, `work` has a while to end; then it is
    /// cancelled.
    ///
    /// ```
    /// # use plugin_api::prelude::*;
    /// # struct Echo { zmq: Worker }
    /// # impl Echo {
    /// async fn on_task(&mut self, _: &Context, task: Task) -> Result<()> {
    ///     let zmq = self.zmq.clone();
    ///     task.spawn(async move |task| zmq.push_result(&task.json::<Value>()?).await);
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn spawn<W>(self, work: W)
    where
        W: AsyncFnOnce(Self) -> Result<()> + 'static,
    {
        let ctx = self.0.ctx.clone();
        let in_hand = InHand::new(&self, Holder::Spawned);
        ctx.shared().work.spawn(&ctx, in_hand, async move { work(self).await });
    }
}

impl Deref for Task {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.0.message
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let ticket = &self.0;
        ticket.gone.set(true);
        ticket.intake.put_back_permit(&ticket.ctx);
        let work = &ticket.ctx.shared().work;
        if ticket.holder.get() == Holder::Service && work.is_cut_off() {
            ticket.leave_unfinished();
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("number", &self.0.number).field("message", &**self).finish()
    }
}

impl Ticket {
    fn leave_unfinished(&self) {
        let left = runtime::Unfinished {
            socket: self.socket,
            number: self.number,
            message: self.message.clone(),
        };
        self.ctx.shared().work.leave(left);
    }
}

/// The runtime's hold on a task that somebody is at. Dropped before it was told of an end, it takes
/// the work as cut off.
pub(crate) struct InHand {
    ticket: Rc<Ticket>,
    holder: Holder,
    told: bool,
}

impl InHand {
    fn new(task: &Task, holder: Holder) -> Self {
        task.0.holder.set(holder);
        Self { ticket: Rc::clone(&task.0), holder, told: false }
    }

    /// A handler is about to work on the task.
    pub(crate) fn by_handler(task: &Task) -> Self {
        Self::new(task, Holder::Handler)
    }

    pub(crate) fn number(&self) -> u64 {
        self.ticket.number
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.ticket.intake.timeout
    }

    /// What it is about.
    pub(crate) fn message(&self) -> &Message {
        &self.ticket.message
    }

    /// Whether work was spawned for it, which will say how it ends.
    pub(crate) fn is_spawned(&self) -> bool {
        self.ticket.holder.get() == Holder::Spawned
    }

    /// The handler or the work has ended, well or not.
    pub(crate) fn ended(mut self) {
        self.told = true;
    }

    /// The handler or the work gave up because the service is stopping.
    pub(crate) fn given_up(self) {}
}

impl Drop for InHand {
    fn drop(&mut self) {
        let ticket = &self.ticket;
        if ticket.holder.get() != self.holder {
            return;
        }
        if !ticket.gone.get() {
            ticket.holder.set(Holder::Service);
        } else if !self.told {
            ticket.leave_unfinished();
        }
    }
}
