//! Settings: defaults in the manifest, the operator's word over them, no deployment needed.

use serde_json::json;
use tawi_platform_tests::{App, Node, app::set, wait::SOON, wait_for};

#[test]
fn an_operators_setting_goes_over_the_manifests_default_and_stays() {
    let node = Node::start();
    let app = App::prebuilt("probe-config");
    app.push(&node);
    let greeting = || node.client().get(&app.run_path("/?key=greeting")).expect(200).json();
    assert_eq!(greeting(), json!("hello"));

    node.set_config("probe-config", "greeting", "jambo");
    wait_for("the new greeting", SOON, greeting, |g| *g == json!("jambo"));
    node.set_config("probe-config", "other", "x=y");
    wait_for(
        "both settings",
        SOON,
        || node.client().get(&app.run_path("/")).json(),
        |all| *all == json!({"greeting": "jambo", "other": "x=y"}),
    );

    app.manifest(|m| set(m, "config", "greeting", "hi"));
    app.commit("another default");
    app.push(&node);
    assert_eq!(greeting(), json!("jambo"), "a release does not undo what the operator set");

    node.tawi(&["config", "unset", "probe-config", "greeting"]).ok();
    wait_for("the default again", SOON, greeting, |g| *g == json!("hi"));
    let listed = node.tawi(&["config", "list", "probe-config"]).ok().stdout;
    assert!(listed.contains("other") && listed.contains("x=y"), "{listed}");
}
