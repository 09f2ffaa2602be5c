//! One attempt to post something, on a thread that may block.
//!
//! What goes to the log names the target and never its address, whose path may be a secret, nor what
//! was sent with it.

use std::time::Duration;

use plugin_api::Secret;
use ureq::Agent;

use crate::config::Config;
use crate::notice::Notice;

/// Something to post.
#[derive(Clone)]
pub(crate) struct Request {
    /// Whom it is for, in the log.
    pub(crate) target: &'static str,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// It may succeed at another time.
    Failed(String),
    /// It would be refused again.
    Refused(String),
}

/// What a notice is posted as: for each target that is configured, one request.
pub(crate) fn requests(notice: &Notice, project: &str, config: &Config) -> Vec<Request> {
    let mut requests = Vec::new();
    let bearer = |token: &Secret| {
        (!token.is_empty()).then(|| ("Authorization", format!("Bearer {}", token.expose())))
    };
    if !config.webhook.url.is_empty() {
        let json = ("Content-Type", "application/json".to_owned());
        requests.push(Request {
            target: "webhook",
            url: config.webhook.url.clone(),
            headers: [json].into_iter().chain(bearer(&config.webhook.token)).collect(),
            body: notice.to_json(project).to_string(),
        });
    }
    if !config.ntfy.server.is_empty() {
        let headers = [
            ("Title", header_text(&notice.title)),
            ("Priority", notice.priority().to_string()),
            ("Tags", notice.tag().to_owned()),
        ];
        requests.push(Request {
            target: "ntfy",
            url: format!("{}/{}", config.ntfy.server.trim_end_matches('/'), config.ntfy.topic),
            headers: headers.into_iter().chain(bearer(&config.ntfy.token)).collect(),
            body: notice.body.clone(),
        });
    }
    requests
}

/// What may stand in a header: no line breaks, nothing but ASCII.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}

/// An agent whose attempts end within `timeout`, and that follows no redirect: a token is for the
/// address that it was configured for.
pub(crate) fn agent(timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("exphost-health/", env!("CARGO_PKG_VERSION")));
    config.build().new_agent()
}

/// Posts once. Blocks until that has ended, for as long as the agent's timeout.
pub(crate) fn post(agent: &Agent, request: &Request) -> Outcome {
    let mut post = agent.post(&request.url);
    for (name, value) in &request.headers {
        post = post.header(*name, value);
    }
    match post.send(&request.body) {
        Ok(response) => outcome_of(response.status().as_u16()),
        Err(error) => outcome_of_error(&error),
    }
}

fn outcome_of(status: u16) -> Outcome {
    match status {
        200..=299 => Outcome::Delivered,
        408 | 425 | 429 | 500..=599 => Outcome::Failed(format!("answered {status}")),
        _ => Outcome::Refused(format!("answered {status}")),
    }
}

/// In words of our own: those of the library may repeat the address or a header.
fn outcome_of_error(error: &ureq::Error) -> Outcome {
    match error {
        ureq::Error::Timeout(_) => Outcome::Failed("did not answer in time".to_owned()),
        ureq::Error::HostNotFound => Outcome::Failed("its host is not known".to_owned()),
        ureq::Error::ConnectionFailed => Outcome::Failed("cannot be connected to".to_owned()),
        ureq::Error::Io(error) => Outcome::Failed(format!("failed: {}", error.kind())),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
            Outcome::Failed("has no connection that can be trusted (TLS)".to_owned())
        }
        ureq::Error::BadUri(_) => Outcome::Refused("has an address that makes no sense".to_owned()),
        ureq::Error::Http(_) => {
            Outcome::Refused("has an address or a token that cannot be sent".to_owned())
        }
        _ => Outcome::Failed("did not answer as a server does".to_owned()),
    }
}

#[cfg(test)]
#[path = "tests/http.rs"]
mod tests;
