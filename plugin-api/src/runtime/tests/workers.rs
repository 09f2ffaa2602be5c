//! What becomes of tasks.

use super::sockets::{
    counted, deliver, envelope, left_in_host, lived, seconds, told, with_sockets,
};
use super::*;
use crate::abi::{Counter, with_mailbox};

/// Delivers the tasks `first` to `last` to the worker, whose PULL socket is its second.
fn deliver_tasks(first: u32, last: u32) {
    (first..=last).for_each(|n| deliver(EnvelopeKind::Task, 1, "", &n.to_string()));
}

/// A worker with a limit of tasks at the same time, and what it does with a task.
macro_rules! worker {
    ($name:ident, $limit:literal, |$it:ident, $ctx:ident, $task:ident| $body:block) => {
        struct $name {
            zmq: Worker,
            kept: Vec<Task>,
        }

        impl Service for $name {
            type Config = Config;

            async fn new(_: Config, _: &Context) -> Result<Self> {
                Ok(Self { zmq: Worker::default(), kept: Vec::new() })
            }

            async fn start(&mut self, ctx: &Context) -> Result<()> {
                tokio::time::pause();
                let max_concurrent_tasks = $limit;
                self.zmq =
                    ctx.worker(&WorkerConfig { max_concurrent_tasks, ..WorkerConfig::default() })?;
                Ok(())
            }

            async fn on_task(&mut self, $ctx: &Context, $task: Task) -> Result<()> {
                let $it = self;
                $body
            }

            async fn on_message(&mut self, ctx: &Context, message: Message) -> Result<()> {
                note(format!("message {}", message.topic()));
                if message.topic() == "stop" {
                    ctx.request_stop();
                }
                Ok(())
            }

            async fn stop(&mut self, _: &Context) -> Result<()> {
                note(format!("stop with {} kept", self.kept.len()));
                Ok(())
            }
        }
    };
}

#[test]
fn as_many_tasks_are_out_as_may_be_and_the_others_wait_in_the_host() {
    worker!(TwoAtOnce, 2, |_it, ctx, task| {
        let n: u64 = task.json()?;
        note(format!("task {n}, number {}", task.number()));
        let ctx = ctx.clone();
        task.spawn(async move |task| {
            seconds(task.json::<u64>()?).await;
            note(format!("done {n}, {} wait", left_in_host().len()));
            if n == 5 {
                ctx.request_stop();
            }
            Ok(())
        });
        Ok(())
    });
    let (outcome, notes) = lived::<TwoAtOnce>(|| {
        deliver_tasks(1, 5);
        deliver(EnvelopeKind::Message, 0, "status", "{}");
    });
    assert_eq!(outcome, RunOutcome::Stopped);
    assert_eq!(
        notes,
        [
            "task 1, number 1",
            "task 2, number 2",
            "message status",
            "done 1, 3 wait",
            "task 3, number 3",
            "done 2, 2 wait",
            "task 4, number 4",
            "done 3, 1 wait",
            "task 5, number 5",
            "done 4, 0 wait",
            "done 5, 0 wait",
            "stop with 0 kept",
        ]
    );
    assert_eq!(counted(Counter::Handled), 6);
}

#[test]
fn a_task_that_is_kept_keeps_its_permit() {
    worker!(Hoarder, 2, |it, _ctx, task| {
        it.kept.push(task);
        if it.kept.len() == 2 {
            deliver(EnvelopeKind::Message, 0, "stop", "{}");
        }
        Ok(())
    });
    let (_, notes) = lived::<Hoarder>(|| deliver_tasks(1, 3));
    let lost = "Error in on_task: 2 tasks were not finished and are lost: number 1, 2";
    assert_eq!(notes, ["message stop", "stop with 2 kept", lost]);
    assert_eq!(left_in_host(), ["3"]);
}

#[test]
fn tasks_of_a_socket_that_an_instance_before_had_count_too() {
    worker!(Heir, 2, |_it, ctx, task| {
        let n: u64 = task.json()?;
        note(format!("task {n}"));
        let ctx = ctx.clone();
        task.spawn(async move |_task| {
            seconds(n).await;
            note(format!("done {n}"));
            if n == 4 {
                ctx.request_stop();
            }
            Ok(())
        });
        Ok(())
    });
    let (_, notes) = lived::<Heir>(|| {
        for (n, socket) in [(1, 7), (2, 7), (3, 7), (4, 1)] {
            deliver(EnvelopeKind::Task, socket, "", &n.to_string());
        }
    });
    let expected = ["task 1", "task 2", "done 1", "task 3", "done 2", "task 4", "done 3", "done 4"];
    assert_eq!(notes[..8], expected);
}

