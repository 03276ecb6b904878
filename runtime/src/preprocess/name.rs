//! What a rule is called.

use crate::model::{Id, id::IdError};
use std::fmt;

/// By whoever set it: `NAME`. Or by the app that says it in its manifest: `APP/NAME`, which no id is, so neither ever takes the other's place.
/// Where several rules are for a sensor, they are in this order: those that were set by hand, then those of apps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub app: Option<Id>,
    pub name: Id,
}

impl Name {
    pub fn of_app(app: &Id, name: &Id) -> Name {
        Name { app: Some(app.clone()), name: name.clone() }
    }

    pub fn parse(text: &str) -> Result<Name, IdError> {
        match text.split_once('/') {
            Some((app, name)) => Ok(Name { app: Some(Id::new(app)?), name: Id::new(name)? }),
            None => Ok(Name { app: None, name: Id::new(text)? }),
        }
    }
}

impl From<&Id> for Name {
    fn from(name: &Id) -> Name {
        Name { app: None, name: name.clone() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.app {
            Some(app) => write!(f, "{app}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_it_was_and_what_was_set_by_hand_comes_first() {
        let mut names: Vec<Name> = ["pond/z", "a", "pond/a", "apes/m", "z.z"].iter().map(|text| Name::parse(text).unwrap()).collect();
        assert!(names.iter().all(|name| Name::parse(&name.to_string()).as_ref() == Ok(name)));
        names.sort();
        let texts: Vec<String> = names.iter().map(Name::to_string).collect();
        assert_eq!(texts, ["a", "z.z", "apes/m", "pond/a", "pond/z"]);
        for wrong in ["", "/", "a/", "/a", "a/b/c", "a b"] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
    }
}
