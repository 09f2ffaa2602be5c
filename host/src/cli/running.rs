//! The running host, as the commands that talk to it find it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Common, Exit, output};
use crate::control::client::NoAnswer;
use crate::control::protocol::Request;
use crate::control::{Client, Place};
use crate::environment::Process;
use crate::prepare;
use crate::problem::Problem;
use crate::project::{HostSettings, Places, ProjectName};

/// Why there is no host to talk to, for people, and how the command ends for it.
pub(super) struct Absent {
    problems: Vec<Problem>,
    exit: Exit,
}

impl Absent {
    /// Tells people.
    pub(super) fn tell(self) -> Exit {
        output::all_problems(&self.problems);
        self.exit
    }
}

/// Connects to the host of the project that the command line means. When there is none, the user has
/// been told.
pub(super) fn connect(common: &Common, process: &Process<'_>) -> Result<Client, Exit> {
    find(common, process).map_err(Absent::tell)
}

/// Connects to the host of the project that the command line means.
pub(super) fn find(common: &Common, process: &Process<'_>) -> Result<Client, Absent> {
    let wishes = common.wishes();
    let places = Places::new(prepare::projects_dir(&wishes));
    let name = ProjectName::choose(wishes.project, process.env, places.projects())
        .map_err(|problem| Absent { problems: vec![*problem], exit: Exit::BadConfig })?;
    // A host that runs may have been started before its file was spoiled; it is looked for in the
    // usual places then, and what is wrong is told only if that does not help.
    let (settings, mut problems) = HostSettings::read(&places.folders(&name));
    let places = Place::all(&name.to_string(), settings.control.socket.as_deref(), process);
    let client = Client::connect(&places).map_err(|problem| {
        problems.push(*problem);
        Absent { problems, exit: Exit::Failed }
    })?;
    if places.first() != Some(client.place()) {
        // An order may not be meant for it.
        let (pid, socket) = (client.hello().pid, client.place().socket().display());
        output::note(&format!("note: this is the host at {socket}, process {pid}"));
    }
    Ok(client)
}

/// What the host answers to a request that has one item for an answer, as it came. When there is none,
/// the user has been told.
pub(super) fn answer(
    common: &Common,
    process: &Process<'_>,
    request: &Request,
) -> Result<Value, Exit> {
    let mut client = connect(common, process)?;
    let mut document = Value::Null;
    client.ask(request, |item| document = item).map_err(complain)?;
    Ok(document)
}

/// Prints an answer: as it came, or in lines for people.
pub(super) fn show<T: DeserializeOwned>(
    document: Value,
    json: bool,
    text: impl FnOnce(&T) -> Vec<String>,
) -> Exit {
    if json {
        output::json(&document);
        return Exit::Done;
    }
    match serde_json::from_value(document) {
        Ok(answer) => {
            text(&answer).iter().for_each(|line| output::line(line));
            Exit::Done
        }
        Err(error) => not_understood(&error),
    }
}

/// Tells people that the answer is of another version.
pub(super) fn not_understood(error: &serde_json::Error) -> Exit {
    let problem = Problem::error(format!("the host's answer is not understood: {error}"));
    let hint = "use the exphost that the host was started with, or --json";
    output::note(&output::problem(&problem.hint(hint)));
    Exit::Failed
}

/// Tells people why there is no answer.
pub(super) fn complain(no_answer: NoAnswer) -> Exit {
    output::note(&output::problem(&no_answer.problem()));
    Exit::Failed
}

/// Prints one object of a stream, on one line.
pub(super) fn object(object: &impl Serialize) {
    match serde_json::to_string(object) {
        Ok(text) => output::line(&text),
        Err(error) => output::note(&format!("error: cannot write the result as JSON: {error}")),
    }
}
