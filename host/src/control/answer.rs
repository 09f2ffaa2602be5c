//! From a request to orders for the supervisor, and from its reports to the lines of the answer.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::connection::{Connection, Gone};
use super::protocol::{Accepted, Code, Counted, Done, Failure, Line, Request};
use super::tap;
use crate::config::nearest::known_names;
use crate::supervisor::orders::{
    Decision, Listener, Order, Orders, Publication, Refused, Report, Verdict,
};
use crate::supervisor::status::{ServiceStatus, Status};
use crate::supervisor::why;

/// How often a client that waits for a report is looked after.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Why an answer has no end of its own.
pub(super) enum Stop {
    /// The client is told, and may go on asking.
    Failure(Failure),
    /// There is nobody to tell.
    Gone(Gone),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Gone> for Stop {
    fn from(gone: Gone) -> Self {
        Self::Gone(gone)
    }
}

/// Answers one request, to its last line.
pub(super) async fn answer(
    connection: &mut Connection,
    request: Request,
    orders: &Orders,
) -> Result<(), Gone> {
    // Whatever is ordered: who is told that an order is taken must know that the supervisor is
    // there to carry it out.
    let answered = match status(orders, connection.limits().answer).await {
        Err(failure) => Err(failure.into()),
        Ok(status) => carry_out(connection, request, status, orders).await,
    };
    let last = match answered {
        Ok(ok) => Line::Done(Done { ok }),
        Err(Stop::Failure(failure)) => Line::Error(failure),
        Err(Stop::Gone(gone)) => return Err(gone),
    };
    connection.send(&last).await
}

/// Does what is asked for, to the last line but one; the answer is whether it has come about.
async fn carry_out(
    connection: &mut Connection,
    request: Request,
    status: Status,
    orders: &Orders,
) -> Result<bool, Stop> {
    let command = request.command();
    match request {
        Request::Status {} => tell(connection, &status).await.map(|()| true),
        Request::Why { service } => match why::why(&status, &service, Timestamp::now()) {
            Some(why) => tell(connection, &why).await.map(|()| true),
            None => Err(unknown(&status, &service).into()),
        },
        Request::Stats { service } => count(connection, status, service).await,
        Request::Logs { service } => {
            let order = |reply| Order::LogFiles { service, reply };
            let files = asked(connection, orders, order).await?;
            tell_each(connection, files).await
        }
        Request::LogLevel { level: change, service } => {
            let order = |reply| Order::LogLevel { service, change, reply };
            let levels = asked(connection, orders, order).await?;
            tell_each(connection, [levels]).await
        }
        Request::Publish { topic, payload, service } => {
            let payload = payload.to_string().into_bytes();
            let publication = Publication { service, topic, payload };
            let order = |reply| Order::Publish { publication, reply };
            let published = asked(connection, orders, order).await?;
            tell_each(connection, [published]).await
        }
        Request::Tap { topic, count } => {
            let order = |reply| Order::Listen { topic: topic.unwrap_or_default(), reply };
            let listening = asked(connection, orders, order).await?;
            accept(connection, command, Vec::new()).await?;
            tap::pass_on(connection, listening, count, orders).await
        }
        Request::Reload { service: None, force, .. } => {
            let services = status.services.into_iter().map(|it| it.name).collect();
            reload_all(connection, services, force, orders).await
        }
        Request::Reload { service: Some(service), force, .. } => {
            let order = |service, listener| Order::Reload { service, force, listener };
            one(connection, command, service, order, orders).await
        }
        Request::Restart { service } => {
            let order = |service, listener| Order::Restart { service, listener };
            one(connection, command, service, order, orders).await
        }
        Request::Start { service } => {
            let order = |service, listener| Order::Start { service, listener };
            one(connection, command, service, order, orders).await
        }
        Request::Stop { service } => {
            let order = |service, listener| Order::Stop { service, listener };
            one(connection, command, service, order, orders).await
        }
    }
}

fn unknown(status: &Status, service: &str) -> Failure {
    let names: Vec<_> = status.services.iter().map(|it| it.name.as_str()).collect();
    let failure = Failure::new(Code::Refused, format!("there is no service `{service}`"));
    Failure { hint: known_names(service, &names, "services"), ..failure }
}

/// Has an order for one service carried out.
async fn one(
    connection: &mut Connection,
    command: &str,
    service: String,
    order: impl FnOnce(String, Listener) -> Order,
    orders: &Orders,
) -> Result<bool, Stop> {
    accept(connection, command, vec![service.clone()]).await?;
    match follow(connection, |listener| order(service, listener), orders).await? {
        End::Over(ok) => Ok(ok),
        End::Refused(refused) => Err(refusal(refused).into()),
    }
}

/// Reloads services in turn: each has the machine to itself, so its gap is as short as can be.
async fn reload_all(
    connection: &mut Connection,
    services: Vec<String>,
    force: bool,
    orders: &Orders,
) -> Result<bool, Stop> {
    accept(connection, "reload", services.clone()).await?;
    let mut all_ok = true;
    for service in services {
        let name = service.clone();
        let order = |listener| Order::Reload { service: name, force, listener };
        match follow(connection, order, orders).await? {
            End::Over(ok) => all_ok &= ok,
            End::Refused(refused) => {
                tell(connection, &verdict_of(service, refused)).await?;
                all_ok = false;
            }
        }
    }
    Ok(all_ok)
}

/// How an order ended.
enum End {
    /// It was carried out, or tried.
    Over(bool),
    /// It was turned away.
    Refused(Refused),
}

/// Gives an order and passes its reports on, until the one that ends it.
async fn follow(
    connection: &mut Connection,
    order: impl FnOnce(Listener) -> Order,
    orders: &Orders,
) -> Result<End, Stop> {
    let (listener, mut reports) = mpsc::unbounded_channel();
    let given = orders.give(order(listener));
    let given = timeout(connection.limits().answer, given).await.map_err(|_| no_answer())?;
    given.map_err(|_| ending())?;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let report = tokio::select! {
            // In this order: what was reported before the end counts.
            biased;
            report = reports.recv() => report.ok_or_else(ending)?,
            () = orders.ended() => return Err(ending().into()),
            _ = look.tick() => {
                if connection.is_gone() {
                    return Err(Gone::Closed.into());
                }
                continue;
            }
        };
        let end = match &report {
            Report::Refused(refused) => return Ok(End::Refused(refused.clone())),
            Report::Step(_) => None,
            Report::Verdict(verdict) => Some(verdict.verdict == Decision::Reloaded),
            Report::Progress(progress) => progress.done.then_some(progress.ok),
        };
        tell(connection, &report).await?;
        if let Some(ok) = end {
            return Ok(End::Over(ok));
        }
    }
}

