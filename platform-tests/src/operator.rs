//! What an operator asks a node, by the command line: the words are here, the cases speak of what they mean.

use crate::{Node, Ran, wait::SOON, wait_until};
use serde_json::Value;
use std::path::Path;

/// One dead letter, as `tawi dead list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    pub app: String,
    pub function: String,
    pub sequence: u64,
    pub error: String,
}

impl Dead {
    /// `APP/FUNCTION` and the sequence: what the command line calls it.
    pub fn words(&self) -> [String; 2] {
        [format!("{}/{}", self.app, self.function), self.sequence.to_string()]
    }
}

/// Entries of one page of a state listing.
const PAGE: usize = 500;

impl Node {
    /// The text of one state entry; none when there is none.
    #[track_caller]
    pub fn state(&self, app: &str, key: &str) -> Option<String> {
        let ran = self.tawi(&["state", "get", app, key]);
        ran.status.success().then(|| ran.stdout.trim_end().to_owned())
    }

    /// Keys and values of an app's state under a prefix, a page at a time.
    #[track_caller]
    pub fn state_entries(&self, app: &str, prefix: &str) -> Vec<(String, Value)> {
        let limit = PAGE.to_string();
        let mut entries: Vec<(String, Value)> = Vec::new();
        loop {
            let mut words = vec!["state", "list", app, "--prefix", prefix, "--limit", &limit, "--json"];
            let after = entries.last().map(|(key, _)| key.clone());
            if let Some(after) = &after {
                words.extend(["--after", after]);
            }
            let rows = self.tawi(&words).ok().rows();
            let last = rows.len() < PAGE;
            entries.extend(rows.into_iter().map(|row| (text(&row, "key"), row["value"].clone())));
            if last {
                return entries;
            }
        }
    }

    #[track_caller]
    pub fn dead(&self, app: &str) -> Vec<Dead> {
        let rows = self.tawi(&["dead", "list", app, "--json"]).ok().rows();
        let dead = |row: &Value| Dead {
            app: text(row, "app"),
            function: text(row, "function"),
            sequence: number(row, "sequence"),
            error: text(row, "error"),
        };
        rows.iter().map(dead).collect()
    }

    /// Waits until an app has `count` dead letters.
    #[track_caller]
    pub fn wait_for_dead(&self, app: &str, count: usize) -> Vec<Dead> {
        wait_until(&format!("{count} dead letters of {app}"), SOON, || {
            let dead = self.dead(app);
            if dead.len() == count { Ok(dead) } else { Err(format!("{dead:?}")) }
        })
    }

    /// `tawi dead WORD` about one letter.
    pub fn dead_command(&self, word: &str, dead: &Dead) -> Ran {
        let [function, sequence] = dead.words();
        self.tawi(&["dead", word, &function, &sequence, "--json"])
    }

    #[track_caller]
    pub fn dead_show(&self, dead: &Dead) -> Value {
        self.dead_command("show", dead).ok().json()
    }

    #[track_caller]
    pub fn dead_replay(&self, dead: &Dead) {
        self.dead_command("replay", dead).ok();
    }

    #[track_caller]
    pub fn dead_drop(&self, dead: &Dead) {
        self.dead_command("drop", dead).ok();
    }

    /// The releases of an app, newest first.
    #[track_caller]
    pub fn releases(&self, app: &str) -> Vec<Value> {
        let mut rows = self.tawi(&["releases", app, "--json"]).ok().rows();
        rows.sort_by_key(|row| std::cmp::Reverse(number(row, "number")));
        rows
    }

    #[track_caller]
    pub fn rollback(&self, app: &str) {
        self.tawi(&["rollback", app]).ok();
    }

    #[track_caller]
    pub fn set_config(&self, app: &str, key: &str, value: &str) {
        self.tawi(&["config", "set", app, &format!("{key}={value}")]).ok();
    }

    /// A secret is read from standard input: what stands in a command line, others can see.
    #[track_caller]
    pub fn set_secret(&self, app: &str, key: &str, value: &str) {
        let file = self.scratch().join("secret");
        std::fs::write(&file, value).unwrap();
        Ran::run(self.command().args(["secrets", "set", app, key]).stdin(std::fs::File::open(&file).unwrap())).ok();
    }

