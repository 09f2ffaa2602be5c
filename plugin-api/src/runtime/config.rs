//! A configuration, from the JSON that the host gives to the service's own type.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::argument::Arguments;
use crate::manifest::{ARGUMENTS_KEY, ConfigProblem, ConfigProblems, HOST_KEY};
use crate::service::Service;

/// What an instance is given: its configuration, and what the command line says besides.
pub(crate) struct Given<C> {
    pub(crate) config: C,
    pub(crate) arguments: Arguments,
}

/// Reads a configuration as the service's own type does, and has the service judge it.
pub(crate) fn read_config<S: Service>(json: &[u8]) -> Result<Given<S::Config>, Vec<ConfigProblem>> {
    let given = if S::arguments().is_empty() {
        Given {
            config: read(json).map_err(|problem| vec![problem])?,
            arguments: Arguments::default(),
        }
    } else {
        read_with_arguments(json).map_err(|problem| vec![problem])?
    };
    let mut problems = ConfigProblems::default();
    S::validate(&given.config, &mut problems);
    let problems = problems.into_vec();
    if problems.is_empty() { Ok(given) } else { Err(problems) }
}

/// The arguments come in the host's own table, which no configuration has as a key.
fn read_with_arguments<C: DeserializeOwned>(json: &[u8]) -> Result<Given<C>, ConfigProblem> {
    let mut table: Map<String, Value> = read(json)?;
    let host = table.remove(HOST_KEY).unwrap_or_default();
    let arguments = host.get(ARGUMENTS_KEY).and_then(Value::as_object).cloned();
    let config = read(Value::Object(table).to_string().as_bytes())?;
    Ok(Given { config, arguments: Arguments::new(arguments.unwrap_or_default()) })
}

fn read<C: DeserializeOwned>(json: &[u8]) -> Result<C, ConfigProblem> {
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

/// Problems as one line: `zmq.publisher.port: …; fps: …`.
pub(super) fn in_words(problems: &[ConfigProblem]) -> String {
    let words = problems.iter().map(|ConfigProblem { key, message }| {
        if key.is_empty() { message.clone() } else { format!("{key}: {message}") }
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::argument::Argument;
    use crate::context::Context;
    use crate::error::Result;

    crate::config! {
        /// A window of numbers.
        struct Window {
            /// Its beginning.
            low: i64 = 0,
            /// Its end.
            high: i64 = 10,
        }
    }

    struct Watcher;

    impl Service for Watcher {
        type Config = Window;

        async fn new(_: Window, _: &Context) -> Result<Self> {
            Ok(Self)
        }

        fn validate(config: &Window, problems: &mut ConfigProblems) {
            if config.low >= config.high {
                problems.add("low", format!("must be less than high, which is {}", config.high));
            }
            if config.high > 100 {
                problems.add("high", "is too far away");
            }
        }

        fn arguments() -> Vec<Argument> {
            vec![Argument::switch("dry-run"), Argument::whole("rounds").default(3)]
        }
    }

    fn refused(json: &str) -> String {
        read_config::<Watcher>(json.as_bytes()).err().map(|it| in_words(&it)).unwrap_or_default()
    }

    #[test]
    fn the_service_tells_everything_that_it_has_against_a_configuration() {
        assert_eq!(refused("{}"), "");
        assert_eq!(
            refused(r#"{"low": 200, "high": 200}"#),
            "low: must be less than high, which is 200; high: is too far away"
        );
        // What cannot be read cannot be judged.
        assert_eq!(refused(r#"{"low": "x"}"#), r#"low: invalid type: string "x", expected i64"#);
    }

    #[test]
    fn arguments_come_beside_the_configuration() {
        let json = r#"{"low": 1, "exphost": {"arguments": {"dry-run": true, "rounds": 5}}}"#;
        let given = read_config::<Watcher>(json.as_bytes()).unwrap_or_else(|it| panic!("{it:?}"));
        assert_eq!(given.config.low, 1);
        assert!(given.arguments.is_on("dry-run"));
        assert_eq!(given.arguments.whole("rounds"), Some(5));
        assert_eq!(given.arguments.text("rounds"), None);
    }
}
