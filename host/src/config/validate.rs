//! Whether a configuration fits the schema of its plugin, and where it does not.
//!
//! The `jsonschema` crate finds the errors; here each is put into plain words and sent to the place
//! that the offending value came from.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use super::messages::{counted, how_to_write, listed, shown, type_words};
use super::nearest::known_names;
use super::origin::{Origin, Origins, Part};
use super::path::KeyPath;
use super::schema::{Schema, type_of};
use crate::problem::Problem;

/// One way in which a configuration does not fit.
struct Finding {
    path: KeyPath,
    part: Part,
    message: String,
    fix: Option<String>,
}

/// All ways in which `value` does not fit `schema`, each at the place it came from.
#[must_use]
pub fn validate(schema: &Value, value: &Value, origins: &Origins) -> Vec<Problem> {
    let strict = Schema::new(schema).strict();
    let validator = match jsonschema::draft202012::new(&strict) {
        Ok(validator) => validator,
        Err(error) => {
            let problem = Problem::error(format!("the plugin's own schema is not valid: {error}"));
            return vec![
                problem
                    .key(origins.service())
                    .hint("this is a mistake in the plugin, not in a file"),
            ];
        }
    };
    let explainer = Explainer { schema: Schema::new(&strict), value, origins };
    let mut findings = Vec::new();
    for error in validator.iter_errors(value) {
        explainer.explain(&error, &mut findings);
    }
    explainer.find_whole_floats(value, &KeyPath::root(), &mut findings);
    let mut problems: Vec<Problem> = Vec::new();
    for problem in findings.into_iter().map(|finding| explainer.place(finding)) {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems.sort_by_key(|problem| (problem.line, problem.column, problem.key.clone()));
    problems
}

struct Explainer<'a> {
    schema: Schema<'a>,
    value: &'a Value,
    origins: &'a Origins,
}