#[test]
fn a_task_is_cut_off_at_its_timeout_and_the_next_one_is_worked_on() {
    worker!(Stuck, 1, |_it, ctx, task| {
        let n: u64 = task.json()?;
        note(format!("task {n}"));
        let begun = tokio::time::Instant::now();
        let _noted = Noted(Box::new(move || {
            note(format!("{n} dropped after {} s", begun.elapsed().as_secs()));
        }));
        match n {
            1 => std::future::pending().await,
            2 => task.spawn(async move |_task| {
                let _noted = _noted;
                std::future::pending().await
            }),
            _ => ctx.request_stop(),
        }
        Ok(())
    });
    let (outcome, notes) = lived::<Stuck>(|| deliver_tasks(1, 3));
    assert_eq!(outcome, RunOutcome::Stopped);
    let cut_off = |n| {
        format!("Error in on_task: task {n} was cut off: it took longer than work_timeout = 60 s")
    };
    let expected = [
        "task 1",
        "1 dropped after 60 s",
        &cut_off(1),
        "task 2",
        "2 dropped after 60 s",
        &cut_off(2),
        "task 3",
        "3 dropped after 0 s",
        "stop with 0 kept",
    ];
    assert_eq!(notes, expected);
    assert_eq!((counted(Counter::Handled), counted(Counter::HandlerError)), (1, 2));
}

struct Noted(Box<dyn Fn()>);

