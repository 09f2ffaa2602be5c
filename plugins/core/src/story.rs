//! Where the story is: an era of the sequence, and a biome.

use plugin_api::prelude::*;

/// In the order of the story; after the last the first comes again.
const ERAS: [&str; 9] = [
    "wilderness",
    "pre_industrial",
    "early_industrial",
    "late_industrial",
    "modern",
    "current",
    "future",
    "dystopia",
    "ruins",
];

const BIOMES: [&str; 15] = [
    "rainforest",
    "temperate_forest",
    "boreal_forest",
    "deciduous_forest",
    "desert",
    "mountain",
    "tropical_island",
    "river",
    "tundra",
    "steppe",
    "coastal",
    "swamp",
    "plains",
    "arctic",
    "jungle",
];

/// A place in the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Story {
    era: usize,
    biome: &'static str,
}

impl Story {
    /// The first era, in a biome.
    pub(crate) fn begin(biome: &str) -> Result<Self> {
        Ok(Self { era: 0, biome: known(biome)? })
    }

    /// Goes on in an era and a biome; by their names, since a new build may tell the eras in another
    /// order.
    pub(crate) fn resume(era: &str, biome: &str) -> Result<Self> {
        let era = ERAS
            .iter()
            .position(|known| *known == era)
            .ok_or_else(|| Error::invalid(format!("there is no era `{era}`")))?;
        Ok(Self { era, biome: known(biome)? })
    }

    pub(crate) fn era(&self) -> &'static str {
        ERAS[self.era]
    }

    pub(crate) fn biome(&self) -> &'static str {
        self.biome
    }

    pub(crate) fn at_the_beginning(&self) -> bool {
        self.era == 0
    }

    pub(crate) fn advance(&mut self) {
        self.era = (self.era + 1) % ERAS.len();
    }

    pub(crate) fn move_to(&mut self, biome: &str) -> Result<()> {
        self.biome = known(biome)?;
        Ok(())
    }
}

fn known(biome: &str) -> Result<&'static str> {
    BIOMES.into_iter().find(|known| *known == biome).ok_or_else(|| {
        Error::invalid(format!("there is no biome `{biome}`; known are {}", BIOMES.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eras_follow_one_another_and_begin_again() {
        let mut story = Story::begin("desert").unwrap();
        let told: Vec<_> = (0..ERAS.len())
            .map(|_| {
                let era = story.era();
                story.advance();
                era
            })
            .collect();
        assert_eq!(told, ERAS);
        assert!(story.at_the_beginning());
    }

    #[test]
    fn a_story_goes_on_where_it_was_as_long_as_there_is_such_a_place() {
        let mut story = Story::begin("desert").unwrap();
        story.advance();
        assert_eq!(Story::resume(story.era(), story.biome()).unwrap(), story);
        let error = Story::resume("tomorrow", "desert").unwrap_err();
        assert!(error.to_string().contains("`tomorrow`"), "{error}");
        assert!(Story::resume("modern", "moon").is_err());
    }

    #[test]
    fn an_unknown_biome_is_refused_and_changes_nothing() {
        let mut story = Story::begin("desert").unwrap();
        let error = story.move_to("moon").unwrap_err();
        assert!(error.to_string().contains("`moon`"), "{error}");
        assert_eq!(story.biome(), "desert");
    }
}
