//! Who gets which message, and what a controller makes of results that come or do not.

use super::sockets::{deliver, lived, seconds};
use super::*;
use crate::schemas::SpaceTimeUpdate;

async fn on_status<S>(_: &mut S, _: &Context, message: Message) -> Result<()> {
    note(format!("status: {}", message.topic()));
    Ok(())
}

async fn on_update<S>(_: &mut S, _: &Context, update: SpaceTimeUpdate) -> Result<()> {
    note(format!("update: {:?}", update.tags));
    Ok(())
}

async fn on_plain_update<S>(_: &mut S, _: &Context, message: Message) -> Result<()> {
    note(format!("plain update: {:?}", message.json::<Value>()?["tags"]));
    Ok(())
}

async fn on_rest<S>(_: &mut S, ctx: &Context, message: Message) -> Result<()> {
    note(format!("any: {}", message.topic()));
    if message.topic() == "stop" {
        ctx.request_stop();
    }
    Ok(())
}

/// A subscriber with these handlers.
macro_rules! sorted_with {
    ($name:ident, |$handlers:ident| $body:expr) => {
        struct $name;
        impl Service for $name {
            type Config = Config;
            async fn new(_: Config, _: &Context) -> Result<Self> {
                Ok(Self)
            }
            async fn start(&mut self, ctx: &Context) -> Result<()> {
                let subscriber = Some(SubscriberConfig::default());
                ctx.pub_sub(&PubSubConfig { subscriber, ..PubSubConfig::default() })?;
                Ok(())
            }
            fn handlers($handlers: &mut Handlers<Self>) {
                $body;
            }
            async fn on_message(&mut self, ctx: &Context, message: Message) -> Result<()> {
                note(format!("on_message: {}", message.topic()));
                if message.topic() == "stop" {
                    ctx.request_stop();
                }
                Ok(())
            }
        }
    };
}

