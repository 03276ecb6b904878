//! Watches the oxygen of fish ponds: an alert when a probe falls silent, the aerator while there is too little, the mean of each day
//! and a report in the morning.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tawi::{Crossing, Json, Silence, Tick, Window, command, json, publish, state};

const DAY: Duration = Duration::from_secs(86_400);

/// Under `day/2026-05-01/POND`.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Day {
    mean: f64,
    /// One reading in twenty was lower.
    low: f64,
    readings: u64,
}

#[tawi::silence]
fn silent(silence: Silence) -> tawi::Result {
    let pond = silence.device()?;
    let text = match silence.lasted() {
        None => format!("nothing from {pond} since {}", silence.since),
        Some(time) => format!("{pond} is back after {} minutes", time.as_secs() / 60),
    };
    publish(&format!("alerts.{}.silent", publish::token(pond)), &text)
}

#[tawi::threshold]
fn low(crossing: Crossing) -> tawi::Result {
    let pond = crossing.reading.device()?;
    command::send(pond, "aerator", if crossing.beyond { &"on" } else { &"off" })?;
    let alert = json!({ "low": crossing.beyond, "oxygen": crossing.reading.number(), "since": crossing.since });
    publish(&format!("alerts.{}.oxygen", publish::token(pond)), &alert)
}

#[tawi::window]
fn daily(window: Window) -> tawi::Result {
    let of = &window.aggregate;
    // A probe that says "error" all day has readings, and no mean.
    let (Some(mean), Some(low)) = (of.mean, of.percentile(5.0)) else { return Ok(()) };
    // A correction has the same key, so it takes the place of what was there.
    state::set(&format!("day/{}/{}", window.start.day(), window.device()?), &Day { mean, low, readings: of.count })
}

#[tawi::schedule]
fn report(tick: Tick) -> tawi::Result {
    // By what the schedule says, not by the clock: after a night without power it is the same report.
    let day = (tick.scheduled - DAY).day();
    let ponds = state::entries::<Day>(&format!("day/{day}/")).collect::<tawi::Result<Vec<_>>>()?;
    let row = |(key, of): (String, Day)| json!({ "pond": key.rsplit('/').next(), "mean": of.mean, "low": of.low, "readings": of.readings });
    let rows: Vec<Json> = ponds.into_iter().map(row).collect();
    publish("reports.oxygen", &json!({ "day": day, "ponds": rows }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tawi::testing::Host;

    const MAY: (&str, &str) = ("2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z");

    #[test]
    fn a_probe_that_falls_silent_is_an_alert_and_another_when_it_is_back() -> tawi::Result {
        let host = Host::new();
        let silence = host.silence("pond1", "oxygen", "2026-01-01T11:30:00Z");
        host.run(silent, silence.clone())?;
        host.run(silent, silence.back_with(host.event("reading.pond1.oxygen", 7.0)))?;
        let said: Vec<Json> = host.published().iter().map(|it| it.json()).collect();
        assert_eq!(said, ["nothing from pond1 since 2026-01-01T11:30:00Z", "pond1 is back after 30 minutes"]);
        assert_eq!(host.published()[0].subject, "alerts.pond1.silent");
        Ok(())
    }

    #[test]
    fn the_aerator_runs_while_there_is_too_little() -> tawi::Result {
        let host = Host::new();
        let low_since = host.crossing(host.event("reading.pond1.oxygen", 3.2)).crossed_at("2026-01-01T11:55:00Z");
        host.run(low, low_since)?;
        host.run(low, host.crossing(host.event("reading.pond1.oxygen", 5.1)).and_back())?;
        let orders: Vec<_> = host.commands().iter().map(|it| (it.device.clone(), it.actuator.clone(), it.json())).collect();
        assert_eq!(orders, [("pond1".into(), "aerator".into(), json!("on")), ("pond1".into(), "aerator".into(), json!("off"))]);
        assert_eq!(host.published()[0].json(), json!({ "low": true, "oxygen": 3.2, "since": "2026-01-01T11:55:00Z" }));
        Ok(())
    }

    #[test]
    fn the_report_has_the_day_before_with_what_came_in_late() -> tawi::Result {
        let host = Host::new();
        let of = |values: &[f64]| values.iter().map(|it| host.reading("pond-1.a", "oxygen", it)).collect::<Vec<_>>();
        let first = host.window(MAY.0, MAY.1, of(&[6.0, 8.0])).with_percentile(5.0, 6.1);
        let corrected = host.window(MAY.0, MAY.1, of(&[6.0, 8.0, 4.0])).with_percentile(5.0, 4.2).revised(1);
        host.run(daily, first)?;
        host.run(daily, corrected)?;
        host.run(daily, host.window("2026-04-30T00:00:00Z", MAY.0, of(&[9.0])).with_percentile(5.0, 9.0))?;
        host.run(report, host.tick("2026-05-02T05:30:00Z"))?;
        let rows = json!([{ "pond": "pond-1.a", "mean": 6.0, "low": 4.2, "readings": 3 }]);
        assert_eq!(host.published()[0].json(), json!({ "day": "2026-05-01", "ponds": rows }));
        Ok(())
    }

    #[test]
    fn a_day_of_words_has_no_mean_and_a_day_without_anything_an_empty_report() -> tawi::Result {
        let host = Host::new();
        host.run(daily, host.window(MAY.0, MAY.1, [host.event("reading.pond1.oxygen", "error")]))?;
        assert!(host.state_keys().is_empty());
        host.run(report, host.tick("2026-05-02T05:30:00Z"))?;
        assert_eq!(host.published()[0].json()["ponds"], json!([]));
        Ok(())
    }
}
