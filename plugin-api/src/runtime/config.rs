//! A configuration, from the JSON that the host gives to the service's own type.

use serde::de::DeserializeOwned;

use crate::manifest::ConfigProblem;

/// Reads a configuration as the service's own type does.
pub(crate) fn read_config<C: DeserializeOwned>(json: &[u8]) -> Result<C, ConfigProblem> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let key = error.path().to_string();
        ConfigProblem {
            key: if key == "." { String::new() } else { key },
            message: without_place(error.inner()),
        }
    })
}

/// What is wrong, without the place in the host's JSON, which nobody has seen.
fn without_place(error: &serde_json::Error) -> String {
    let (message, place) = (error.to_string(), (error.line(), error.column()));
    let place = format!(" at line {} column {}", place.0, place.1);
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

/// A problem as one line: `zmq.publisher.port: …`.
pub(super) fn in_words(problem: &ConfigProblem) -> String {
    let ConfigProblem { key, message } = problem;
    if key.is_empty() { message.clone() } else { format!("{key}: {message}") }
}
