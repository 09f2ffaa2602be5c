//! Passes on what is heard on the bus, for as long as the client listens.

use std::num::NonZeroU64;

use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::answer::{LOOK, Stop, ending, tell};
use super::connection::{Connection, Gone};
use super::protocol::{Tapped, TappedMessage};
use crate::bus::tap::{Heard, Listening};
use crate::supervisor::orders::Orders;

/// How much is told of a payload that is not told whole, in bytes.
const BEGINNING: usize = 256;

/// Tells of each message as it is heard, and of those that there was no room for: until there were
/// `count`, the client goes away, or the host ends.
pub(super) async fn pass_on(
    connection: &mut Connection,
    mut listening: Listening,
    count: Option<NonZeroU64>,
    orders: &Orders,
) -> Result<bool, Stop> {
    let mut left = count.map(NonZeroU64::get);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while left != Some(0) {
        let heard = tokio::select! {
            // In this order: a client that has left is noticed also while messages come fast.
            biased;
            () = orders.ended() => return Err(ending().into()),
            _ = look.tick() => {
                if connection.is_gone() {
                    return Err(Gone::Closed.into());
                }
                None
            }
            heard = listening.next() => Some(heard.ok_or_else(ending)?),
        };
        let dropped = listening.dropped();
        if dropped > 0 {
            tell(connection, &Tapped::Lost { dropped }).await?;
        }
        if let Some(heard) = heard {
            tell(connection, &Tapped::Message(told(heard))).await?;
            left = left.map(|left| left - 1);
        }
    }
    Ok(true)
}

fn told(heard: Heard) -> TappedMessage {
    let Heard { at, service, key, direction, local, topic, size, payload } = heard;
    let is_whole = payload.len() == size;
    let json = is_whole.then(|| serde_json::from_slice::<Value>(&payload).ok()).flatten();
    let text = json.is_none().then(|| {
        let beginning = payload.get(..payload.len().min(BEGINNING)).unwrap_or_default();
        String::from_utf8_lossy(beginning).into_owned()
    });
    let payload = json.unwrap_or_default();
    TappedMessage { at, service, key, direction, local, topic, size, payload, text }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::bus::tap::Direction;

    fn of(payload: &str, size: usize) -> (Value, Option<String>) {
        let told = told(Heard {
            at: Timestamp::UNIX_EPOCH,
            service: "core".to_owned(),
            key: "zmq.publisher".to_owned(),
            direction: Direction::Sent,
            local: false,
            topic: "tick".to_owned(),
            size,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        });
        (told.payload, told.text)
    }

    #[test]
    fn json_is_told_as_json_and_of_anything_else_the_beginning() {
        assert_eq!(of("{\"n\":1}", 7), (json!({"n": 1}), None));
        assert_eq!(of("{\"n\":", 5), (Value::Null, Some("{\"n\":".to_owned())));
        let long = "1".repeat(1_000);
        assert_eq!(of(&long, 2_000), (Value::Null, Some("1".repeat(BEGINNING))), "cut before");
        assert_eq!(of("null", 4), (Value::Null, None));
    }
}
