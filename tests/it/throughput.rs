//! Many messages in a row: in order, and none lost below the high-water mark.

use serde_json::{Value, json};

use crate::harness::free_port;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::sockets::{publisher, subscriber};

const MESSAGES: u64 = 200_000;
/// Frame of a message, in bytes.
const SIZE: usize = 100;
/// The service says how far it is every this many messages, and the sender is never more than twice
/// as many ahead: below every high-water mark on the way.
const STRIDE: u64 = 1_000;

fn number(n: u64) -> Vec<u8> {
    let mut frame = format!("number {{\"n\":{n},\"pad\":\"");
    let padding = SIZE - frame.len() - 2;
    frame.extend(std::iter::repeat_n('x', padding));
    frame.push_str("\"}");
    frame.into_bytes()
}

#[test]
fn two_hundred_thousand_messages_arrive_in_order() {
    assert_eq!(number(MESSAGES).len(), SIZE);
    let events = free_port();
    let mut sender = Publisher::bind();
    let toml = format!(
        "progress_every = {STRIDE}\n{}{}",
        publisher(events),
        subscriber(sender.port(), &["number", "report"]),
    );
    let mut host = Project::new().service("counter", "fixture-counter", toml).start();
    host.wait_until_running("counter");
    sender.wait_for_subscriptions(&["number", "report"]);
    let mut receiver = Subscriber::connect(events, &["progress", "report"]);
    // An empty report comes back when the receiver's subscription has arrived.
    let empty = sender.ask_until_answered(&mut receiver, "report", &json!({}), "report");
    assert_eq!(empty["count"], 0);

    for block in 0..MESSAGES / STRIDE {
        for n in block * STRIDE..(block + 1) * STRIDE {
            sender.send_frame(number(n));
        }
        if block > 0 {
            receiver.wait_for(|topic, progress| {
                topic == "progress" && progress["count"] == block * STRIDE
            });
        }
    }
    receiver.wait_for(|topic, progress| topic == "progress" && progress["count"] == MESSAGES);
    sender.send("report", &json!({}));
    let report = receiver.wait_for(|topic, report| topic == "report" && report["count"] != 0);
    let expected: Value = json!({
        "count": MESSAGES, "in_order": true, "first": 0, "last": MESSAGES - 1, "build": null
    });
    assert_eq!(report, expected);
    assert_eq!(host.stop().0, Some(0));
}
