//! Which devices a question is about at most, where its text says so.

use super::{
    EVENTS, Field,
    parse::{Leaf, Node, Test, parse},
};
use crate::model::Id;

/// Nothing is found of other devices than these. None: the text does not say, or can't be read, which who asks is told elsewhere.
pub fn devices_named(text: &str) -> Option<Vec<Id>> {
    of(&parse(text, &EVENTS).ok()?)
}

fn of(node: &Node) -> Option<Vec<Id>> {
    match node {
        Node::Leaf(Leaf { field: Some(Field::Device), test: Test::Is(name) | Test::Quoted(name), .. }) => {
            Some(Id::new(name).into_iter().collect())
        }
        // Each of them has to name some.
        Node::Or(nodes) => nodes.iter().map(of).collect::<Option<Vec<_>>>().map(|all| all.concat()),
        // One of them is enough.
        Node::And(nodes) => nodes.iter().find_map(of),
        Node::All | Node::Not(_) | Node::Leaf(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_its_devices_only_where_nothing_else_can_be_found() {
        let named = |text| devices_named(text).map(|ids| ids.iter().map(Id::to_string).collect::<Vec<_>>().join(","));
        assert_eq!(named("device:pond value:>8").as_deref(), Some("pond"));
        assert_eq!(named("device:(pond OR \"well\") sensor:t").as_deref(), Some("pond,well"));
        assert_eq!(named("device:pond OR device:well").as_deref(), Some("pond,well"));
        for other in ["", "pond", "device:po*", "NOT device:pond", "device:pond OR value:>8", "sensor:t", "device:(pond"] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
