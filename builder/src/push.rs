//! What the refs of a push ask for. Pure.

use crate::{error::BuildError, hook::Update, limit::MAIN};

/// What is to be done before the refs may move.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// The update of `main`, whose commit is to be built.
    pub deploy: Option<Update>,
    /// What the author is told about the rest.
    pub notes: Vec<String>,
}

/// A push is accepted whole or not at all, so one ref that can't be accepted refuses it.
pub fn plan(updates: &[Update]) -> Result<Plan, BuildError> {
    let mut plan = Plan { deploy: None, notes: Vec::new() };
    for update in updates {
        match (&update.new, update.name.as_str()) {
            (None, MAIN) => {
                return Err(BuildError::new("`main` is what is deployed, it can't be deleted")
                    .hint("`tawi apps delete` ends the app; `tawi rollback` goes back to an earlier release"));
            }
            (Some(_), MAIN) => plan.deploy = Some(update.clone()),
            (None, name) => plan.notes.push(format!("{}: deleted, nothing else changes", shown(name))),
            (Some(_), name) => plan.notes.push(format!("{}: stored, not deployed (only `main` is)", shown(name))),
        }
    }
    Ok(plan)
}

fn shown(name: &str) -> String {
    match (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/tags/")) {
        (Some(branch), _) => format!("branch `{branch}`"),
        (_, Some(tag)) => format!("tag `{tag}`"),
        _ => format!("`{name}`"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn update(new: Option<&str>, name: &str) -> Update {
        Update { old: Some("1".into()), new: new.map(Into::into), name: name.into() }
    }

    #[test]
    fn only_main_is_deployed_and_the_rest_is_told_so() {
        let plan = plan(&[update(Some("2"), "refs/heads/try"), update(Some("3"), MAIN), update(Some("4"), "refs/tags/v1")]).unwrap();
        assert_eq!(plan.deploy.unwrap().new.as_deref(), Some("3"));
        assert_eq!(plan.notes, ["branch `try`: stored, not deployed (only `main` is)", "tag `v1`: stored, not deployed (only `main` is)"]);
    }

    #[test]
    fn main_can_not_be_deleted_and_takes_the_whole_push_with_it() {
        assert!(plan(&[update(Some("2"), "refs/heads/try"), update(None, MAIN)]).is_err());
        assert!(plan(&[update(None, "refs/heads/try")]).unwrap().deploy.is_none());
    }
}
