//! Functions that may feed themselves: one publishes what another is called for, and so on, back to the first. Pure.
//!
//! A circle that is meant ends by itself; one that is not is ended by the limit of hops, sixteen events later, for each reading.

use crate::model::{
    Id, Manifest, Pattern,
    manifest::{Function, Trigger},
};
use std::collections::{HashSet, VecDeque};

/// One circle, and whether its functions all say themselves what they publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Circle {
    /// `APP/FUNCTION`, each called for what the one before it publishes; the first for what the last does.
    pub path: Vec<String>,
    /// Each has a `publish` of its own, and still it closes: nothing but the code could keep it open.
    pub certain: bool,
}

impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.path {
            write!(f, "{step} → ")?;
        }
        f.write_str(self.path.first().map_or("", String::as_str))
    }
}

struct Node<'a> {
    app: &'a Id,
    function: &'a Function,
    publishes: &'a [Pattern],
    said: bool,
}

/// The shortest circle through each function of `new` that is in one; `others` are the manifests that serve beside it.
pub fn circles<'a>(new: &'a Manifest, others: impl IntoIterator<Item = &'a Manifest>) -> Vec<Circle> {
    let others = others.into_iter().filter(|other| other.app != new.app);
    let nodes: Vec<Node<'_>> = std::iter::once(new).chain(others).flat_map(nodes).collect();
    let mine = nodes.iter().take_while(|node| node.app == &new.app).count();
    let mut found: Vec<Circle> = Vec::new();
    let mut seen: HashSet<Vec<usize>> = HashSet::new();
    for start in 0..mine {
        if let Some(path) = shortest(&nodes, start) {
            let mut members = path.clone();
            members.sort_unstable();
            if seen.insert(members) {
                let certain = path.iter().all(|at| nodes[*at].said);
                let path = path.iter().map(|at| format!("{}/{}", nodes[*at].app, nodes[*at].function.name)).collect();
                found.push(Circle { path, certain });
            }
        }
    }
    found
}

fn nodes(manifest: &Manifest) -> impl Iterator<Item = Node<'_>> {
    manifest.functions.iter().map(|function| Node {
        app: &manifest.app,
        function,
        publishes: function.publish.as_deref().unwrap_or(&manifest.grant.publish),
        said: function.publish.is_some(),
    })
}

fn feeds(from: &Node<'_>, to: &Node<'_>) -> bool {
    match &to.function.trigger {
        Trigger::Event { subject, select: None, .. } => from.publishes.iter().any(|published| published.meets(subject)),
        // Only readings are of a sensor, and nobody publishes those.
        _ => false,
    }
}

fn shortest(nodes: &[Node<'_>], start: usize) -> Option<Vec<usize>> {
    let mut from = vec![None; nodes.len()];
    let mut next = VecDeque::from([start]);
    while let Some(at) = next.pop_front() {
        for to in 0..nodes.len() {
            if !feeds(&nodes[at], &nodes[to]) {
                continue;
            }
            if to == start {
                let mut path: Vec<usize> = std::iter::successors(Some(at), |at| from[*at]).collect();
                path.reverse();
                return Some(path);
            }
            if from[to].is_none() {
                from[to] = Some(at);
                next.push_back(to);
            }
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn app(name: &str, functions: &[(&str, &str, &str)], grant: &str) -> Manifest {
        let mut text = format!("[app]\nname = \"{name}\"\n");
        for (function, subject, more) in functions {
            text += &format!("[[on]]\nname = \"{function}\"\nsubject = \"{subject}\"\n{more}\n");
        }
        Manifest::parse(&format!("{text}[grant]\npublish = [\"{grant}\"]\n")).unwrap()
    }

    fn shown(new: &Manifest, others: &[&Manifest]) -> Vec<(String, bool)> {
        circles(new, others.iter().copied()).into_iter().map(|circle| (circle.to_string(), circle.certain)).collect()
    }

    #[test]
    fn a_chain_is_no_circle_and_a_function_that_hears_itself_is_one() {
        assert_eq!(shown(&app("alert", &[("alert", "reading.>", "")], "alerts.>"), &[]), []);
        let echo = app("echo", &[("echo", "said.>", "")], "said.>");
        assert_eq!(shown(&echo, &[]), [("echo/echo → echo/echo".to_owned(), false)]);
    }

    #[test]
    fn a_circle_over_two_apps_is_found_when_the_second_of_them_comes() {
        let (ping, pong) = (app("ping", &[("f", "pong.>", "")], "ping.>"), app("pong", &[("g", "ping.*", "")], "pong.>"));
        assert_eq!(shown(&ping, &[]), []);
        assert_eq!(shown(&pong, &[&ping]), [("pong/g → ping/f → pong/g".to_owned(), false)]);
        // Itself as it was before is none of the others.
        assert_eq!(shown(&pong, &[&ping, &pong]).len(), 1);
    }

    #[test]
    fn what_each_function_says_that_it_publishes_opens_a_circle_or_makes_it_certain() {
        let chain = [("raise", "reading.>", "publish = [\"alerts.>\"]"), ("act", "alerts.>", "publish = []")];
        assert_eq!(shown(&app("pond", &chain, "alerts.>"), &[]), []);
        let circle = [("raise", "done.>", "publish = [\"alerts.>\"]"), ("act", "alerts.>", "publish = [\"done.x\"]")];
        assert_eq!(shown(&app("pond", &circle, ">"), &[]), [("pond/raise → pond/act → pond/raise".to_owned(), true)]);
    }
}
