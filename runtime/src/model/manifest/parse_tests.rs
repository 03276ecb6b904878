#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::manifest::{Delivery, Difference, Limits, Missed, Per, Rule, Schedule, Shape, Threshold, Window};
use std::time::Duration;

const WHOLE: &str = r#"
[app]
name = "fridge-alert"

[[on]]
name = "alert"
subject = "reading.*.temp"
order = "none"
timeout = "500ms"
delivery = { retry = 2, backoff-policy = "linear", backoff-delay = "2s", retry-after-max = "1m", jitter = "50%" }

[[on]]
name = "status"
http = "/status/"
auth = "public"
reuse = 500

[grant]
publish = ["alerts.>"]
command = ["fan1"]
state = true
secrets = ["API_KEY"]
http = ["API.example.com", "*.example.org:8443"]
http-private = ["nas.lan"]

[limits]
memory = "128MiB"
cpu = "250ms"
effects = 10
log = "4KiB"
output = "1MiB"

[build]
package = "fridge"

[config]
THRESHOLD = "8"
"#;

fn problems(text: &str) -> Vec<String> {
    Manifest::parse(text).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

/// The one problem of a manifest that is fine but for `lines` at its end.
fn problem_with(lines: &str) -> String {
    let text = format!("[app]\nname = \"a\"\n[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n{lines}");
    let mut found = problems(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn everything_a_manifest_can_say_is_read() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    assert_eq!(manifest.app.as_str(), "fridge-alert");
    let alert = manifest.function("alert").unwrap();
    assert_eq!(
        alert.trigger,
        Trigger::Event { subject: Pattern::new("reading.*.temp").unwrap(), order: Order::None, select: None, rule: None }
    );
    assert_eq!((alert.timeout, alert.delivery.retry), (Duration::from_millis(500), 2));
    let Delivery { backoff_delay, retry_after_max, jitter_percent, .. } = alert.delivery;
    assert_eq!((backoff_delay, retry_after_max, jitter_percent), (Duration::from_secs(2), Duration::from_secs(60), 50));
    let status = manifest.function("status").unwrap();
    assert_eq!(status.trigger, Trigger::Http { path: "/status".into(), auth: Auth::Public });
    assert_eq!(manifest.grant.http, ["api.example.com", "*.example.org:8443"]);
    assert_eq!(manifest.grant.http_private, ["nas.lan"]);
    assert!(manifest.grant.state && !manifest.grant.history);
    assert_eq!(manifest.limits.memory_bytes, 128 << 20);
    assert_eq!((manifest.limits.cpu, manifest.limits.effects), (Duration::from_millis(250), 10));
    assert_eq!((manifest.limits.log_bytes, manifest.limits.output_bytes), (4 << 10, 1 << 20));
    assert_eq!((alert.reuse, status.reuse), (1, 500));
    assert_eq!(manifest.build.package.as_deref(), Some("fridge"));
    assert_eq!(manifest.config["THRESHOLD"], "8");
}

#[test]
fn what_is_not_said_has_a_default() {
    let manifest = Manifest::parse("[app]\nname='a'\n[[on]]\nname='f'\nsubject='x.>'\n[[on]]\nname='g'\nhttp='/'").unwrap();
    assert_eq!(manifest.functions[0].delivery, Delivery::default());
    assert_eq!(manifest.functions[0].timeout, TIMEOUT_DEFAULT);
    assert_eq!(manifest.functions[1].trigger, Trigger::Http { path: "/".into(), auth: Auth::Token });
    assert_eq!(manifest.grant, Grant::default());
    assert_eq!(manifest.limits, Limits::default());
}

#[test]
fn a_stored_manifest_is_read_back() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    let stored = serde_json::to_string(&manifest).unwrap();
    assert!(stored.contains(r#""timeout_ms":500"#), "{stored}");
    assert_eq!(serde_json::from_str::<Manifest>(&stored).unwrap(), manifest);
    // One that was stored before there were these keys.
    let before = serde_json::json!({ "memory_bytes": 2 << 20 });
    assert_eq!(serde_json::from_value::<Limits>(before).unwrap(), Limits { memory_bytes: 2 << 20, ..Limits::default() });
}

#[test]
fn a_mistyped_key_is_shown_where_it_stands_with_what_was_meant() {
    let shown = problem_with("subjet = \"x\"\n");
    assert_eq!(
        shown,
        "tawi.toml:6:1: unknown key `subjet` in `[[on]]`\n  6 | subjet = \"x\"\n    | ^^^^^^\n  hint: did you mean `subject`?"
    );
    assert!(problem_with("[grants]\n").contains("did you mean `grant`?"));
    assert!(problem_with("[zzz]\n").contains("known here: `app`, `on`"));
    assert!(problem_with("[grant]\nstat = true\n").contains("did you mean `state`?"));
    assert!(problem_with("order = \"devices\"\n").contains("did you mean `device`?"));
}

#[test]
fn a_syntax_error_has_a_line_and_a_column() {
    let shown = problems("[app]\nname = \"a\n").remove(0);
    assert!(shown.starts_with("tawi.toml:2:"), "{shown}");
    let shown = problems("[app]\nname = \"a\"\nname = \"b\"\n").remove(0);
    assert!(shown.starts_with("tawi.toml:3:1: "), "{shown}");
}

#[test]
fn all_mistakes_are_named_at_once_in_the_order_of_their_lines() {
    let found = problems("[app]\nname = \"A b\"\n[[on]]\nname = \"f\"\n[limits]\nmemory = \"1TB\"\n");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("tawi.toml:2:8: `A b` is not an app name"), "{}", found[0]);
    assert!(found[1].starts_with("tawi.toml:3:1: this `[[on]]` entry says not"), "{}", found[1]);
    assert!(found[2].starts_with("tawi.toml:6:10: `1TB` is not a size"), "{}", found[2]);
}

#[test]
fn an_empty_manifest_is_told_what_to_add() {
    let found = problems("").join("\n");
    assert!(found.contains("there is no `[app]`") && found.contains("there is no `[[on]]`"), "{found}");
    let found = problems("on = []\n[app]\nname = 'a'").join("\n");
    assert!(found.contains("there is no `[[on]]`"), "{found}");
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    for (lines, message) in [
        ("http = \"/\"", "has one of `subject`, `select`, `schedule` and `http`"),
        ("auth = \"public\"", "`auth` has no meaning here"),
        ("[[on]]\nname='g'\nhttp='/'\ndelivery={retry=2}", "`delivery` has no meaning here"),
        ("[[on]]\nname='f'\nsubject='a'", "two `[[on]]` entries are called `f`"),
        ("[[on]]\nname='g'\nhttp='/x'\n[[on]]\nname='h'\nhttp='/x/'", "`/x` is served by `g` already"),
        ("[build]\ncomponent='a.wasm'\npackage='b'", "there is no `package` to build"),
        ("[[on]]\nname='codec'\nsubject='a'", "the name under which uplinks are kept"),
        ("delivery = { backoff-delay = '2s', retry-after-max = '1s' }", "`retry-after-max` is less than `backoff-delay`"),
    ] {
        let shown = problem_with(lines);
        assert!(shown.contains(message), "{lines}: {shown}");
    }
}

#[test]
fn a_codec_has_a_name_and_a_time_and_needs_no_function_beside_it() {
    let codec = |lines: &str| Manifest::parse(&format!("[app]\nname = \"a\"\n[codec]\n{lines}")).map(|manifest| manifest.codec.unwrap());
    let plain = codec("").unwrap();
    assert_eq!((plain.name.as_str(), plain.timeout, plain.reuse), (CODEC, CODEC_TIMEOUT_DEFAULT, 1));
    let whole = codec("name = \"station\"\ntimeout = \"5s\"\nreuse = 100").unwrap();
    assert_eq!((whole.name.as_str(), whole.timeout, whole.reuse), ("station", CODEC_TIMEOUT_MAX, 100));
    for (lines, message) in [
        ("timeout = \"6s\"", "at most `5s`"),
        ("name = \"a/b\"", "can't stand in an id"),
        ("nane = \"a\"", "did you mean `name`?"),
        ("reuse = 0", "`reuse` must be from 1"),
    ] {
        let shown = codec(lines).unwrap_err().problems.iter().map(ToString::to_string).collect::<String>();
        assert!(shown.contains(message), "{lines}: {shown}");
    }
    let stored = serde_json::to_string(&Manifest::parse(WHOLE).unwrap()).unwrap();
    assert!(!stored.contains("codec"), "a release without one is stored as before: {stored}");
}

/// A manifest of before pushes once more, and its author copies the line that is shown.
#[test]
fn the_old_retry_is_refused_with_the_line_that_says_the_same() {
    for (old, new) in [
        (
            "attempts = 3, backoff = 'linear', delay = '2s', delay-max = '1m'",
            "retry = 2, backoff-policy = \"linear\", backoff-delay = \"2s\", retry-after-max = \"1m\"",
        ),
        ("attempts = 1", "retry = 0"),
        ("", "retry = 4"),
    ] {
        let shown = problem_with(&format!("retry = {{ {old} }}"));
        let line = format!("delivery = {{ {new} }}");
        assert!(shown.contains(&format!("hint: write `{line}`")), "{shown}");
        let text = format!("[app]\nname = \"a\"\n[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n{line}");
        assert!(Manifest::parse(&text).is_ok(), "{text}");
    }
    assert!(problem_with("retry = 3").contains("write `delivery = { retry = 4 }`"));
}

#[test]
fn values_out_of_range_are_refused() {
    for (lines, message) in [
        ("timeout = \"301s\"", "at most `5m`"),
        ("timeout = \"0s\"", "more than nothing"),
        ("timeout = 10", "must be a string, not an integer"),
        ("delivery = { retry = 101 }", "from 0 to 100"),
        ("delivery = { retry = 4294967297 }", "from 0 to 100"),
        ("delivery = { backoff-delay = '25h' }", "at most `24h`"),
        ("delivery = { jitter = '120%' }", "from 0 to 100"),
        ("delivery = 4", "must be a table"),
        ("reuse = 0", "from 1 to 1000000"),
        ("[limits]\nmemory = \"1GiB\"", "from `2MiB` to `256MiB`"),
        ("[limits]\ncpu = \"5ms\"", "at least `10ms`"),
        ("[limits]\ncpu = \"6m\"", "at most `5m`"),
        ("[limits]\neffects = 1001", "from 1 to 1000"),
        ("[limits]\nlog = \"33KiB\"", "from `1KiB` to `32KiB`"),
        ("[limits]\noutput = \"17GiB\"", "from `1KiB` to `16GiB`"),
        ("[[on]]\nname='g'\nhttp='status'", "it starts with a `/`"),
        ("[[on]]\nname='g'\nhttp='/a/../b'", "leads nowhere"),
        ("[[on]]\nname='g'\nhttp='/a?b'", "`?` can't stand"),
        ("[[on]]\nname='g h'\nhttp='/a'", "can't stand in an id"),
        ("[grant]\npublish = [\"reading.x\"]", "only the node itself publishes under `reading`"),
        ("[grant]\npublish = [\"a..b\"]", "empty token"),
        ("[grant]\npublish = \"a\"", "must be a list of strings"),
        ("[grant]\npublish = [\"a\", \"a\"]", "stands twice"),
        ("[grant]\nhttp = [\"https://example.com\"]", "leave out scheme and path"),
        ("[grant]\nhttp = [\"*\"]", "is not a host"),
        ("[grant]\nhttp-private = [\"*\"]", "is not a host"),
        ("[grant]\nhttp = [\"example.com:0\"]", "a port is a number"),
        ("[grant]\ncommand = [\"a/b\"]", "name a device, or `*`"),
        ("[grant]\nsecrets = [\"a b\"]", "is not a name"),
        ("[grant]\nstate = \"yes\"", "must be `true` or `false`"),
        ("[build]\ncomponent = \"../x.wasm\"", "not a file inside the repository"),
        ("[config]\nA = 8", "put it in quotes"),
    ] {
        let shown = problem_with(lines);
        assert!(shown.contains(message), "{lines}: {shown}");
    }
}

#[test]
fn a_manifest_of_a_megabyte_is_not_read() {
    let found = problems(&"#".repeat(1 << 20));
    assert!(found[0].contains("65536 are allowed"), "{found:?}");
}

#[test]
fn the_marks_stand_under_the_mistake_whatever_the_letters() {
    let shown = problem_with("\t timeout = \"é\" # ü\n");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[1], "  6 | \t timeout = \"é\" # ü");
    assert_eq!(lines[2], "    | \t           ^^^");
}

/// The one trigger of a manifest that is fine, with `lines` as its entry.
fn trigger_with(lines: &str) -> Trigger {
    let text = format!("[app]\nname = \"a\"\n[[on]]\nname = \"f\"\n{lines}");
    let mut manifest = Manifest::parse(&text).unwrap();
    let function = manifest.functions.remove(0);
    // What is stored with a release reads back.
    let stored = serde_json::to_string(&function.trigger).unwrap();
    assert_eq!(serde_json::from_str::<Trigger>(&stored).unwrap(), function.trigger);
    function.trigger
}

fn rule_with(line: &str) -> Rule {
    match trigger_with(&format!("subject = \"reading.>\"\n{line}")) {
        Trigger::Event { rule: Some(rule), .. } => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_trigger_of_time_is_read() {
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    assert_eq!(rule_with("batch = { max = 100, within = \"10s\" }"), Rule::Batch { max: 100, within: Duration::from_secs(10) });
    assert_eq!(rule_with("silence = \"10m\""), Rule::Silence { after: 10 * minute });
    assert_eq!(rule_with("change = true"), Rule::Change(Difference::Any));
    assert_eq!(rule_with("change = { by = 0.5 }"), Rule::Change(Difference::Absolute(0.5)));
    assert_eq!(rule_with("change = { percent = 10 }"), Rule::Change(Difference::Relative(0.1)));
    assert_eq!(rule_with("every = 10"), Rule::Every { n: 10 });
    assert_eq!(
        rule_with("threshold = { below = -2, hysteresis = 0.5, hold = \"5m\" }"),
        Rule::Threshold(Threshold { above: false, limit: -2.0, hysteresis: 0.5, hold: 5 * minute })
    );
    let window =
        |shape, idle| Window { shape, per: Per::Sensor, lateness: hour, ahead: 5 * minute, idle, readings: false, percentiles: Vec::new() };
    assert_eq!(rule_with("window = { tumbling = \"1h\" }"), Rule::Window(window(Shape::Tumbling { length: hour }, hour)));
    assert_eq!(rule_with("window = { session = \"10s\" }"), Rule::Window(window(Shape::Session { gap: Duration::from_secs(10) }, minute)));
    let all = "window = { sliding = \"1h\", every = \"5m\", per = \"device\", lateness = \"7d\", ahead = \"1m\", idle = \"2h\", readings = true, percentiles = [50, 99.9] }";
    let sliding = Window {
        per: Per::Device,
        lateness: 168 * hour,
        ahead: minute,
        readings: true,
        percentiles: vec![50.0, 99.9],
        ..window(Shape::Sliding { length: hour, every: 5 * minute }, 2 * hour)
    };
    assert_eq!(rule_with(all), Rule::Window(sliding));
    let schedule = trigger_with("schedule = \"0 6 * * MON-FRI\"\nzone = \"Africa/Lagos\"\njitter = \"30s\"\nmissed = \"once\"");
    let (cron, zone) = ("0 6 * * MON-FRI".to_owned(), "Africa/Lagos".to_owned());
    assert_eq!(schedule, Trigger::Schedule(Schedule { cron, zone, jitter: Duration::from_secs(30), missed: Missed::Once }));
}

#[test]
fn what_time_can_t_make_is_refused_with_its_line_and_a_reason() {
    for (lines, said) in [
        ("window = { tumbling = \"0s\" }", "6:23: `tumbling` must be more than nothing"),
        ("window = { tumbling = \"10ms\" }", "`tumbling` is 1s at least"),
        ("window = { tumbling = \"1h\", sliding = \"1h\" }", "a window has one shape"),
        ("window = { sliding = \"1h\" }", "sliding windows begin `every` so often"),
        ("window = { sliding = \"1h\", every = \"1s\" }", "a reading is in 64 windows at most"),
        ("window = { sliding = \"1h\", every = \"61001ms\" }", "is made of 3600000 parts, of 1440 at most"),
        ("window = { tumbling = \"1s\", lateness = \"31d\" }", "2678401 windows of each sensor would be kept"),
        ("window = { tumbling = \"1h\", every = \"1s\" }", "only sliding windows begin every so often"),
        ("window = { tumbling = \"1h\", percentiles = [101] }", "a percentile is from 0 to 100, not 101"),
        ("batch = { max = 100 }", "`batch` has no `within`"),
        ("change = false", "`change = false` says nothing"),
        ("change = { by = 0 }", "a change is by more than nothing"),
        ("threshold = { hold = \"1m\" }", "a threshold is `above` or `below` one number"),
        ("threshold = { above = 1, hysteresis = -1 }", "`hysteresis` is a distance"),
        ("every = 1", "`every` must be from 2 to 1000000"),
        ("every = 2\nsilence = \"1m\"", "an `[[on]]` entry has one of `batch`, `window`"),
        ("zone = \"UTC\"", "only a `schedule` has it: `zone` has no meaning here"),
        ("schedule = \"@daily\"", "an `[[on]]` entry has one of `subject`, `select`, `schedule` and `http`"),
    ] {
        let found = problem_with(lines);
        assert!(found.contains(said), "{lines}: {found}");
    }
    for (lines, said) in [
        ("schedule = \"0 0 30 2 *\"", "`0 0 30 2 *` never comes"),
        ("schedule = \"61 * * * *\"", "`61 * * * *` is not a cron expression"),
        ("schedule = \"soon\"", "`soon` is not a cron expression"),
        ("schedule = \"@daily\"\nzone = \"Africa/Lagoss\"", "there is no time zone `Africa/Lagoss`"),
        ("schedule = \"@daily\"\nsilence = \"1m\"", "a schedule has no readings: `silence` has no meaning here"),
        ("http = \"/\"\nbatch = { max = 1, within = \"1s\" }", "a request is no reading: `batch` has no meaning here"),
    ] {
        let found = problems(&format!("[app]\nname = \"a\"\n[[on]]\nname = \"f\"\n{lines}\n"));
        assert!(found.len() == 1 && found[0].contains(said), "{lines}: {found:?}");
    }
    assert!(
        problems("[app]\nname = \"a\"\n[[on]]\nname = \"f\"\nschedule = \"@daily\"\nzone = \"Africa/Lagoss\"\n")[0]
            .contains("`Africa/Lagos`")
    );
}