    /// What history finds, newest first.
    #[track_caller]
    pub fn history(&self, query: &str) -> Vec<Value> {
        self.history_page(query, &["--limit", "1000"])
    }

    /// One page, as further words say.
    #[track_caller]
    pub fn history_page(&self, query: &str, more: &[&str]) -> Vec<Value> {
        self.tawi(&[&["history", query, "--json"], more].concat()).ok().rows()
    }

    /// How many readings and messages history knows of.
    #[track_caller]
    pub fn history_count(&self, query: &str) -> u64 {
        number(&self.tawi(&["history", query, "--count", "--json"]).ok().json(), "total")
    }

    /// Waits until history knows of exactly `count`.
    #[track_caller]
    pub fn wait_for_history(&self, query: &str, count: u64) {
        crate::wait_for(&format!("{count} hits of `{query}`"), SOON, || self.history_count(query), |n| *n == count);
    }

    /// The log lines of an app, oldest first.
    #[track_caller]
    pub fn logs(&self, app: &str) -> Vec<Value> {
        self.tawi(&["logs", app, "--limit", "1000", "--json"]).ok().rows()
    }

    /// Waits until an app has logged a line with this text.
    #[track_caller]
    pub fn wait_for_log(&self, app: &str, part: &str) -> Value {
        wait_until(&format!("a log line of {app} with `{part}`"), SOON, || {
            let lines = self.logs(app);
            let found = lines.iter().find(|line| text(line, "message").contains(part));
            found.cloned().ok_or_else(|| format!("{lines:?}"))
        })
    }

    /// Feeds a recorded CSV file as readings of one sensor.
    #[track_caller]
    pub fn replay(&self, file: &Path, device: &str, sensor: &str) -> Ran {
        Ran::run(self.command().arg("replay").arg(file).args(["--device", device, "--sensor", sensor])).ok()
    }

    /// Makes a token that may push one app; answers with its secret.
    #[track_caller]
    pub fn deploy_token(&self, name: &str, app: &str) -> String {
        let ran = self.tawi(&["tokens", "create", name, "--deploy", app, "--json"]).ok();
        text(&ran.json(), "secret")
    }

    /// Waits until no event waits for a function of the app: all are done, or dead.
    #[track_caller]
    pub fn wait_until_idle(&self, app: &str) {
        crate::wait_for(&format!("{app} to be idle"), crate::wait::LATER, || self.lag(app), |lag| *lag == 0);
    }

    /// How many events wait for the functions of an app, parked ones included.
    #[track_caller]
    pub fn lag(&self, app: &str) -> u64 {
        let functions = self.tawi(&["functions", app, "--json"]).ok().rows();
        functions.iter().map(|f| f["lag"].as_u64().unwrap_or(0) + f["parked"].as_u64().unwrap_or(0)).sum()
    }

    /// How many events of an app wait for a retry, or behind one.
    #[track_caller]
    pub fn parked(&self, app: &str) -> u64 {
        let functions = self.tawi(&["functions", app, "--json"]).ok().rows();
        functions.iter().map(|f| f["parked"].as_u64().unwrap_or(0)).sum()
    }

    /// The values of a metric whose labels are accepted.
    #[track_caller]
    pub fn metric(&self, name: &str, accepted: impl Fn(&str) -> bool) -> Vec<f64> {
        let text = self.client().get("/metrics").expect(200).text();
        let mut values = Vec::new();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
            if metric == name && accepted(labels) {
                values.extend(value.parse::<f64>());
            }
        }
        values
    }
}

/// A member that must be there, as text.
#[track_caller]
pub fn text(row: &Value, member: &str) -> String {
    match &row[member] {
        Value::String(text) => text.clone(),
        Value::Null => panic!("no `{member}` in {row}"),
        other => other.to_string(),
    }
}

/// A member that must be there, as a whole number.
#[track_caller]
pub fn number(row: &Value, member: &str) -> u64 {
    row[member].as_u64().unwrap_or_else(|| panic!("no number `{member}` in {row}"))
}