/// How everything is.
async fn status(orders: &Orders, deadline: Duration) -> Result<Status, Failure> {
    put(orders, deadline, Order::Status).await
}

/// What the supervisor answers to an order that it may refuse.
async fn asked<T>(
    connection: &Connection,
    orders: &Orders,
    order: impl FnOnce(oneshot::Sender<Result<T, Refused>>) -> Order,
) -> Result<T, Failure> {
    put(orders, connection.limits().answer, order).await?.map_err(refusal)
}

/// Gives an order that is answered at once.
async fn put<T>(
    orders: &Orders,
    deadline: Duration,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
) -> Result<T, Failure> {
    let (sender, receiver) = oneshot::channel();
    let asked = async {
        orders.give(order(sender)).await.map_err(|_| ending())?;
        receiver.await.map_err(|_| ending())
    };
    timeout(deadline, asked).await.map_err(|_| no_answer())?
}

/// Tells what is counted of one service, or of each.
async fn count(
    connection: &mut Connection,
    status: Status,
    service: Option<String>,
) -> Result<bool, Stop> {
    if let Some(service) = &service
        && !status.services.iter().any(|it| it.name == *service)
    {
        return Err(unknown(&status, service).into());
    }
    let is_meant = |it: &ServiceStatus| service.as_ref().is_none_or(|service| it.name == *service);
    let counted = status.services.into_iter().filter(is_meant).map(|it| Counted {
        service: it.name,
        uptime: it.uptime,
        statistics: it.statistics,
    });
    tell_each(connection, counted).await
}

/// Tells all that was answered.
async fn tell_each(
    connection: &mut Connection,
    items: impl IntoIterator<Item = impl Serialize>,
) -> Result<bool, Stop> {
    for item in items {
        tell(connection, &item).await?;
    }
    Ok(true)
}

async fn accept(
    connection: &mut Connection,
    command: &str,
    services: Vec<String>,
) -> Result<(), Gone> {
    let accepted = Accepted { command: command.to_owned(), services };
    connection.send(&Line::Accepted(accepted)).await
}

pub(super) async fn tell(connection: &mut Connection, item: &impl Serialize) -> Result<(), Stop> {
    match serde_json::to_value(item) {
        Ok(item) => Ok(connection.send(&Line::Item(item)).await?),
        Err(error) => {
            tracing::error!(%error, "an answer on the control socket cannot be written");
            Err(Failure::new(Code::NoAnswer, format!("the answer cannot be written: {error}"))
                .into())
        }
    }
}

fn refusal(Refused { error, hint }: Refused) -> Failure {
    Failure { hint, ..Failure::new(Code::Refused, error) }
}

fn no_answer() -> Failure {
    Failure::new(Code::NoAnswer, "the host's supervisor does not answer")
        .hint("the host's log tells what it did last; kill its process if it does not recover")
}

pub(super) fn ending() -> Failure {
    Failure::new(Code::Ending, "the host is ending").hint("its log tells why")
}

/// What a service that cannot be reloaded gets among others that can.
fn verdict_of(service: String, refused: Refused) -> Verdict {
    Verdict {
        service,
        verdict: Decision::Refused,
        from: None,
        to: None,
        ms: 0.0,
        gap_ms: None,
        reason: Some(refused.error),
        hint: refused.hint,
    }
}
