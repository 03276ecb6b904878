//! Secrets: set by the operator, seen by the function that was granted them, and by nobody else.

use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt};
use tawi_platform_tests::{App, Node, repo, wait::SOON, wait_for};

const SECRET: &str = "s3cr3t-of-the-well";

#[test]
fn a_secret_is_seen_by_the_function_and_nowhere_else() {
    let node = Node::start();
    let app = App::prebuilt("probe-secrets");
    app.push(&node);
    let ask = |key: &str| node.client().get(&app.run_path(key)).expect(200).json();
    assert_eq!(ask("/API_KEY"), json!({"secret": null}));
    node.set_secret("probe-secrets", "API_KEY", SECRET);
    wait_for("the secret", SOON, || ask("/API_KEY"), |answer| *answer == json!({"secret": SECRET}));

    let denied = ask("/OTHER");
    assert_eq!(denied["kind"], "Denied");
    assert!(denied["reason"].as_str().unwrap().contains("OTHER"), "{denied}");

    let listed = node.tawi(&["secrets", "list", "probe-secrets"]).ok();
    assert!(listed.stdout.contains("API_KEY") && !listed.text().contains(SECRET), "{listed}");
    assert!(!node.log().contains(SECRET), "the log holds a secret");
    assert!(!node.tawi(&["apps", "list", "--json"]).ok().text().contains(SECRET));
    for file in repo::files_under(&node.data()) {
        let holds = fs::read(&file).is_ok_and(|bytes| bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()));
        if holds {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "`{}` holds a secret", file.display());
        }
    }
}
