//! Watches fridges: an alert for each reading above the threshold, and a status of them all.

use tawi::http::{self, Request, Response, StatusCode};
use tawi::{Event, Json, config, json, log, publish, state};

/// Runs for each reading that tawi.toml names. What it publishes and writes happens if it returns `Ok`, once, and else not at all.
#[tawi::event]
fn alert(event: Event) -> tawi::Result {
    let reading = event.reading()?;
    let Some(value) = event.number() else {
        log::warn!("{} measured {:?}, which is not a number", reading.device, event.payload());
        return Ok(());
    };
    let latest = json!({ "value": value, "measured": reading.measured });
    state::set(&format!("latest/{}", reading.device), &latest)?;

    let threshold = threshold()?;
    if value > threshold {
        log::info!("{} is at {value}, above {threshold}", reading.device);
        let alert = json!({ "device": reading.device, "value": value, "threshold": threshold, "measured": reading.measured });
        publish(&format!("alerts.{}", publish::token(reading.device)), &alert)?;
    }
    Ok(())
}

/// Answers requests below `/run/{{name}}`.
#[tawi::http]
fn status(request: Request) -> tawi::Result<Response> {
    if request.uri().path() != "/status" {
        return Ok(http::status(StatusCode::NOT_FOUND, "try /status\n"));
    }
    let fridges = state::entries::<Json>("latest/").collect::<tawi::Result<Vec<_>>>()?;
    let fridges = fridges.into_iter().map(|(key, latest)| (key["latest/".len()..].to_owned(), latest));
    http::json(&json!({ "threshold": threshold()?, "fridges": Json::Object(fridges.collect()) }))
}

fn threshold() -> tawi::Result<f64> {
    Ok(config::get("threshold")?.unwrap_or(8.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tawi::testing::Host;

    #[test]
    fn a_fridge_that_is_too_warm_is_an_alert() -> tawi::Result {
        let host = Host::new();
        host.config("threshold", "6");
        host.run(alert, host.event("reading.fridge1.temp", 5.5))?;
        host.run(alert, host.event("reading.fridge1.temp", 6.5))?;
        assert_eq!(host.published().len(), 1);
        assert_eq!(host.published()[0].subject, "alerts.fridge1");
        assert_eq!(host.published()[0].json()["value"], 6.5);
        Ok(())
    }

    #[test]
    fn the_status_knows_the_latest_reading_of_each_fridge() -> tawi::Result {
        let host = Host::new();
        host.run(alert, host.event("reading.fridge1.temp", 4.0))?;
        host.run(alert, host.event("reading.fridge1.temp", 5.0))?;
        host.run(alert, host.event("reading.fridge2.temp", 3.0))?;
        let status: Json = host.serve(status, http::get("/status"))?.into_body().json()?;
        assert_eq!(status["threshold"], 8.0);
        assert_eq!(status["fridges"]["fridge1"]["value"], 5.0);
        assert_eq!(status["fridges"]["fridge2"]["value"], 3.0);
        Ok(())
    }
}
