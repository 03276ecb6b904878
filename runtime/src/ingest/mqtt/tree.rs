//! Who is to get what is published on a topic: a tree of levels, so that it takes a few steps, however many subscribe.

use std::collections::HashMap;

pub struct Tree<T> {
    root: Node<T>,
    count: usize,
}

struct Node<T> {
    /// By level; `+` and `#` are levels like others.
    below: HashMap<Box<str>, Node<T>>,
    here: Vec<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Node<T> {
        Node { below: HashMap::new(), here: Vec::new() }
    }
}

impl<T> Default for Tree<T> {
    fn default() -> Tree<T> {
        Tree { root: Node::default(), count: 0 }
    }
}

impl<T> Tree<T> {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn insert(&mut self, filter: &str, entry: T) {
        let mut node = &mut self.root;
        for level in filter.split('/') {
            node = node.below.entry(level.into()).or_default();
        }
        node.here.push(entry);
        self.count += 1;
    }

    /// Takes those under this filter that `is` says; branches that hold nothing any more go with them.
    pub fn remove(&mut self, filter: &str, is: impl Fn(&T) -> bool) {
        let levels: Vec<&str> = filter.split('/').collect();
        self.count -= self.root.remove(&levels, &is);
    }

    pub fn each<'t>(&'t self, topic: &str, mut found: impl FnMut(&'t T)) {
        let levels: Vec<&str> = topic.split('/').collect();
        self.root.each(&levels, &mut found);
    }
}

impl<T> Node<T> {
    fn remove(&mut self, levels: &[&str], is: &impl Fn(&T) -> bool) -> usize {
        let Some((level, rest)) = levels.split_first() else {
            let before = self.here.len();
            self.here.retain(|entry| !is(entry));
            return before - self.here.len();
        };
        let Some(node) = self.below.get_mut(*level) else { return 0 };
        let gone = node.remove(rest, is);
        if node.here.is_empty() && node.below.is_empty() {
            self.below.remove(*level);
        }
        gone
    }

    fn each<'t>(&'t self, levels: &[&str], found: &mut impl FnMut(&'t T)) {
        // `a/#` is `a` as well.
        if let Some(node) = self.below.get("#") {
            node.here.iter().for_each(&mut *found);
        }
        let Some((level, rest)) = levels.split_first() else {
            self.here.iter().for_each(found);
            return;
        };
        for level in ["+", level] {
            if let Some(node) = self.below.get(level) {
                node.each(rest, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_subscribed_is_found_and_nobody_else() {
        let mut tree = Tree::default();
        let filters =
            ["devices/d/sensors/s/value", "devices/+/sensors/+/value", "devices/#", "#", "devices/e/#", "+", "devices/d/sensors/s/value/#"];
        filters.iter().enumerate().for_each(|(n, filter)| tree.insert(filter, n));
        let found = |tree: &Tree<usize>, topic: &str| {
            let mut all = Vec::new();
            tree.each(topic, |n| all.push(*n));
            all.sort_unstable();
            all
        };
        assert_eq!(found(&tree, "devices/d/sensors/s/value"), [0, 1, 2, 3, 6]);
        assert_eq!(found(&tree, "devices"), [2, 3, 5]);
        assert_eq!(found(&tree, "devices/e/actuators/a/value"), [2, 3, 4]);
        filters.iter().enumerate().for_each(|(n, filter)| tree.remove(filter, |entry| *entry == n));
        tree.remove("devices/never", |_| true);
        assert!(tree.is_empty() && tree.root.below.is_empty(), "nothing is left of who has gone");
    }
}
