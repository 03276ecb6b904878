//! Pushes that are refused, each with its reason and what to do about it. Nothing of them goes live.

use tawi_platform_tests::{App, Node, app::set};

/// What is wrong, how it is made so, and words of the answer.
type Case<'a> = (&'a str, &'a dyn Fn(&App), &'a [&'a str]);

#[test]
fn a_repository_that_is_no_app_is_refused_with_a_hint() {
    let node = Node::start();
    let cases: [Case; 9] = [
        ("without a manifest", &|app| drop(app.git(&["rm", "--quiet", "tawi.toml"]).ok()), &["tawi.toml"]),
        ("a syntax error, with line and column", &|app| app.write("tawi.toml", "[app]\nname = \n"), &["tawi.toml", "2"]),
        ("a key with a typing error", &|app| app.replace("tawi.toml", "auth", "auht"), &["auht", "auth"]),
        (
            "a pattern that matches nothing",
            &|app| {
                app.write(
                    "tawi.toml",
                    "[app]\nname = \"plain-http\"\n[[on]]\nname = \"x\"\nsubject = \"a..b\"\n[build]\ncomponent = \"app.wasm\"\n",
                )
            },
            &["a..b"],
        ),
        (
            "no function at all",
            &|app| app.write("tawi.toml", "[app]\nname = \"plain-http\"\n[build]\ncomponent = \"app.wasm\"\n"),
            &["[[on]]"],
        ),
        ("another app's name", &|app| app.manifest(|m| set(m, "app", "name", "other")), &["other", "plain-http"]),
        ("a component that is not there", &|app| app.manifest(|m| set(m, "build", "component", "gone.wasm")), &["gone.wasm"]),
        ("a component that is none", &|app| app.write("app.wasm", "\0asm, more or less"), &["app.wasm"]),
        (
            "a handler that the component does not have",
            &|app| app.write("tawi.toml", app.read("tawi.toml") + "\n[[on]]\nname = \"more\"\nsubject = \"reading.>\"\n"),
            &["event-handler"],
        ),
    ];
    let app = App::prebuilt("plain-http");
    app.push(&node);
    let good = app.git(&["rev-parse", "main"]).ok().stdout;
    for (what, spoil, words) in cases {
        app.git(&["reset", "--quiet", "--hard", good.trim()]).ok();
        spoil(&app);
        app.commit(what);
        let push = app.push_refused(&node, words).shows(&["remote rejected"]);
        assert!(!push.text.contains("panicked"), "{what}: {push}");
    }
    assert_eq!(node.releases("plain-http").len(), 1);
    node.client().with_token(None).get(&app.run_path("/")).expect(200);
}

/// It has all the right names, and traps, or loops, or wants too much, as soon as an instance is made.
#[test]
fn a_component_that_does_not_start_is_refused_and_the_old_version_serves() {
    let node = Node::start();
    let app = App::prebuilt("plain-http");
    app.push(&node);
    for (start, words) in [
        ("(func $start unreachable) (start $start)", ["does not start", "unreachable"]),
        ("(func $start (loop $again (br $again))) (start $start)", ["does not start", "processor time"]),
        ("(memory 2000)", ["does not start", "`memory` under [limits]"]),
    ] {
        let component = wat::parse_str(format!(
            "(component (core module $m (func (export \"handle\")) {start}) (core instance $i (instantiate $m))
               (func $h (canon lift (core func $i \"handle\"))) (instance $e (export \"handle\" (func $h)))
               (export \"wasi:http/incoming-handler@0.2.0\" (instance $e)))"
        ));
        app.write("app.wasm", component.unwrap());
        app.commit(start);
        app.push_refused(&node, &words).shows(&["remote rejected"]);
        node.client().with_token(None).get(&app.run_path("/")).expect(200);
    }
    assert_eq!(node.releases("plain-http").len(), 1);
}

#[test]
fn an_import_that_was_not_granted_is_refused_by_name() {
    let node = Node::start();
    let app = App::prebuilt("bad-import");
    app.push_refused(&node, &["tawi:app/state", "state = true", "wasi:sockets"]);
    assert!(node.tawi(&["apps", "list", "--json"]).ok().rows().iter().all(|app| app["release"].is_null()));
}

/// Files that would run code while dependencies are fetched, or choose another compiler.
#[test]
fn a_repository_does_not_configure_the_builder() {
    let node = Node::start();
    let app = App::new(&node, "sly");
    let good = app.git(&["rev-parse", "main"]).ok().stdout;
    let cases = [
        (".cargo/config.toml", "[build]\nrustc-wrapper = \"./evil\"\n"),
        (".cargo/config", "[build]\nrustc-wrapper = \"./evil\"\n"),
        ("rust-toolchain.toml", "[toolchain]\npath = \"evil\"\n"),
        ("rust-toolchain", "nightly\n"),
    ];
    for (path, contents) in cases {
        app.git(&["reset", "--quiet", "--hard", good.trim()]).ok();
        app.write(path, contents);
        app.commit(path);
        app.push_refused(&node, &[path, "remote rejected"]);
    }
    app.git(&["reset", "--quiet", "--hard", good.trim()]).ok();
    app.git(&["rm", "--quiet", "Cargo.lock"]).ok();
    app.commit("no lock file");
    app.push_refused(&node, &["Cargo.lock", "hint"]);
}

/// The one that never ends is the builder's own test, with a shorter limit.
#[test]
fn a_build_that_never_stops_talking_is_ended() {
    let node = Node::start();
    let app = App::new(&node, "endless");
    app.write("build.rs", "fn main() { loop { println!(\"cargo::warning={}\", \"and on \".repeat(1000)); } }");
    app.commit("and on");
    let push = app.push_refused(&node, &["remote rejected"]);
    assert!(push.text.len() < 4 << 20, "{} bytes of log", push.text.len());
}

/// Symbolic links could make the builder read what is not in the repository.
#[test]
fn a_link_out_of_the_repository_leads_nowhere() {
    let node = Node::start();
    let app = App::prebuilt("plain-http");
    std::fs::remove_file(app.dir().join("app.wasm")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", app.dir().join("app.wasm")).unwrap();
    app.commit("a link");
    app.push_refused(&node, &["app.wasm"]);
}