impl Explainer<'_> {
    fn place(&self, finding: Finding) -> Problem {
        let mut problem = Problem::error(finding.message);
        let about = self.schema.find(&finding.path);
        let about = about.filter(|_| finding.part == Part::Value && !finding.path.is_root());
        let about = about.and_then(|node| self.schema.description(node));
        problem.hint = match (finding.fix, about) {
            (Some(fix), Some(about)) => Some(format!("{fix} ({about})")),
            (fix, about) => fix.or(about),
        };
        self.origins.place(problem, &finding.path, finding.part)
    }

    fn explain(&self, error: &ValidationError<'_>, findings: &mut Vec<Finding>) {
        use ValidationErrorKind as Kind;
        let path = KeyPath::from_pointer(error.instance_path().as_str(), self.value);
        match error.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                findings.extend(unexpected.iter().map(|key| self.unknown_key(&path, key)));
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                findings.push(Finding {
                    message: format!("missing key `{key}`, which has no default"),
                    fix: Some(self.how_to_add(&path, key)),
                    path,
                    part: Part::Key,
                });
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.explain_choice(error, context, path, findings);
            }
            _ => {
                let (message, fix) = self.about_value(error, &path);
                findings.push(Finding { path, part: Part::Value, message, fix });
            }
        }
    }

    fn unknown_key(&self, table: &KeyPath, key: &str) -> Finding {
        let keys = self.schema.find(table).map(|node| self.schema.keys(node)).unwrap_or_default();
        Finding {
            path: table.key(key),
            part: Part::Key,
            message: format!("unknown key `{}`", key.escape_debug()),
            fix: self
                .where_it_belongs(table, key)
                .or_else(|| known_names(key, &keys, "keys"))
                .or(Some("remove the key".to_owned())),
        }
    }

    /// A key that is known, in another table or in another file.
    fn where_it_belongs(&self, table: &KeyPath, key: &str) -> Option<String> {
        if table.is_root() && key == "log_level" {
            let hint =
                "the level is the host's: set [log] level in exphost.toml, or use --log-level";
            return Some(hint.to_owned());
        }
        let leaves = self.schema.leaves(&Value::Null, &Value::Null);
        let mut of_that_name = leaves.iter().filter(|leaf| leaf.path.last_key() == Some(key));
        let (found, other) = (of_that_name.next()?, of_that_name.next());
        match found.path.parent().filter(|_| other.is_none())? {
            top if top.is_root() => {
                Some(format!("`{key}` stands at the top: move the line above the first [table]"))
            }
            other => Some(format!("`{key}` is a key of [{other}]: move the line there")),
        }
    }

    fn how_to_add(&self, table: &KeyPath, key: &str) -> String {
        let place = if table.is_root() { "at the top".to_owned() } else { format!("to [{table}]") };
        let about = self.schema.find(&table.key(key));
        match about.and_then(|node| self.schema.description(node)) {
            Some(about) => format!("add `{key} = …` {place} ({about})"),
            None => format!("add `{key} = …` {place}"),
        }
    }

    /// Speaks of the alternative that was meant; of all alternatives when none stands out.
    fn explain_choice(
        &self,
        error: &ValidationError<'_>,
        context: &[Vec<ValidationError<'static>>],
        path: KeyPath,
        findings: &mut Vec<Finding>,
    ) {
        let branches: Vec<_> = context.iter().filter(|errors| !is_refused_null(errors)).collect();
        let distances: Vec<_> =
            branches.iter().map(|errors| self.distance(errors, &path)).collect();
        let nearest = distances.iter().min().copied();
        let mut meant =
            branches.iter().zip(&distances).filter(|(_, distance)| Some(**distance) == nearest);
        if let (Some((errors, (is_other, tag_differs, _))), None) = (meant.next(), meant.next())
            && (branches.len() == 1 || !(*is_other || *tag_differs))
        {
            errors.iter().for_each(|error| self.explain(error, findings));
            return;
        }
        let instance = error.instance();
        if let Some(finding) = self.wrong_tag(&branches) {
            findings.push(finding);
            return;
        }
        let options: Vec<_> = branches.iter().flat_map(|errors| choices(errors)).collect();
        let (message, fix) = if !options.is_empty() && instance.is_string() {
            one_of(&options, instance)
        } else {
            let types = self.schema.find(&path).map(|node| self.schema.types(node));
            about_types(&types.unwrap_or_default(), instance)
        };
        findings.push(Finding { path, part: Part::Value, message, fix });
    }

    /// Speaks of a tag that belongs to none of the alternatives, and of all that it could be.
    fn wrong_tag(&self, branches: &[&Vec<ValidationError<'static>>]) -> Option<Finding> {
        let tags = branches.iter().map(|errors| {
            errors.iter().find_map(|error| match error.kind() {
                ValidationErrorKind::Constant { expected_value } => {
                    Some((error, Value::clone(expected_value)))
                }
                _ => None,
            })
        });
        let (errors, options): (Vec<_>, Vec<_>) =
            tags.collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let first = errors.first()?;
        let pointer = first.instance_path().as_str();
        if errors.iter().any(|error| error.instance_path().as_str() != pointer) {
            return None;
        }
        let (message, fix) = one_of(&options, first.instance());
        let path = KeyPath::from_pointer(pointer, self.value);
        Some(Finding { path, part: Part::Value, message, fix })
    }

    /// How far a value is from an alternative: whether it is something else altogether, whether its
    /// tag differs, and the number of mistakes.
    fn distance(&self, errors: &[ValidationError<'_>], path: &KeyPath) -> (bool, bool, usize) {
        use ValidationErrorKind as Kind;
        let here = |error: &ValidationError<'_>| {
            KeyPath::from_pointer(error.instance_path().as_str(), self.value) == *path
        };
        let is_other = errors.iter().any(|error| {
            here(error)
                && matches!(
                    error.kind(),
                    Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. }
                )
        });
        let tag_differs = errors.iter().any(|error| {
            matches!(error.kind(), Kind::Constant { .. })
                || (here(error) && matches!(error.kind(), Kind::Required { .. }))
        });
        (is_other, tag_differs, errors.len())
    }

    /// What is wrong with one value, and what would be right.
    fn about_value(&self, error: &ValidationError<'_>, path: &KeyPath) -> (String, Option<String>) {
        use ValidationErrorKind as Kind;
        let value = error.instance();
        let must =
            |what: String| (format!("must {what}{}", self.is(value, path)), self.how_to_fit(path));
        match error.kind() {
            Kind::Type { kind } if self.origins.is_secret(path) => {
                let types = names(kind);
                (format!("expected {}", type_words(&types)), how_to_write(&types))
            }
            Kind::Type { kind } => about_types(&names(kind), value),
            Kind::Enum { options } => {
                one_of(options.as_array().map(Vec::as_slice).unwrap_or_default(), value)
            }
            Kind::Constant { expected_value } => one_of(&[Value::clone(expected_value)], value),
            Kind::Minimum { limit } => must(format!("be at least {limit}")),
            Kind::Maximum { limit } => must(format!("be at most {limit}")),
            Kind::ExclusiveMinimum { limit } => must(format!("be more than {limit}")),
            Kind::ExclusiveMaximum { limit } => must(format!("be less than {limit}")),
            Kind::MultipleOf { multiple_of } => must(format!("be a multiple of {multiple_of}")),
            Kind::Pattern { pattern } => must(format!("match the pattern `{pattern}`")),
            Kind::MinLength { limit: 1 } => ("must not be empty".to_owned(), None),
            Kind::MinLength { limit } => {
                must(format!("have at least {}", counted(*limit, "character")))
            }
            Kind::MaxLength { limit } => {
                must(format!("have at most {}", counted(*limit, "character")))
            }
            Kind::MinItems { limit } => {
                (format!("must have at least {}", counted(*limit, "item")), None)
            }
            Kind::MaxItems { limit } => {
                (format!("must have at most {}", counted(*limit, "item")), None)
            }
            Kind::UniqueItems => ("must not have the same item twice".to_owned(), None),
            Kind::OneOfMultipleValid { .. } => {
                ("fits more than one of the allowed forms".to_owned(), None)
            }
            _ => (error.masked_with("the value").to_string().replace('\n', " "), None),
        }
    }

    /// The range a number may be in.
    fn how_to_fit(&self, path: &KeyPath) -> Option<String> {
        let node = self.schema.resolve(self.schema.find(path)?);
        match (node.get("minimum"), node.get("maximum")) {
            (Some(least), Some(most)) => Some(format!("use {least} to {most}")),
            (Some(least), None) => Some(format!("use {least} or more")),
            (None, Some(most)) if node.get("exclusiveMinimum").is_none() => {
                Some(format!("use {most} or less"))
            }
            _ => None,
        }
    }

    /// `2.0` is a whole number to JSON Schema, but not to the plugin's type that reads it.
    fn find_whole_floats(&self, value: &Value, path: &KeyPath, findings: &mut Vec<Finding>) {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    self.find_whole_floats(value, &path.key(key), findings);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    self.find_whole_floats(value, &path.index(index), findings);
                }
            }
            Value::Number(number) if number.as_f64().is_some_and(|it| it.fract() == 0.0) => {
                let types = self.schema.find(path).map(|node| self.schema.types(node));
                if number.is_f64() && types.is_some_and(|types| types == ["integer"]) {
                    let (message, fix) = about_types(&["integer"], value);
                    findings.push(Finding { path: path.clone(), part: Part::Value, message, fix });
                }
            }
            _ => {}
        }
    }

    /// `, is 5`, unless the value is text from outside the files, which may be a secret.
    fn is(&self, value: &Value, path: &KeyPath) -> String {
        let from_file = matches!(self.origins.nearest(path), Origin::File { .. } | Origin::Default);
        if (value.is_string() && !from_file) || self.origins.is_secret(path) {
            String::new()
        } else {
            format!(", is {}", shown(value))
        }
    }
}

