//! Where a value stands in a configuration, written as people write it: `zmq.publisher.topics[0]`.

use std::fmt;

use serde_json::Value;

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Into a table.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

/// The way from the top of a configuration to one value. The empty path is the configuration itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<Segment>);

impl KeyPath {
    /// The configuration as a whole.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// A path through tables only.
    pub fn of_keys<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(keys.into_iter().map(|key| Segment::Key(key.into())).collect())
    }

    /// This path, one table key deeper.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        let mut deeper = self.clone();
        deeper.0.push(Segment::Key(key.into()));
        deeper
    }

    /// This path, one list item deeper.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut deeper = self.clone();
        deeper.0.push(Segment::Index(index));
        deeper
    }

    /// The steps.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether it names the configuration as a whole.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// One step up; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// The last key, if the last step goes into a table.
    #[must_use]
    pub fn last_key(&self) -> Option<&str> {
        match self.0.last() {
            Some(Segment::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// Whether `self` is `other` or lies above it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The value at this path.
    #[must_use]
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(value, |value, segment| match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(index) => value.get(index),
        })
    }

    /// The value at this path, to be changed.
    pub fn find_mut<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(value, |value, segment| match segment {
            Segment::Key(key) => value.get_mut(key),
            Segment::Index(index) => value.get_mut(index),
        })
    }

    /// Reads a JSON Pointer. Whether `5` is a key or an index is decided by the value it points into.
    #[must_use]
    pub fn from_pointer(pointer: &str, value: &Value) -> Self {
        let mut path = Self::root();
        let mut here = Some(value);
        for part in pointer.split('/').skip(1) {
            let key = part.replace("~1", "/").replace("~0", "~");
            let segment = match (here, key.parse()) {
                (Some(Value::Array(_)), Ok(index)) => Segment::Index(index),
                _ => Segment::Key(key),
            };
            here = here.and_then(|value| match &segment {
                Segment::Key(key) => value.get(key),
                Segment::Index(index) => value.get(index),
            });
            path.0.push(segment);
        }
        path
    }
}

/// Keys are quoted only where TOML wants them quoted.
impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    if is_bare(key) { f.write_str(key)? } else { write!(f, "{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

pub(super) fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pointer_reads_as_people_write_keys() {
        let value = json!({"list": [{"a.b": 1}], "map": {"5": {"x/y": 2}}});
        let check = |pointer: &str| KeyPath::from_pointer(pointer, &value).to_string();
        assert_eq!(check(""), "");
        assert_eq!(check("/list/0/a.b"), "list[0].\"a.b\"");
        assert_eq!(check("/map/5/x~1y"), "map.5.\"x/y\"");
    }

    #[test]
    fn a_path_finds_its_value() {
        let value = json!({"list": [{"a": 1}]});
        let path = KeyPath::root().key("list").index(0).key("a");
        assert_eq!(path.find(&value), Some(&json!(1)));
        assert!(KeyPath::of_keys(["list"]).contains(&path));
        assert_eq!(KeyPath::of_keys(["lost", "a"]).find(&value), None);
    }
}
