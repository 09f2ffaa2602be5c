//! What outlives an instance: the state that a service hands over to the one that takes its place,
//! and what it makes of a new configuration.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// What a service hands over to the instance that takes its place, at once or after a failure: bytes,
/// and the version of their form.
///
/// The form is the author's. [`of`](Self::of) and [`read`](Self::read) make it JSON, which lasts
/// longest: see [`saved_state!`](crate::saved_state!). (JSON knows no infinite numbers and no NaN.)
///
/// ```
/// use plugin_api::prelude::*;
///
/// saved_state! {
///     /// What the door remembers.
///     struct Memory {
///         visitors: u64,
///     }
/// }
///
/// struct Door { memory: Memory }
///
/// # config! { pub struct Config {} }
/// impl Service for Door {
/// #   type Config = Config;
/// #   async fn new(_: Config, _: &Context) -> Result<Self> { Ok(Self { memory: Memory::default() }) }
///     // type Config, new, …
///     async fn save_state(&mut self, _: &Context) -> Result<Option<SavedState>> {
///         SavedState::of(1, &self.memory)
///     }
///     async fn restore_state(&mut self, _: &Context, state: SavedState) -> Result<()> {
///         self.memory = state.read(1)?;
///         Ok(())
///     }
/// }
/// ```
///
/// A form that must change gets the next version, and the new build reads both:
///
/// ```
/// # use plugin_api::prelude::*;
/// # saved_state! { struct Memory { visitors: u64, since: Option<String> } }
/// # saved_state! { struct OldMemory { count: u32 } }
/// fn remember(state: &SavedState) -> Result<Memory> {
///     match state.version {
///         1 => {
///             let old: OldMemory = state.read(1)?;
///             Ok(Memory { visitors: old.count.into(), ..Memory::default() })
///         }
///         _ => state.read(2),
///     }
/// }
/// let old = SavedState { version: 1, bytes: br#"{"count": 7}"#.to_vec() };
/// assert_eq!(remember(&old).unwrap().visitors, 7);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// The version of the bytes' form; the author counts it.
    pub version: u32,
    /// The state.
    pub bytes: Vec<u8>,
}

impl SavedState {
    /// The most bytes that a state may have. It waits in the host's memory and on its disk, and is copied
    /// while no handler of the service runs.
    pub const MAX_BYTES: usize = 64 << 20;

    /// The JSON of `state`, in the form that [`Service::save_state`](crate::Service::save_state)
    /// returns; never `Ok(None)`.
    ///
    /// # Errors
    /// When `state` has no JSON form, or a larger one than [`MAX_BYTES`](Self::MAX_BYTES).
    pub fn of(version: u32, state: &impl Serialize) -> Result<Option<Self>> {
        let bytes = serde_json::to_vec(state).map_err(|error| {
            Error::invalid(format!("the state (version {version}) has no JSON form: {error}"))
        })?;
        let state = Self { version, bytes };
        state.check_size()?;
        Ok(Some(state))
    }

    /// The JSON, read as a `T`.
    ///
    /// # Errors
    /// When the state is of another version than `version`, or does not fit. Both are errors of
    /// [`restore_state`](crate::Service::restore_state), so passing them on with `?` fails the
    /// reload, and the build that wrote the state goes on with it. An author who would rather lose
    /// the state answers [`Error::start_fresh`].
    pub fn read<T: DeserializeOwned>(&self, version: u32) -> Result<T> {
        if self.version != version {
            return Err(Error::invalid(format!(
                "the saved state is of version {}, and this build reads version {version}",
                self.version
            )));
        }
        let mut reader = serde_json::Deserializer::from_slice(&self.bytes);
        serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let (path, problem) = (error.path().to_string(), error.inner());
            let place = if path == "." { String::new() } else { format!("`{path}`: ") };
            Error::invalid(format!(
                "the saved state (version {version}) does not fit this build: {place}{problem}"
            ))
        })
    }

    /// # Errors
    /// When it is larger than [`MAX_BYTES`](Self::MAX_BYTES).
    pub(crate) fn check_size(&self) -> Result<()> {
        if self.bytes.len() <= Self::MAX_BYTES {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the state has {} bytes, more than the {} that can be handed over; keep what is larger in a file",
            self.bytes.len(),
            Self::MAX_BYTES
        )))
    }
}

