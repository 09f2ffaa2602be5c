//! The flags of a service: one for each key of its configuration, and those it declares besides.

use std::collections::BTreeMap;

use clap::builder::PossibleValuesParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use plugin_api::argument::{Argument, ArgumentKind};
use plugin_api::manifest::Manifest;
use serde_json::Value;

use crate::config::convert::convert;
use crate::config::leaves::Leaf;
use crate::config::path::Segment;
use crate::config::{KeyPath, Override, Schema, arguments, defaults_of, toml_text};

/// The heading of what stands at the top of a configuration.
const TOP_HEADING: &str = "Configuration";

/// The heading of the arguments that are no fields.
const ARGUMENTS_HEADING: &str = "Arguments of the service";

/// What a flag sets.
#[derive(Clone, Debug)]
enum Sets {
    /// A value that is given.
    Value,
    /// This one, by being there.
    Fixed(&'static str),
    /// A list: each time one item, or once the whole as JSON.
    Items,
}

#[derive(Clone, Debug)]
struct Flag {
    name: String,
    path: KeyPath,
    sets: Sets,
}

/// The flags of one service.
#[derive(Debug)]
pub(super) struct Flags<'m> {
    schema: Schema<'m>,
    flags: Vec<Flag>,
    args: Vec<Arg>,
}

impl<'m> Flags<'m> {
    /// Flags for a service whose configuration is `value` without them. `taken` are names of flags
    /// that mean something else: a key of such a name has `config-` before it.
    pub(super) fn new(manifest: &'m Manifest, value: &Value, taken: &[String]) -> Self {
        let schema = Schema::new(&manifest.config_schema);
        let defaults = defaults_of(manifest);
        let mut flags = Self { schema, flags: Vec::new(), args: Vec::new() };
        let is_taken = |name: &str| {
            let own = manifest.arguments.iter().any(|argument| argument.name == name);
            own || taken.iter().any(|taken| taken == name)
        };
        let leaves = schema.leaves(value, &defaults);
        let mut named: BTreeMap<String, usize> = BTreeMap::new();
        for leaf in &leaves {
            *named.entry(name_of(&leaf.path)).or_default() += 1;
        }
        for leaf in &leaves {
            let plain = name_of(&leaf.path);
            // Two keys of one name have none: `--set` tells them apart.
            if named.get(&plain) == Some(&1) {
                let negation = format!("no-{plain}");
                let clashes =
                    is_taken(&plain) || is_taken(&negation) || named.contains_key(&negation);
                let name = if clashes { format!("config-{plain}") } else { plain };
                flags.add_leaf(leaf, &name);
            }
        }
        for argument in &manifest.arguments {
            flags.add_argument(argument);
        }
        flags
    }

    /// The command with these flags.
    pub(super) fn add_to(&self, command: Command) -> Command {
        command.args(&self.args)
    }

    fn add_leaf(&mut self, leaf: &Leaf<'m>, name: &str) {
        let heading = heading(&leaf.path);
        let help = help(leaf);
        if leaf.types == ["boolean"] {
            let is_on = leaf.default.as_ref().and_then(Value::as_bool).unwrap_or(false);
            let (shown, hidden) = if is_on {
                ((format!("no-{name}"), "false"), (name.to_owned(), "true"))
            } else {
                ((name.to_owned(), "true"), (format!("no-{name}"), "false"))
            };
            // A file may have switched it, so the way back is there too.
            self.add_switch(&leaf.path, &shown, &hidden.0, &heading, help, false);
            self.add_switch(&leaf.path, &hidden, &shown.0, &heading, String::new(), true);
            return;
        }
        let is_list = leaf.types == ["array"];
        let mut arg = Arg::new(name.to_owned()).long(name.to_owned());
        arg = arg.help(help).help_heading(heading).value_name(metavar(&self.schema, leaf));
        arg = arg.allow_hyphen_values(true);
        arg = if is_list { arg.action(ArgAction::Append) } else { arg.action(ArgAction::Set) };
        if !leaf.choices.is_empty() && leaf.types == ["string"] {
            let choices: Vec<String> = leaf.choices.iter().map(|it| (*it).to_owned()).collect();
            arg = arg.value_parser(PossibleValuesParser::new(choices));
        }
        if leaf.path.last_key().is_some_and(is_path_name) {
            arg = arg.value_hint(clap::ValueHint::AnyPath);
        }
        let sets = if is_list { Sets::Items } else { Sets::Value };
        self.push(arg, Flag { name: name.to_owned(), path: leaf.path.clone(), sets });
    }