impl Drop for Noted {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn an_error_of_spawned_work_is_recorded_and_a_panic_ends_the_service() {
    worker!(Failing, 10, |_it, _ctx, task| {
        task.spawn(async move |task| match task.json()? {
            1 => Err(Error::new("no paint")),
            2 => Err(Error::unhandled()),
            3 => {
                seconds(1).await;
                panic!("no brush")
            }
            _ => std::future::pending().await,
        });
        Ok(())
    });
    let (outcome, notes) = lived::<Failing>(|| deliver_tasks(1, 4));
    assert_eq!(outcome, RunOutcome::Panicked);
    let expected = [
        "Error in on_task: no paint",
        "warning: no handler takes this message",
        "Panic in on_task: panicked: no brush",
        "stop with 0 kept",
        "Error in on_task: 1 tasks were not finished and are lost: number 4",
    ];
    assert_eq!(notes, expected);
    let counts = [Counter::Handled, Counter::Unhandled, Counter::HandlerError].map(counted);
    assert_eq!(counts, [0, 1, 2]);
}

#[test]
fn a_task_without_on_task_is_counted_as_unhandled() {
    struct Deaf;
    impl Service for Deaf {
        type Config = Config;
        async fn new(_: Config, _: &Context) -> Result<Self> {
            Ok(Self)
        }
        async fn start(&mut self, ctx: &Context) -> Result<()> {
            ctx.worker(&WorkerConfig::default())?;
            ctx.add_task("stop", {
                let ctx = ctx.clone();
                async move {
                    ctx.request_stop();
                    Ok(())
                }
            });
            Ok(())
        }
    }
    let (_, notes) = lived::<Deaf>(|| {
        deliver_tasks(1, 1);
        deliver(EnvelopeKind::Task, 1, "", "{no json");
        with_mailbox(|mailbox| mailbox.push_back(envelope(UNKNOWN, 1, "", b"{}")));
    });
    let expected = [
        "warning: no handler takes this message",
        "warning: left out a message that is not JSON",
        "warning: a message came of a kind that this plugin-api does not know",
    ];
    assert_eq!(notes, expected);
    assert_eq!((counted(Counter::Unhandled), counted(Counter::BadFrame)), (2, 1));
}

worker!(Leaving, 9, |it, ctx, task| {
    match task.json()? {
        // Ends while the service is on its way out.
        1 => task.spawn({
            let ctx = ctx.clone();
            async move |_task| {
                ctx.stopping().await;
                note("finished 1");
                Ok(())
            }
        }),
        2 => task.spawn(async move |_task| std::future::pending().await),
        3 => it.kept.push(task),
        4 => ctx.add_task("late", async move {
            let _task = task;
            std::future::pending().await
        }),
        5 => {
            let _gone_at_the_end = task;
            note("finished 5");
        }
        // Nobody is left who would have room for a result.
        6 => {
            with_sockets(|sockets| sockets.full = true);
            let zmq = it.zmq.clone();
            task.spawn(async move |task| zmq.push_result(&task.json::<u64>()?).await);
        }
        _ => {
            // The tasks of the service begin between two bursts of messages.
            tokio::task::yield_now().await;
            say(&[with_host(|host| host.after_answer[0])]);
            std::future::pending::<()>().await;
        }
    }
    Ok(())
});

#[test]
fn unfinished_tasks_are_given_back_in_order_for_the_next_instance() {
    let (outcome, notes) = lived::<Leaving>(|| deliver_tasks(1, 8));
    assert_eq!(outcome, RunOutcome::Stopped, "{notes:#?}");
    let finished: Vec<_> = notes.iter().filter(|note| note.starts_with("finished")).collect();
    assert_eq!(finished, ["finished 5", "finished 1"]);
    assert_eq!(left_in_host(), ["2", "3", "4", "6", "7", "8"]);
    assert!(!notes.iter().any(|note| note.contains("Error")), "{notes:#?}");
}

#[test]
fn a_plain_stop_records_what_was_not_finished() {
    worker!(Stopped, 3, |it, _ctx, task| {
        match task.json()? {
            1 => task.spawn(async move |_task| std::future::pending().await),
            2 => it.kept.push(task),
            _ => told(STOP).await,
        }
        Ok(())
    });
    let (outcome, notes) = lived::<Stopped>(|| deliver_tasks(1, 3));
    assert_eq!(outcome, RunOutcome::Stopped);
    let lost = "Error in on_task: 2 tasks were not finished and are lost: number 1, 2";
    assert_eq!(notes, ["stop with 1 kept", lost]);
    assert_eq!(left_in_host(), [] as [&str; 0]);
}

#[test]
fn a_push_waits_for_room() {
    worker!(Answering, 2, |it, ctx, task| {
        let n: u64 = task.json()?;
        if n == 1 {
            with_sockets(|sockets| sockets.full = true);
            let error = it.zmq.try_push_result(&n).unwrap_err();
            note(format!("{error:?}"));
            let (zmq, ctx) = (it.zmq.clone(), ctx.clone());
            task.spawn(async move |_task| {
                note("waiting");
                zmq.push_result(&n).await?;
                note("pushed");
                ctx.request_stop();
                Ok(())
            });
            return Ok(());
        }
        // The other one has been asking for a while.
        seconds(1).await;
        assert!(with_sockets(|sockets| std::mem::take(&mut sockets.asked)));
        // A word that brings nothing: somebody else was faster.
        told(EnvelopeKind::Room.code()).await;
        seconds(1).await;
        assert!(with_sockets(|sockets| sockets.asked), "it asks again");
        with_sockets(|sockets| sockets.full = false);
        note("room");
        told(EnvelopeKind::Room.code()).await;
        Ok(())
    });
    let (outcome, notes) = lived::<Answering>(|| deliver_tasks(1, 2));
    assert_eq!(outcome, RunOutcome::Stopped);
    let full = "Retryable: the queue of `zmq.push` is full; nothing was sent";
    let sent = "sent by zmq.push:  1";
    assert_eq!(notes, [full, "waiting", "room", sent, "pushed", "stop with 0 kept"]);
}

#[test]
fn what_stop_leaves_to_a_task_that_never_begins_goes_with_the_rest() {
    struct Late;
    impl Service for Late {
        type Config = Config;
        async fn new(_: Config, ctx: &Context) -> Result<Self> {
            ctx.request_stop();
            Ok(Self)
        }
        async fn stop(&mut self, ctx: &Context) -> Result<()> {
            // It owns the context that owns it.
            let (own, noted) = (ctx.clone(), Noted(Box::new(|| note("dropped"))));
            ctx.add_task("late", async move {
                let _ = (own, noted);
                Ok(())
            });
            Ok(())
        }
    }
    assert_eq!(lived::<Late>(|| {}), (RunOutcome::Stopped, strings(&["dropped"])));
}