/// Whether these are the errors of the `null` of an `Option` for a value that is there.
fn is_refused_null(errors: &[ValidationError<'_>]) -> bool {
    matches!(errors, [only] if matches!(
        only.kind(), ValidationErrorKind::Type { kind: TypeKind::Single(JsonType::Null) }
    ))
}

/// The single values that alternatives would have allowed.
fn choices(errors: &[ValidationError<'_>]) -> Vec<Value> {
    let allowed = errors.iter().map(|error| match error.kind() {
        ValidationErrorKind::Constant { expected_value } => vec![Value::clone(expected_value)],
        ValidationErrorKind::Enum { options } => options.as_array().cloned().unwrap_or_default(),
        _ => Vec::new(),
    });
    allowed.flatten().collect()
}

fn one_of(options: &[Value], value: &Value) -> (String, Option<String>) {
    let names: Vec<_> = options.iter().filter(|option| !option.is_null()).map(shown).collect();
    let known: Vec<_> = options.iter().filter_map(Value::as_str).collect();
    let meant = value.as_str().and_then(|text| super::nearest::nearest(text, known));
    (
        format!("must be {}, is {}", listed(&names), shown(value)),
        meant.map(|meant| format!("did you mean `{meant}`?")),
    )
}

fn about_types(types: &[&str], value: &Value) -> (String, Option<String>) {
    let types: Vec<_> = types.iter().copied().filter(|name| *name != "null").collect();
    let found = match value {
        Value::Number(number) if number.is_f64() => format!("found {number}"),
        Value::Number(number) => format!("found the number {number}"),
        Value::Bool(flag) => format!("found {flag}"),
        Value::Null => "found nothing".to_owned(),
        other => format!("found {}", super::messages::type_word(type_of(other))),
    };
    match &types[..] {
        [] => (format!("fits none of the allowed forms, {found}"), None),
        types => (format!("expected {}, {found}", type_words(types)), how_to_write(types)),
    }
}

fn names(kind: &TypeKind) -> Vec<&'static str> {
    match kind {
        TypeKind::Single(only) => vec![only.as_str()],
        TypeKind::Multiple(several) => several.iter().map(JsonType::as_str).collect(),
    }
}