/// What a service makes of a new configuration: see [`Service::on_config`](crate::Service::on_config).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ConfigChange {
    /// The service works by it from now on.
    Applied,
    /// It takes a new instance: this one goes on as before until it is replaced, which hands its
    /// state over.
    Restart,
}

/// Declares what a service keeps: a struct for [`SavedState`], in a form that lasts.
///
/// The struct gets `Debug`, `Clone`, serde and `Default`. A build reads what an older or a newer
/// one wrote: fields that it does not know are ignored, and fields that are missing take their
/// default, which is the type's own unless one is given. So only a change of what a field *means*
/// takes another version.
///
/// ```
/// use plugin_api::prelude::*;
///
/// saved_state! {
///     /// What the projector remembers.
///     #[derive(PartialEq)]
///     pub struct Memory {
///         /// Images shown so far.
///         pub shown: u64,
///         /// How bright it was turned.
///         pub brightness: f64 = 0.8,
///     }
/// }
///
/// let newer = SavedState { version: 1, bytes: br#"{"shown": 5, "hue": 0.1}"#.to_vec() };
/// assert_eq!(newer.read::<Memory>(1).unwrap(), Memory { shown: 5, brightness: 0.8 });
/// ```
#[macro_export]
macro_rules! saved_state {
    (@default) => { ::std::default::Default::default() };
    (@default $default:expr) => { $default };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$fmeta:meta])* $fvis:vis $field:ident: $type:ty $(= $default:expr)? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(default, crate = "plugin_api::serde")]
        $vis struct $name {
            $( $(#[$fmeta])* $fvis $field: $type ),*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::saved_state!(@default $($default)?) ),* }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    saved_state! {
        /// Something to keep.
        #[derive(PartialEq)]
        struct Memory {
            count: u64,
            limit: u64 = 10,
            inner: Inner,
        }
    }
    saved_state! {
        /// Something in it.
        #[derive(PartialEq)]
        struct Inner {
            names: Vec<String>,
        }
    }

    fn saved(version: u32, json: &str) -> SavedState {
        SavedState { version, bytes: json.as_bytes().to_vec() }
    }

    #[test]
    fn what_is_saved_reads_back() {
        let inner = Inner { names: vec!["a".to_owned()] };
        let memory = Memory { count: u64::MAX, limit: 3, inner };
        let state = SavedState::of(4, &memory).unwrap().unwrap();
        assert_eq!(state.version, 4);
        assert_eq!(state.read::<Memory>(4).unwrap(), memory);
    }

    #[test]
    fn fields_of_other_builds_are_ignored_and_missing_ones_take_their_defaults() {
        let memory: Memory = saved(1, r#"{"count": 2, "colour": "red"}"#).read(1).unwrap();
        assert_eq!(memory, Memory { count: 2, ..Memory::default() });
        assert_eq!(memory.limit, 10);
    }

    #[test]
    fn another_version_is_refused_and_both_are_named() {
        let error = saved(3, "{}").read::<Memory>(2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let said = error.to_string();
        assert!(said.contains("version 3") && said.contains("version 2"), "{said}");
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_place() {
        let said = |json| saved(1, json).read::<Memory>(1).unwrap_err().to_string();
        let nested = said(r#"{"inner": {"names": [1]}}"#);
        assert!(nested.contains("`inner.names[0]`: invalid type"), "{nested}");
        let torn = said(r#"{"count": 1"#);
        assert!(torn.contains("version 1") && torn.contains("EOF"), "{torn}");
    }

    #[test]
    fn a_state_beyond_the_limit_is_refused() {
        let text = "x".repeat(SavedState::MAX_BYTES);
        let error = SavedState::of(1, &text).unwrap_err();
        // Two quotation marks more than the text.
        assert!(error.to_string().contains("67108866 bytes"), "{error}");
        assert!(SavedState::of(1, &&text[2..]).is_ok());
    }

    #[test]
    fn a_state_without_a_json_form_is_an_error() {
        let keys_are_no_text = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = SavedState::of(5, &keys_are_no_text).unwrap_err();
        assert!(error.to_string().contains("version 5"), "{error}");
    }
}
