//! The message types that the services of an installation share.
//!
//! On the wire each is a JSON object that also carries its `type`. A type that is not in this list
//! is as welcome: it arrives as plain JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message with a type of its own.
pub trait Typed: Serialize {
    /// The value of `type` on the wire, which is also the topic.
    const TYPE: &'static str;
}

macro_rules! message_types {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            pub struct $name {
                $($(#[$fmeta])* pub $field: $type,)*
                /// What a project adds of its own, `era` and `biome` for instance.
                #[serde(flatten)]
                pub extra: Extra,
            }

            impl Typed for $name {
                const TYPE: &'static str = stringify!($name);
            }
        )*
    };
}

macro_rules! message_type_names {
    ($($(#[$meta:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// The `type` of a message.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum MessageType {
            $($(#[$meta])* $name,)*
            /// A type of a project's own.
            Other(String),
        }

        impl MessageType {
            /// The types that have a name of their own here, as they stand on the wire.
            pub const KNOWN: &'static [&'static str] = &[$($text),*];

            /// The text on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for MessageType {
            fn from(name: &str) -> Self {
                match name {
                    $($text => Self::$name,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

message_type_names! {
    /// Era, biome and tags of the piece have changed.
    SpaceTimeUpdate = "SpaceTimeUpdate",
    /// An image is wanted.
    RenderRequest = "RenderRequest",
    /// Who is there, and how they behave.
    PresenceStatus = "PresenceStatus",
    /// An image has been rendered.
    ImageReady = "ImageReady",
    /// A transition has been rendered.
    TransitionReady = "TransitionReady",
    /// A loop has been rendered.
    LoopReady = "LoopReady",
    /// A biome is wished for.
    RequestBiome = "RequestBiome",
    /// How many people are there.
    AudiencePresent = "AudiencePresent",
    /// Somebody speaks.
    SpeechDetected = "SpeechDetected",
    /// A transition is wanted.
    TransitionRequest = "TransitionRequest",
    /// A loop is wanted.
    LoopRequest = "LoopRequest",
    /// Something for an operator.
    Alert = "Alert",
    /// Something to show.
    DisplayMedia = "DisplayMedia",
    /// Text to show.
    DisplayText = "DisplayText",
    /// Text to take away.
    RemoveText = "RemoveText",
    /// How the map has changed.
    ChangeMap = "ChangeMap",
    /// A service's status.
    Status = "status",
    /// A service is alive.
    Heartbeat = "heartbeat",
    /// A command to services.
    Commands = "commands",
    /// A command to one service.
    Command = "command",
    /// Control of workers.
    Control = "control",
}

impl std::fmt::Display for MessageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

message_types! {
    /// Where and when the piece is.
    SpaceTimeUpdate {
        /// Words that describe it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tags: Option<Vec<String>>,
        /// ISO 8601.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timestamp: Option<String>,
    }

    /// An image is wanted.
    RenderRequest {
        /// Comes back with the image.
        request_id: String,
        /// What to paint.
        prompt: String,
        /// Which generator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generator: Option<String>,
        /// What not to paint.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        negative_prompt: Option<String>,
        /// In pixels.
        #[serde(default = "side")]
        width: u32,
        /// In pixels.
        #[serde(default = "side")]
        height: u32,
        /// A style by name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        style: Option<String>,
        /// Makes the image repeatable.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<i64>,
        /// An image to go by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference_image: Option<ImageSource>,
        /// A depth map to go by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        depth_map: Option<ImageSource>,
        /// Whether older requests are given up.
        #[serde(default)]
        clear_queue: bool,
    }

    /// An image has been rendered.
    ImageReady {
        /// That of the request.
        request_id: String,
        /// Where it is.
        uri: String,
        /// What it was made from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
    }

    /// Who is there, and how they behave.
    PresenceStatus {
        /// Nobody is there.
        idle: bool,
        /// Somebody is there.
        present: bool,
        /// A hand is over the table.
        hand: bool,
        /// Somebody speaks.
        voice: bool,
        /// Somebody touches the surface.
        touch: bool,
        /// A conversation goes on.
        conversation: bool,
        /// How many people.
        #[serde(default)]
        person_count: u32,
        /// ISO 8601.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_present: Option<String>,
        /// ISO 8601.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_hand: Option<String>,
        /// ISO 8601.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_voice: Option<String>,
        /// ISO 8601.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_touch: Option<String>,
        /// Seconds.
        #[serde(default)]
        presence_duration: f64,
        /// Seconds.
        #[serde(default)]
        hand_duration: f64,
        /// Seconds.
        #[serde(default)]
        touch_duration: f64,
        /// Seconds.
        #[serde(default)]
        voice_duration: f64,
        /// ISO 8601.
        timestamp: String,
    }

    /// How many people are there.
    AudiencePresent {
        /// How many.
        person_count: u32,
    }

    /// Somebody speaks.
    SpeechDetected {
        /// Whether they do now.
        is_speaking: bool,
        /// `human` or `agent`.
        #[serde(default = "human")]
        speaker: String,
    }

    /// A biome is wished for.
    RequestBiome {
        /// Its name.
        biome: String,
    }

    /// Something to show.
    DisplayMedia {
        /// `image`, `image_sequence`, `video`, `debug_depth` or `clear`.
        content_type: String,
        /// That of the request it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        /// Base64.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_data: Option<String>,
        /// Where the image is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uri: Option<String>,
        /// Folder of a sequence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sequence_path: Option<String>,
        /// File of a video.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        video_path: Option<String>,
        /// Seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration: Option<f64>,
        /// Whether it repeats.
        #[serde(default, rename = "loop")]
        repeat: bool,
        /// Seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fade_in: Option<f64>,
        /// Seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fade_out: Option<f64>,
        /// `[x, y]` or the name of an anchor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Value>,
        /// `[width, height]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<Value>,
        /// Whether it is the last of its tiles.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        final_tile: Option<bool>,
    }

    /// Text to show.
    DisplayText {
        /// To take it away by.
        text_id: String,
        /// The text.
        content: String,
        /// Who says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        speaker: Option<String>,
        /// Seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration: Option<f64>,
        /// How it looks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        style: Option<Value>,
        /// Seconds, or `[in, out]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fade_duration: Option<Value>,
    }

    /// Text to take away.
    RemoveText {
        /// That of the text.
        text_id: String,
        /// Seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fade_out: Option<f64>,
    }

    /// A transition is wanted.
    TransitionRequest {
        /// Comes back with the transition.
        request_id: String,
        /// Where it begins.
        from_image_uri: String,
        /// Where it ends.
        to_image_uri: String,
        /// `dissolve`, `morph`, `wipe` or `simple`.
        style: String,
        /// Its length.
        duration_frames: u32,
    }

    /// A transition has been rendered.
    TransitionReady {
        /// That of the request.
        transition_id: String,
        /// Where it is.
        uri: String,
        /// A video, or a folder of images.
        is_video: bool,
        /// Whether it repeats.
        #[serde(rename = "loop")]
        repeat: bool,
        /// Its last image.
        final_frame_uri: String,
    }

    /// A loop is wanted.
    LoopRequest {
        /// Comes back with the loop.
        request_id: String,
        /// The image that shall move.
        still_image_uri: String,
        /// How.
        style: String,
    }

    /// A loop has been rendered.
    LoopReady {
        /// That of the request.
        loop_id: String,
        /// Where it is.
        uri: String,
        /// A video, or a folder of images.
        is_video: bool,
        /// Seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_s: Option<f64>,
    }
}

/// The fields of a message that its type does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Extra(serde_json::Map<String, Value>);

impl Extra {
    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// The same with one more field. `type` cannot be set: the message's own type stands there.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        if field != "type" {
            self.0.insert(field.to_owned(), value.into());
        }
        self
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let mut fields = serde_json::Map::deserialize(reader)?;
        fields.remove("type");
        Ok(Self(fields))
    }
}

/// An image, in the message or elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// A PNG in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_data: Option<String>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

fn side() -> u32 {
    1024
}

fn human() -> String {
    "human".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_type_survives_the_wire() {
        for name in MessageType::KNOWN {
            assert_eq!(MessageType::from(*name).as_str(), *name);
            assert!(!matches!(MessageType::from(*name), MessageType::Other(_)), "{name}");
        }
        assert_eq!(MessageType::from("Firefly"), MessageType::Other("Firefly".to_owned()));
    }

    #[test]
    fn defaults_are_those_of_the_seed() {
        let request: RenderRequest = serde_json::from_str(
            r#"{"type":"RenderRequest","request_id":"1","prompt":"a fjord","era":"future"}"#,
        )
        .unwrap();
        assert_eq!((request.width, request.height, request.clear_queue), (1024, 1024, false));
        assert_eq!(request.extra.get("era"), Some(&Value::from("future")));
        assert_eq!(request.extra.get("type"), None);
    }
}
