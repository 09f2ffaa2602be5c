//! `exphost publish`: a message by the publisher of a running service.

use clap::Args;
use serde_json::Value;

use super::reports::plain;
use super::{Common, Exit, output, running};
use crate::control::protocol::Request;
use crate::environment::Process;
use crate::problem::Problem;
use crate::supervisor::orders::Published;

#[derive(Debug, Args)]
pub(super) struct PublishArguments {
    /// The topic
    topic: String,
    /// The payload, as JSON
    payload: String,
    /// The service by whose publisher; it may be left out when only one has a publisher
    #[arg(long = "as", value_name = "SERVICE")]
    service: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn publish(common: &Common, process: &Process<'_>, wanted: PublishArguments) -> Exit {
    let PublishArguments { topic, payload, service, json } = wanted;
    let payload: Value = match serde_json::from_str(&payload) {
        Ok(payload) => payload,
        Err(error) => {
            let hint = "a text is JSON in quotes: '\"like this\"'";
            let problem = Problem::error(format!("the payload is not JSON: {error}")).hint(hint);
            output::note(&output::problem(&problem));
            return Exit::Usage;
        }
    };
    match running::answer(common, process, &Request::Publish { topic, payload, service }) {
        Ok(published) => running::show(published, json, |published| vec![text(published)]),
        Err(exit) => exit,
    }
}

fn text(published: &Published) -> String {
    let Published { service, key, endpoint, topic, size, connections, joined } = published;
    let (service, key, endpoint, topic) =
        (plain(service), plain(key), plain(endpoint), plain(topic));
    format!(
        "published {topic} ({size} bytes) by {service} ({key}, {endpoint}): \
         {}, {} in this host",
        output::counted(*connections, "connection"),
        output::counted(*joined, "subscriber")
    )
}