    fn add_switch(
        &mut self,
        path: &KeyPath,
        (name, value): &(String, &'static str),
        opposite: &str,
        heading: &str,
        help: String,
        hide: bool,
    ) {
        let arg = Arg::new(name.clone()).long(name.clone()).action(ArgAction::SetTrue);
        let arg = arg.help(help).help_heading(heading.to_owned()).hide(hide);
        let flag = Flag { name: name.clone(), path: path.clone(), sets: Sets::Fixed(value) };
        self.push(arg.overrides_with(opposite.to_owned()), flag);
    }

    fn add_argument(&mut self, argument: &Argument) {
        let name = argument.name.clone();
        let mut arg = Arg::new(name.clone()).long(name.clone()).help_heading(ARGUMENTS_HEADING);
        let mut help = argument.help.clone();
        if !matches!(argument.kind, ArgumentKind::Switch)
            && let Some(default) = toml_text::value(&argument.default)
        {
            help = format!("{help} [default: {}]", default.trim_matches('"'));
        }
        arg = arg.help(help.trim().to_owned());
        let mut sets = Sets::Value;
        arg = match &argument.kind {
            ArgumentKind::Switch => {
                sets = Sets::Fixed("true");
                arg.action(ArgAction::SetTrue)
            }
            ArgumentKind::Whole => arg.value_name("N").allow_hyphen_values(true),
            ArgumentKind::Number => arg.value_name("VALUE").allow_hyphen_values(true),
            ArgumentKind::Text => arg.value_name("TEXT"),
            ArgumentKind::Path => arg.value_name("PATH").value_hint(clap::ValueHint::AnyPath),
            ArgumentKind::Choice { choices } => {
                arg.value_name("TEXT").value_parser(PossibleValuesParser::new(choices.clone()))
            }
        };
        self.push(arg, Flag { path: arguments::path_of(&name), name, sets });
    }

    fn push(&mut self, arg: Arg, flag: Flag) {
        self.args.push(arg.display_order(self.args.len()));
        self.flags.push(flag);
    }

    /// What was given, for `service`. Only what really stands on the command line is among it.
    pub(super) fn overrides(&self, service: &str, matches: &ArgMatches) -> Vec<Override> {
        let given = self
            .flags
            .iter()
            .filter(|flag| matches.value_source(&flag.name) == Some(ValueSource::CommandLine));
        given
            .map(|flag| Override {
                service: service.to_owned(),
                path: flag.path.clone(),
                text: match &flag.sets {
                    Sets::Fixed(text) => (*text).to_owned(),
                    Sets::Value => {
                        matches.get_one::<String>(&flag.name).cloned().unwrap_or_default()
                    }
                    Sets::Items => {
                        let items = matches.get_many::<String>(&flag.name).unwrap_or_default();
                        self.list(&flag.path, &items.map(String::as_str).collect::<Vec<_>>())
                    }
                },
                flag: Some(format!("--{}", flag.name)),
            })
            .collect()
    }

    /// Items as one JSON list. What is no item of the right type stays text, and is refused later
    /// with the others.
    fn list(&self, path: &KeyPath, items: &[&str]) -> String {
        if let [whole] = items
            && whole.trim_start().starts_with('[')
        {
            return (*whole).to_owned();
        }
        let of_items = self.schema.find(&path.index(0));
        let item = |text: &&str| {
            let converted = of_items.and_then(|node| convert(&self.schema, node, text).ok());
            converted.unwrap_or_else(|| Value::from(*text))
        };
        Value::Array(items.iter().map(item).collect()).to_string()
    }
}

/// `camera.frame_rate` is `camera-frame-rate`.
fn name_of(path: &KeyPath) -> String {
    let parts = path.segments().iter().map(|segment| match segment {
        Segment::Key(key) => key.to_lowercase().replace(['_', '.', ' '], "-"),
        Segment::Index(index) => index.to_string(),
    });
    parts.collect::<Vec<_>>().join("-")
}

/// The section of a key: that of its first table.
fn heading(path: &KeyPath) -> String {
    let [Segment::Key(first), _, ..] = path.segments() else { return TOP_HEADING.to_owned() };
    let mut letters = first.replace(['_', '-'], " ");
    if let Some(first) = letters.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    letters
}

fn help(leaf: &Leaf<'_>) -> String {
    let mut help = leaf.about.clone().unwrap_or_default();
    let mut add = |what: &str, text: &str| help.push_str(&format!(" [{what}: {text}]"));
    if leaf.types == ["array"] {
        add("list", "repeat the flag, or give JSON");
    }
    if let Some(range) = &leaf.range {
        add("range", range);
    }
    match &leaf.default {
        _ if leaf.is_secret => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(text)) => add("default", text),
        Some(Value::Bool(flag)) => add("default", if *flag { "on" } else { "off" }),
        Some(other) => {
            if let Some(text) = toml_text::value(other) {
                add("default", &text);
            }
        }
        None => {}
    }
    help.trim().to_owned()
}

