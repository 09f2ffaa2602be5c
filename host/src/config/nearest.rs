//! What somebody probably meant.

/// The known name that `name` most resembles, if any resembles it at all.
pub fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = name.to_lowercase();
    let allowed = (plain.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&plain, &known.to_lowercase()), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, known)| known)
}

/// A hint from the names that would have been right: the nearest, and all of them when they are few.
#[must_use]
pub fn known_names(name: &str, known: &[&str], noun: &str) -> Option<String> {
    const FEW: usize = 12;
    let meant = nearest(name, known.iter().copied());
    let list = (!known.is_empty() && known.len() <= FEW).then(|| known.join(", "));
    match (meant, list) {
        (Some(meant), Some(list)) if known.len() > 1 => {
            Some(format!("did you mean `{meant}`? Known {noun}: {list}"))
        }
        (Some(meant), _) => Some(format!("did you mean `{meant}`?")),
        (None, Some(list)) => Some(format!("known {noun}: {list}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_resembles_is_offered() {
        assert_eq!(nearest("work_intervall", ["zmq", "work_interval"]), Some("work_interval"));
        assert_eq!(nearest("Zqm", ["zmq", "work_interval"]), Some("zmq"));
        assert_eq!(nearest("colour", ["zmq", "work_interval"]), None);
        assert_eq!(nearest("", ["zmq"]), None);
    }

    #[test]
    fn few_names_are_listed() {
        assert_eq!(
            known_names("prot", &["port", "bind"], "keys").as_deref(),
            Some("did you mean `port`? Known keys: port, bind")
        );
        assert_eq!(known_names("x", &["port"], "keys").as_deref(), Some("known keys: port"));
        assert_eq!(known_names("x", &[], "keys"), None);
    }
}