fn deliver_sorted() {
    let message = |topic, payload| deliver(EnvelopeKind::Message, 0, topic, payload);
    message("status", "{}");
    message("statuses", "{}");
    message("SpaceTimeUpdate", r#"{"type": "SpaceTimeUpdate", "tags": ["rain"]}"#);
    message("SpaceTimeUpdate", r#"{"type": "SpaceTimeUpdate", "tags": 5}"#);
    message("", "{}");
    message("stop", "{}");
}

#[test]
fn a_message_goes_to_its_type_then_its_topic_then_the_catch_all() {
    sorted_with!(All, |handlers| handlers
        .topic("status", on_status)
        .message::<SpaceTimeUpdate>(on_update)
        .topic("SpaceTimeUpdate", on_plain_update)
        .topic("*", on_rest));
    let (outcome, notes) = lived::<All>(deliver_sorted);
    assert_eq!(outcome, RunOutcome::Stopped);
    let expected = [
        "status: status",
        "any: statuses",
        r#"update: Some(["rain"])"#,
        "plain update: Number(5)",
        "any: ",
        "any: stop",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn what_no_handler_is_there_for_goes_to_on_message() {
    sorted_with!(Few, |handlers| handlers
        .topic("status", on_status)
        .message::<SpaceTimeUpdate>(on_update));
    let (_, notes) = lived::<Few>(deliver_sorted);
    let expected = [
        "status: status",
        "on_message: statuses",
        r#"update: Some(["rain"])"#,
        "on_message: SpaceTimeUpdate",
        "on_message: ",
        "on_message: stop",
    ];
    assert_eq!(notes, expected);
}

/// Pushes a task, and lets time pass.
struct Directing(Controller);

impl Service for Directing {
    type Config = Config;

    async fn new(_: Config, _: &Context) -> Result<Self> {
        Ok(Self(Controller::default()))
    }

    async fn start(&mut self, ctx: &Context) -> Result<()> {
        tokio::time::pause();
        let takes = |types: &[&str], port| {
            let message_types = types.iter().map(|it| (*it).to_owned()).collect();
            let mut link = WorkerLink { message_types, ..WorkerLink::default() };
            (link.push.port, link.pull.port) = (port, port + 1);
            link
        };
        let workers = [
            ("any".to_owned(), takes(&[], 6000)),
            (" image ".to_owned(), takes(&["RenderRequest", "SpaceTimeUpdate"], 6002)),
        ];
        let config = ControllerConfig { workers: workers.into(), ..ControllerConfig::default() };
        self.0 = ctx.controller(&config)?;
        let (ctx, zmq, begun) = (ctx.clone(), self.0.clone(), tokio::time::Instant::now());
        ctx.clone().add_task("script", async move {
            script(&ctx, &zmq).await?;
            note(format!("over after {} s", begun.elapsed().as_secs()));
            ctx.request_stop();
            Ok(())
        });
        Ok(())
    }

    async fn on_result(&mut self, _: &Context, worker: &str, result: Message) -> Result<()> {
        note(format!("result of {worker}: {}", result.json::<u64>()?));
        Ok(())
    }

    async fn on_worker_timeout(&mut self, _: &Context, worker: &str, n: u64) -> Result<()> {
        note(format!("timeout of {worker}: {n} outstanding"));
        Ok(())
    }
}

fn deliver_result(socket: i32, result: u32) {
    deliver(EnvelopeKind::Result, socket, "", &result.to_string());
    say(&[]);
}

/// Pushes, gets results, and waits for others that do not come.
async fn script(ctx: &Context, zmq: &Controller) -> Result<()> {
    let update = SpaceTimeUpdate { tags: None, timestamp: None, extra: Default::default() };
    for worker in ["image", "any", "video"] {
        if let Err(error) = zmq.push_task(worker, &json!({"type": "Alert"})).await {
            note(format!("refused: {error}"));
        }
    }
    zmq.route_task(&update).await?;
    note(format!(
        "{} outstanding of {:?}",
        zmq.outstanding("image"),
        zmq.workers().collect::<Vec<_>>()
    ));
    seconds(59).await;
    // The pull of worker `any` is the first socket, that of `image` the third.
    deliver_result(0, 1);
    zmq.push_task_message("image", &update).await?;
    seconds(59).await;
    deliver_result(2, 2);
    seconds(10).await;
    deliver_result(2, 3);
    seconds(1).await;
    zmq.forget_outstanding("any");
    let failed = zmq.send_to_all_workers(&json!({"type": "Alert"})).await;
    note(format!("failed: {failed:?}, {} outstanding", zmq.outstanding("any")));
    assert!(ctx.running());
    Ok(())
}

#[test]
fn a_controller_pushes_by_type_and_reports_a_worker_that_answers_nothing() {
    let (outcome, notes) = lived::<Directing>(|| {});
    assert_eq!(outcome, RunOutcome::Stopped, "{notes:#?}");
    let takes =
        "worker `image` takes no task of type `Alert`; it takes RenderRequest, SpaceTimeUpdate";
    let update = r#"sent by zmq.workers.image.push:  {"type":"SpaceTimeUpdate"}"#;
    let alert = r#"sent by zmq.workers.any.push:  {"type":"Alert"}"#;
    let late =
        "image is Warning: 2 tasks have no result, and none came for 60 s (2 pushed, 0 results)";
    let expected = [
        &format!("refused: {takes}"),
        alert,
        "refused: there is no worker `video` in `zmq.workers`, but any, image",
        update,
        r#"1 outstanding of ["any", "image"]"#,
        update,
        "result of any: 1",
        &format!("worker {late}"),
        "warning: the worker answers nothing",
        "timeout of image: 2 outstanding",
        "worker image is Healthy: results come again",
        "result of image: 2",
        "result of image: 3",
        alert,
        &format!(r#"failed: [("image", Invalid: {takes})], 1 outstanding"#),
        "over after 129 s",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn a_worker_that_never_answers_is_reported_once() {
    struct Patient(Directing);
    impl Service for Patient {
        type Config = Config;
        async fn new(_: Config, _: &Context) -> Result<Self> {
            Ok(Self(Directing(Controller::default())))
        }
        async fn start(&mut self, ctx: &Context) -> Result<()> {
            tokio::time::pause();
            let workers = [("image".to_owned(), WorkerLink::default())].into();
            let zmq = ctx.controller(&ControllerConfig { workers, ..Default::default() })?;
            let ctx = ctx.clone();
            ctx.clone().add_task("script", async move {
                // Of the instance before; they stand for nothing that this one asks for.
                deliver_result(0, 8);
                deliver_result(9, 9);
                seconds(1).await;
                zmq.push_task("image", &1).await?;
                seconds(1000).await;
                deliver_result(0, 1);
                seconds(1000).await;
                zmq.push_task("image", &2).await?;
                seconds(1000).await;
                ctx.request_stop();
                Ok(())
            });
            Ok(())
        }
        async fn on_result(&mut self, ctx: &Context, worker: &str, it: Message) -> Result<()> {
            self.0.on_result(ctx, worker, it).await
        }
        async fn on_worker_timeout(&mut self, ctx: &Context, it: &str, n: u64) -> Result<()> {
            self.0.on_worker_timeout(ctx, it, n).await
        }
    }
    let (_, notes) = lived::<Patient>(|| {});
    let short: Vec<_> = notes.iter().map(|note| note.split(": ").next().unwrap_or(note)).collect();
    let late = ["worker image is Warning", "warning", "timeout of image"];
    let push = ["sent by zmq.workers.image.push"];
    let answer = ["worker image is Healthy", "result of image"];
    let old = ["result of image"; 2];
    assert_eq!(short, [&old[..], &push, &late, &answer, &push, &late].concat());
}
