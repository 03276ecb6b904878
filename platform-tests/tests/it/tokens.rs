//! Who may do what.

use tawi_platform_tests::{App, Node, operator::text};

#[test]
fn a_deploy_token_pushes_its_app_and_no_other_until_it_is_revoked() {
    let node = Node::start();
    let (mine, other) = (App::prebuilt("plain-http"), App::prebuilt("probe-http"));
    let secret = node.deploy_token("ci", "plain-http");
    let push = mine.push_ref(&node, &secret, "main");
    assert!(push.accepted, "{push}");
    assert!(!other.push_ref(&node, &secret, "main").accepted);
    assert!(!other.push_ref(&node, "", "main").accepted);
    node.client().with_token(Some(&secret)).get("/api/v1/subscribe?subject=%3E").problem(403);

    let listed = node.tawi(&["tokens", "list", "--json"]).ok();
    assert!(!listed.text().contains(&secret) && !listed.text().contains(node.token()), "a listing shows no secret");
    let rows = listed.rows();
    let ci = rows.iter().find(|row| row["name"] == "ci").unwrap();
    node.tawi(&["tokens", "revoke", &text(ci, "id")]).ok();
    mine.commit("after");
    assert!(!mine.push_ref(&node, &secret, "main").accepted);
    assert_eq!(node.releases("plain-http").len(), 1);
}

#[test]
fn tokens_survive_a_restart_and_the_last_admin_stays() {
    let mut node = Node::start();
    let secret = node.deploy_token("ci", "plain-http");
    node.restart();
    let push = App::prebuilt("plain-http").push_ref(&node, &secret, "main");
    assert!(push.accepted, "{push}");
    let admin = node.tawi(&["tokens", "list", "--json"]).ok().rows().into_iter().find(|row| row["role"] == "admin").unwrap();
    node.tawi(&["tokens", "revoke", &text(&admin, "id")]).refused();
}

#[test]
fn the_command_line_says_what_to_do_without_a_token() {
    let node = Node::start();
    let ran = tawi_platform_tests::Ran::run(node.command().args(["apps", "list"]).env("TAWI_TOKEN", "wrong")).refused();
    assert!(ran.stderr.contains("error:") && ran.stderr.contains("hint:"), "{ran}");
    let ran = tawi_platform_tests::Ran::run(node.command().args(["apps", "list"]).env("TAWI_URL", "http://127.0.0.1:1")).refused();
    assert!(ran.stderr.contains("tawi up"), "{ran}");
}
