//! A git credential helper: the saved token is the password, so that no remote has a secret in its URL.

use super::Context;
use crate::{
    failure::Done,
    login::{Logins, plain},
    out,
};
use std::io::Read;

/// git asks with `get`; it never tells us anything worth storing.
pub fn run(context: &Context, operation: &str) -> Done {
    if operation != "get" {
        return Ok(());
    }
    let mut question = String::new();
    std::io::stdin().read_to_string(&mut question)?;
    let Some(url) = asked_for(&question) else { return Ok(()) };
    let of_environment = context.global.url.as_deref().is_none_or(|ours| plain(ours) == url);
    let token = match &context.token {
        Some(token) if of_environment => Some(token.clone()),
        _ => Logins::load()?.token(&url).map(str::to_owned),
    };
    // Saying nothing makes git ask the next helper, or the person.
    if let Some(token) = token {
        out::line(&format!("username=tawi\npassword={token}"))?;
    }
    Ok(())
}

/// The node's URL in git's question.
fn asked_for(question: &str) -> Option<String> {
    let value = |name: &str| question.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Some(plain(&format!("{}://{}", value("protocol")?, value("host")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_asks_by_protocol_and_host() {
        assert_eq!(asked_for("protocol=http\nhost=127.0.0.1:8294\n\n").as_deref(), Some("http://127.0.0.1:8294"));
        assert_eq!(asked_for("protocol=http\n"), None);
    }
}