/// What stands for the value in the help.
fn metavar(schema: &Schema<'_>, leaf: &Leaf<'_>) -> &'static str {
    let types = match leaf.types[..] {
        ["array"] => schema.items(leaf.node).map(|items| schema.types(items)).unwrap_or_default(),
        _ => leaf.types.clone(),
    };
    let is_path = leaf.node.get("format").and_then(Value::as_str) == Some("path")
        || leaf.path.last_key().is_some_and(is_path_name);
    match types[..] {
        ["integer"] => "N",
        ["number"] | ["integer", "number"] => "VALUE",
        ["string"] if is_path => "PATH",
        ["string"] => "TEXT",
        _ => "JSON",
    }
}

/// Rust's paths are texts to a schema, so the name has to tell.
fn is_path_name(key: &str) -> bool {
    let last = key.rsplit('_').next().unwrap_or(key);
    ["path", "file", "dir", "directory", "folder"].contains(&last)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use plugin_api::prelude::*;
    use plugin_api::schemars;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Origin, ServiceFile, resolve};
    use crate::environment::Env;

    config! {
        /// Configuration with a key of every kind.
        struct Every {
            whole: i64 = 0,
            ratio: f64 = 0.5,
            on: bool = true,
            off: bool = false,
            text: String = "a".to_owned(),
            choice: Choice = Choice::Red,
            token: Secret = Secret::default(),
            numbers: Vec<i64> = Vec::new(),
            words: Vec<String> = vec!["a".to_owned()],
            pair: [u8; 2] = [0, 0],
            maybe: Option<u32> = None,
            log_level: String = "info".to_owned(),
            camera: Inner = Inner::default(),
            spare: Option<Inner> = None,
            a_b: i64 = 0,
            a: Nested = Nested::default(),
        }
    }

    config! {
        /// A table.
        struct Inner {
            frame_rate: u32 = 30,
            auto: bool = true,
            names: std::collections::BTreeMap<String, u32> = std::collections::BTreeMap::new(),
        }
    }

    config! {
        /// One of which a key has the flag of another.
        struct Nested { b: i64 = 0, }
    }

    config! {
        /// A choice.
        enum Choice {
            /// Red.
            #[default]
            Red,
            /// Green.
            Green,
            /// Blue.
            Blue,
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            name: "every".to_owned(),
            version: "1.0.0".to_owned(),
            crate_name: "every".to_owned(),
            config_schema: schemars::schema_for!(Every).to_value(),
            config_defaults: serde_json::to_value(Every::default()).expect("a JSON value"),
            arguments: vec![Argument::choice("model", ["x", "y"]).default("x")],
        }
    }

    /// A kind of key: its path, the flags that set it, and what the tests give it by each layer, as
    /// TOML and as text. A value stands for itself, so that which one won can be seen.
    struct Kind {
        key: &'static str,
        /// What each layer gives: file, environment, `--set`, flags.
        values: [Value; 4],
        variable: &'static str,
        flags: &'static [&'static str],
    }

    fn kinds() -> Vec<Kind> {
        let kind = |key, values: Value, variable, flags| {
            let values: Vec<Value> = values.as_array().expect("a list").clone();
            let values = values.try_into().expect("one for each layer");
            Kind { key, values, variable, flags }
        };
        vec![
            kind("whole", json!([1, 0, 1, -3]), "WHOLE", &["--whole", "-3"]),
            kind("ratio", json!([1.5, 1, 0, -2.5]), "RATIO", &["--ratio=-2.5"]),
            kind("on", json!([false, true, true, false]), "ON", &["--no-on"]),
            kind("on", json!([false, true, false, true]), "ON", &["--on"]),
            kind("off", json!([false, true, false, true]), "OFF", &["--off"]),
            kind("text", json!(["1", "true", "[x", "--y"]), "TEXT", &["--text", "--y"]),
            kind(
                "choice",
                json!(["green", "blue", "red", "green"]),
                "CHOICE",
                &["--choice", "green"],
            ),
            kind("token", json!(["s", "t", "u", "v"]), "TOKEN", &["--token", "v"]),
            kind(
                "numbers",
                json!([[1], [2, 0], [], [3, -4]]),
                "NUMBERS",
                &["--numbers", "3", "--numbers=-4"],
            ),
            kind(
                "words",
                json!([["1"], ["b"], [], ["2", "c d"]]),
                "WORDS",
                &["--words", "2", "--words", "c d"],
            ),
            kind("words", json!([["1"], ["b"], [], ["j"]]), "WORDS", &["--words", "[\"j\"]"]),
            kind(
                "pair",
                json!([[1, 2], [3, 4], [5, 6], [7, 8]]),
                "PAIR",
                &["--pair", "7", "--pair", "8"],
            ),
            kind("maybe", json!([1, 0, 3, 4]), "MAYBE", &["--maybe", "4"]),
            kind("log_level", json!(["a", "b", "c", "d"]), "", &["--config-log-level", "d"]),
            kind(
                "camera.frame_rate",
                json!([1, 0, 3, 4]),
                "CAMERA_FRAME_RATE",
                &["--camera-frame-rate", "4"],
            ),
            kind(
                "camera.auto",
                json!([true, false, true, false]),
                "CAMERA_AUTO",
                &["--no-camera-auto"],
            ),
            kind(
                "camera.names",
                json!([{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}]),
                "CAMERA_NAMES",
                &["--camera-names", "{\"a\": 4}"],
            ),
            kind(
                "spare.frame_rate",
                json!([1, 2, 3, 4]),
                "SPARE_FRAME_RATE",
                &["--spare-frame-rate", "4"],
            ),
        ]
    }

    /// The text of a value as people write it in a variable.
    fn plain(value: &Value) -> String {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    fn matches(flags: &Flags<'_>, words: &[&str]) -> ArgMatches {
        let command = flags.add_to(Command::new("x"));
        let matches = command.try_get_matches_from(["x"].iter().chain(words));
        matches.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

        /// Whatever layers speak of a key of whatever kind, the highest of them wins, and is named.
        #[test]
        fn the_highest_layer_wins_for_every_kind(speaks in proptest::array::uniform4(any::<bool>())) {
            let manifest = manifest();
            for Kind { key, values, variable, flags } in kinds() {
                let [file, mut env, set, flag] = speaks;
                // The host's own variable of that name is no value of a service.
                env &= !variable.is_empty();
                let [in_file, in_env, in_set, _] = &values;
                let toml = toml_text::value(in_file).filter(|_| file).map(|text| format!("{key} = {text}"));
                let service = ServiceFile::parse("every", Path::new("every.toml"), &toml.unwrap_or_default());
                let name = format!("EXPERIMANCE_{variable}");
                let variables: BTreeMap<_, _> =
                    env.then(|| (name.clone(), plain(in_env))).into_iter().collect();
                let mut overrides = Vec::new();
                if set {
                    let argument = format!("every.{key}={}", plain(in_set));
                    overrides.push(Override::parse(&argument).expect("a good argument"));
                }
                let below = resolve(&service, &manifest, &variables as &dyn Env, &overrides);
                if flag {
                    let made = Flags::new(&manifest, &below.value, &["log-level".to_owned()]);
                    overrides.extend(made.overrides("every", &matches(&made, flags)));
                }
                let resolved = resolve(&service, &manifest, &variables as &dyn Env, &overrides);
                prop_assert!(resolved.problems.is_empty(), "{key}: {:?}", resolved.problems);
                let path = KeyPath::of_keys(key.split('.'));
                let wins = [file, env, set, flag].iter().rposition(|speaks| *speaks);
                let defaults = defaults_of(&manifest);
                let expected = wins.map_or_else(|| path.find(&defaults), |layer| values.get(layer));
                prop_assert_eq!(path.find(&resolved.value), expected, "{}", key);
                let origin = resolved.origins.get(&path);
                let fits = match wins {
                    None => *origin == Origin::Default,
                    Some(0) => matches!(origin, Origin::File { .. }),
                    Some(1) => *origin == Origin::Env { name },
                    Some(2) => matches!(origin, Origin::Set { .. }),
                    Some(_) => matches!(origin, Origin::Flag { .. }),
                };
                prop_assert!(fits, "{}: {:?}", key, origin);
            }
        }
    }

    #[test]
    fn names_that_mean_two_things_are_kept_apart() {
        let manifest = manifest();
        let flags = Flags::new(&manifest, &defaults_of(&manifest), &["log-level".to_owned()]);
        let names: Vec<_> = flags.flags.iter().map(|flag| flag.name.as_str()).collect();
        // `a_b` and `a.b` would share one.
        assert!(!names.contains(&"a-b"), "{names:?}");
        assert!(names.contains(&"config-log-level") && !names.contains(&"log-level"), "{names:?}");
    }

    #[test]
    fn only_what_is_given_overrides_and_arguments_go_beside() {
        let manifest = manifest();
        let flags = Flags::new(&manifest, &defaults_of(&manifest), &[]);
        assert_eq!(flags.overrides("every", &matches(&flags, &[])), []);
        let given = flags.overrides("every", &matches(&flags, &["--model", "y"]));
        assert_eq!(given.len(), 1);
        assert_eq!(given[0].path, arguments::path_of("model"));
        let service = ServiceFile::parse("every", Path::new("every.toml"), "");
        let none: BTreeMap<String, String> = BTreeMap::new();
        let resolved = resolve(&service, &manifest, &none as &dyn Env, &given);
        assert_eq!(resolved.for_plugin()["exphost"], json!({"arguments": {"model": "y"}}));
        assert_eq!(resolved.value.get("exphost"), None);
    }
}
