//! The average of each sensor and day, by the time it was *measured*, in UTC, however late it comes in.

use serde::{Deserialize, Serialize};
use tawi::http::{Method, Request, Response, StatusCode};
use tawi::{Event, http, json, log, state};

/// Under `day/DEVICE/SENSOR/2018-05-14`.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Day {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Day {
    fn with(day: Option<Day>, value: f64) -> Day {
        let Some(day) = day else { return Day { count: 1, sum: value, min: value, max: value } };
        Day { count: day.count + 1, sum: day.sum + value, min: day.min.min(value), max: day.max.max(value) }
    }
}

#[tawi::event]
fn count(event: Event) -> tawi::Result {
    let reading = event.reading()?;
    let Some(value) = event.number() else {
        log::debug!("{} of {} is not a number", reading.sensor, reading.device);
        return Ok(());
    };
    // No `/` can stand in an id, so that the key can be taken apart again.
    let key = format!("day/{}/{}/{}", reading.device, reading.sensor, reading.measured.day());
    // Each reading counts once, whatever happens: this write and the reading's place in the log are committed as one.
    state::set(&key, &Day::with(state::get(&key)?, value))
}

/// All days as JSON, those of one device with `?device=fridge1`.
#[tawi::http]
fn averages(request: Request) -> tawi::Result<Response> {
    if request.method() != Method::GET {
        return Ok(http::status(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"));
    }
    let prefix = match http::query(request.uri(), "device") {
        Some(device) => format!("day/{device}/"),
        None => "day/".to_owned(),
    };
    let mut days = Vec::new();
    for entry in state::entries::<Day>(&prefix) {
        let (key, day) = entry?;
        let [_, device, sensor, date] = key.split('/').collect::<Vec<_>>()[..] else { continue };
        let mean = day.sum / day.count as f64;
        days.push(json!({
            "device": device, "sensor": sensor, "day": date, "mean": mean,
            "count": day.count, "sum": day.sum, "min": day.min, "max": day.max,
        }));
    }
    http::json(&days)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tawi::testing::Host;

    #[test]
    fn a_day_is_the_day_of_measuring_in_utc() -> tawi::Result {
        let host = Host::new();
        for (measured, value) in [
            ("2018-05-14T23:59:59.999Z", json!(4)),
            ("2018-05-14T12:00:00Z", json!("6.0")),
            ("2018-05-14T12:00:00Z", json!(8.0)),
            ("2018-05-15T01:00:00+02:00", json!(10)),
            ("2018-05-15T00:00:00Z", json!(1.5)),
        ] {
            host.run(count, host.event("reading.pond.temp", value).measured_at(measured))?;
        }
        assert_eq!(host.state("day/pond/temp/2018-05-14"), Some(Day { count: 4, sum: 28.0, min: 4.0, max: 10.0 }));
        assert_eq!(host.state("day/pond/temp/2018-05-15"), Some(Day { count: 1, sum: 1.5, min: 1.5, max: 1.5 }));
        Ok(())
    }

    #[test]
    fn what_is_no_number_counts_nowhere() -> tawi::Result {
        let host = Host::new();
        host.run(count, host.event("reading.door.state", "open"))?;
        assert!(host.state_keys().is_empty());
        Ok(())
    }

    #[test]
    fn averages_of_one_device_or_all() -> tawi::Result {
        let host = Host::new();
        for device in ["UNB.Sensor12", "pond"] {
            host.run(count, host.reading(device, "temp", 4).measured_at("2018-05-14T12:00:00Z"))?;
            host.run(count, host.reading(device, "temp", 6).measured_at("2018-05-14T12:00:00Z"))?;
        }
        let get = |path: &str| host.serve(averages, http::get(path))?.into_body().json::<Vec<tawi::Json>>();
        assert_eq!(get("/averages")?.len(), 2);
        assert_eq!(
            get("/averages?device=UNB.Sensor12")?,
            [json!({
                "device": "UNB.Sensor12", "sensor": "temp", "day": "2018-05-14", "mean": 5.0,
                "count": 2, "sum": 10.0, "min": 4.0, "max": 6.0
            })]
        );
        Ok(())
    }
}
