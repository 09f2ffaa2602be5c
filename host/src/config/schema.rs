//! A walk through a JSON Schema as `schemars` writes it (draft 2020-12).
//!
//! Only what concerns configuration is understood: which keys there are, of which types, with which
//! defaults. Whether a value fits is left to the `jsonschema` crate.

use serde_json::{Map, Value};

use super::path::{KeyPath, Segment};

/// Schemas may contain themselves; configuration is never nested as deeply as this.
const DEEPEST: usize = 24;

/// The schema of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'s> {
    root: &'s Value,
}

/// A place that configuration can be given for.
#[derive(Clone, Debug)]
pub struct Field<'s> {
    /// Its path.
    pub path: KeyPath,
    /// Its schema, as written where the field is declared.
    pub node: &'s Value,
}

impl<'s> Schema<'s> {
    /// The schema whose `$defs` stand in `root`.
    #[must_use]
    pub fn new(root: &'s Value) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &'s Value {
        self.root
    }

    /// Follows `$ref`, and sees through `Option` and other wrappers of a single schema.
    #[must_use]
    pub fn resolve(&self, node: &'s Value) -> &'s Value {
        let mut node = node;
        for _ in 0..DEEPEST {
            let target = node.get("$ref").and_then(Value::as_str).and_then(|to| self.target(to));
            node = match (target, &self.branches(node)[..]) {
                (Some(target), _) if node.get("properties").is_none() => target,
                (_, [only]) if node.get("properties").is_none() => only,
                _ => return node,
            };
        }
        node
    }

    fn target(&self, reference: &str) -> Option<&'s Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    /// The alternatives or parts a schema is made of, without the `null` of an `Option`.
    pub(super) fn branches(&self, node: &'s Value) -> Vec<&'s Value> {
        ["anyOf", "oneOf", "allOf"]
            .iter()
            .filter_map(|keyword| node.get(keyword)?.as_array())
            .flatten()
            .filter(|branch| branch.get("type").and_then(Value::as_str) != Some("null"))
            .collect()
    }

    /// The schema at a path.
    #[must_use]
    pub fn find(&self, path: &KeyPath) -> Option<&'s Value> {
        path.segments().iter().try_fold(self.root, |node, segment| match segment {
            Segment::Key(key) => self.property(node, key),
            Segment::Index(_) => self.items(node),
        })
    }

    /// The schema of the items of a list.
    #[must_use]
    pub fn items(&self, node: &'s Value) -> Option<&'s Value> {
        self.part(node, &|node| node.get("items"), DEEPEST)
    }

    /// The schema of one key of a table: a declared one, or that of the values of a map.
    #[must_use]
    pub fn property(&self, node: &'s Value, key: &str) -> Option<&'s Value> {
        let declared = |node: &'s Value| node.get("properties")?.get(key);
        let of_map = |node: &'s Value| node.get("additionalProperties").filter(|it| it.is_object());
        self.part(node, &declared, DEEPEST).or_else(|| self.part(node, &of_map, DEEPEST))
    }

    fn part(
        &self,
        node: &'s Value,
        of: &dyn Fn(&'s Value) -> Option<&'s Value>,
        left: usize,
    ) -> Option<&'s Value> {
        let left = left.checked_sub(1)?;
        let node = self.resolve(node);
        let reference = node.get("$ref").and_then(Value::as_str).and_then(|to| self.target(to));
        of(node)
            .or_else(|| reference.and_then(|target| self.part(target, of, left)))
            .or_else(|| self.branches(node).into_iter().find_map(|it| self.part(it, of, left)))
    }

    /// The keys a table may have, in the schema's order.
    #[must_use]
    pub fn keys(&self, node: &'s Value) -> Vec<&'s str> {
        let mut keys = Vec::new();
        self.collect_keys(node, &mut keys, DEEPEST);
        keys
    }

    fn collect_keys(&self, node: &'s Value, keys: &mut Vec<&'s str>, left: usize) {
        let Some(left) = left.checked_sub(1) else { return };
        let node = self.resolve(node);
        for key in node.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys)
        {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        if let Some(target) =
            node.get("$ref").and_then(Value::as_str).and_then(|to| self.target(to))
        {
            self.collect_keys(target, keys, left);
        }
        for branch in self.branches(node) {
            self.collect_keys(branch, keys, left);
        }
    }

    /// The JSON types a value may have, without `null`; empty when any will do.
    #[must_use]
    pub fn types(&self, node: &'s Value) -> Vec<&'s str> {
        let mut types = Vec::new();
        self.collect_types(node, &mut types, DEEPEST);
        types
    }

    fn collect_types(&self, node: &'s Value, types: &mut Vec<&'s str>, left: usize) {
        let Some(left) = left.checked_sub(1) else { return };
        let node = self.resolve(node);
        let mut add = |name: &'s str| {
            if name != "null" && !types.contains(&name) {
                types.push(name);
            }
        };
        match node.get("type") {
            Some(Value::String(name)) => return add(name),
            Some(Value::Array(names)) => {
                return names.iter().filter_map(Value::as_str).for_each(add);
            }
            _ => {}
        }
        let choices = node.get("enum").and_then(Value::as_array).into_iter().flatten();
        choices.chain(node.get("const")).for_each(|choice| add(type_of(choice)));
        for branch in self.branches(node) {
            self.collect_types(branch, types, left);
        }
    }

    /// What the author says about a field, on one line.
    #[must_use]
    pub fn description(&self, node: &'s Value) -> Option<String> {
        let said = |node: &'s Value| node.get("description").and_then(Value::as_str);
        let text = said(node).or_else(|| said(self.resolve(node)))?;
        let first = text.split("\n\n").next().unwrap_or(text);
        Some(
            first.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned(),
        )
    }

    /// Every place that can be configured: declared keys, and the keys that maps have in `value`.
    #[must_use]
    pub fn fields(&self, value: &Value) -> Vec<Field<'s>> {
        let mut fields = Vec::new();
        self.collect_fields(self.root, Some(value), &KeyPath::root(), &mut fields);
        fields
    }

    fn collect_fields(
        &self,
        node: &'s Value,
        value: Option<&Value>,
        path: &KeyPath,
        fields: &mut Vec<Field<'s>>,
    ) {
        if path.segments().len() >= DEEPEST / 3 {
            return;
        }
        let mut keys = self.keys(node);
        let present = value.and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let of_map: Vec<_> = present.filter(|key| !keys.contains(&key.as_str())).collect();
        let declared: Vec<_> = keys.drain(..).map(str::to_owned).collect();
        for key in declared.iter().chain(of_map) {
            if let Some(node) = self.property(node, key) {
                let path = path.key(key);
                self.collect_fields(node, value.and_then(|it| it.get(key)), &path, fields);
                fields.push(Field { path, node });
            }
        }
    }

    /// Adds the declared defaults of keys that are missing, in every table that is there.
    pub fn fill_defaults(&self, value: &mut Value) {
        self.fill(self.root, value, DEEPEST);
    }

    fn fill(&self, node: &'s Value, value: &mut Value, left: usize) {
        let Some(left) = left.checked_sub(1) else { return };
        let node = self.resolve(node);
        if let Value::Array(items) = value {
            if let Some(of_items) = node.get("items") {
                items.iter_mut().for_each(|item| self.fill(of_items, item, left));
            }
            return;
        }
        let Value::Object(table) = value else { return };
        let declared = node.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (key, property) in declared {
            if let (None, Some(default)) = (table.get(key), property.get("default")) {
                table.insert(key.clone(), default.clone());
            }
        }
        for (key, value) in table.iter_mut() {
            if let Some(property) = self.property(node, key) {
                self.fill(property, value, left);
            }
        }
    }

    /// Whether the two tables are different alternatives of a choice, which must not be mixed: their
    /// tag differs, or they are named by different keys.
    #[must_use]
    pub fn are_alternatives(
        &self,
        node: &'s Value,
        below: &Map<String, Value>,
        above: &Map<String, Value>,
    ) -> bool {
        let node = self.resolve(node);
        let branches: Vec<_> =
            self.branches(node).into_iter().map(|branch| self.resolve(branch)).collect();
        let tag_differs = branches.iter().any(|branch| {
            let declared = branch.get("properties").and_then(Value::as_object);
            declared.into_iter().flatten().any(|(key, property)| {
                let (old, new) = (below.get(key), above.get(key));
                property.get("const").is_some() && old.is_some() && new.is_some() && old != new
            })
        });
        let named_by = |table: &Map<String, Value>| {
            branches.iter().position(|branch| {
                let required = branch.get("required").and_then(Value::as_array);
                let single = required.filter(|keys| keys.len() == 1 && table.len() == 1);
                single.and_then(|keys| keys[0].as_str()).is_some_and(|key| table.contains_key(key))
            })
        };
        tag_differs
            || (branches.len() > 1
                && matches!((named_by(below), named_by(above)), (Some(a), Some(b)) if a != b))
    }

    /// The schema as the host enforces it: tables that do not speak of other keys allow none, and
    /// whole numbers keep within the bounds of their Rust type.
    #[must_use]
    pub fn strict(&self) -> Value {
        let mut open = Vec::new();
        collect_composed(self.root, &mut open);
        let mut strict = self.root.clone();
        close(&mut strict, "", &open);
        strict
    }
}

/// The name that JSON Schema has for the type of a value.
#[must_use]
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

const COMPOSING: [&str; 4] = ["$ref", "allOf", "anyOf", "oneOf"];

/// The definitions that are only a part of a bigger table; closing those would refuse its other keys.
fn collect_composed(node: &Value, open: &mut Vec<String>) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| collect_composed(item, open)),
        Value::Object(keywords) => {
            if keywords.contains_key("properties") || keywords.contains_key("allOf") {
                let parts = ["allOf", "anyOf", "oneOf"].iter().filter_map(|it| keywords.get(*it));
                let references = parts.filter_map(Value::as_array).flatten();
                let references = references.filter_map(|part| part.get("$ref"));
                let references = references.chain(keywords.get("$ref"));
                open.extend(references.filter_map(Value::as_str).map(str::to_owned));
            }
            for (keyword, inner) in keywords {
                match (holds(keyword), inner) {
                    (Holds::Schemas, inner) => collect_composed(inner, open),
                    (Holds::Named, Value::Object(named)) => {
                        named.values().for_each(|inner| collect_composed(inner, open));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn close(node: &mut Value, pointer: &str, open: &[String]) {
    let keywords = match node {
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                close(item, &format!("{pointer}/{index}"), open);
            }
            return;
        }
        Value::Object(keywords) => keywords,
        _ => return,
    };
    let composed = COMPOSING.iter().any(|keyword| keywords.contains_key(*keyword));
    let part = open.iter().any(|reference| reference.strip_prefix('#') == Some(pointer))
        || pointer.contains("/allOf/");
    let speaks_of_others = ["additionalProperties", "patternProperties", "unevaluatedProperties"]
        .iter()
        .any(|keyword| keywords.contains_key(*keyword));
    let is_table = keywords.get("properties").is_some_and(Value::is_object);
    if is_table && !composed && !part && !speaks_of_others {
        keywords.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if let Some((least, most)) = keywords.get("format").and_then(Value::as_str).and_then(bounds) {
        keywords.entry("minimum").or_insert(least);
        keywords.entry("maximum").or_insert(most);
    }
    for (keyword, inner) in keywords.iter_mut() {
        let pointer = format!("{pointer}/{keyword}");
        match (holds(keyword), inner) {
            (Holds::Schemas, inner) => close(inner, &pointer, open),
            (Holds::Named, Value::Object(named)) => {
                for (name, inner) in named {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    close(inner, &format!("{pointer}/{name}"), open);
                }
            }
            _ => {}
        }
    }
}

/// What stands behind a keyword.
enum Holds {
    /// A schema or a list of them.
    Schemas,
    /// Schemas by names of the author's choosing, which are no keywords.
    Named,
    /// Values, or schemas that must stay as they are.
    Nothing,
}

fn holds(keyword: &str) -> Holds {
    match keyword {
        "items" | "prefixItems" | "additionalProperties" | "anyOf" | "oneOf" | "allOf" => {
            Holds::Schemas
        }
        "properties" | "patternProperties" | "$defs" | "definitions" => Holds::Named,
        _ => Holds::Nothing,
    }
}

/// The bounds of the Rust type that `schemars` names in `format`.
fn bounds(format: &str) -> Option<(Value, Value)> {
    Some(match format {
        "uint8" => (0.into(), u8::MAX.into()),
        "uint16" => (0.into(), u16::MAX.into()),
        "uint32" => (0.into(), u32::MAX.into()),
        "uint64" | "uint" => (0.into(), u64::MAX.into()),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" | "int" => (i64::MIN.into(), i64::MAX.into()),
        _ => return None,
    })
}
