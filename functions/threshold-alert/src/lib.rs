//! One alert for each reading above its threshold.
//!
//! The threshold of a sensor is the setting `threshold.SENSOR`, else `threshold`; without either there are no alerts.

use tawi::{Event, config, json, log, publish};

#[tawi::event]
fn alert(event: Event) -> tawi::Result {
    let reading = event.reading()?;
    let Some(value) = event.number() else {
        // A door that says "open" is no mistake of the device: nothing to compare, nothing to retry.
        log::debug!("{} of {} is not a number", reading.sensor, reading.device);
        return Ok(());
    };
    match threshold(reading.sensor)? {
        Some(threshold) if value > threshold => {
            let subject = format!("alerts.{}.{}", publish::token(reading.device), publish::token(reading.sensor));
            let alert = json!({
                "device": reading.device,
                "sensor": reading.sensor,
                "value": value,
                "threshold": threshold,
                "measured": reading.measured,
            });
            publish(&subject, &alert)
        }
        _ => Ok(()),
    }
}

fn threshold(sensor: &str) -> tawi::Result<Option<f64>> {
    match config::get(&format!("threshold.{sensor}"))? {
        Some(threshold) => Ok(Some(threshold)),
        None => config::get("threshold"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tawi::testing::{Host, Trace};

    fn host() -> Host {
        let host = Host::new();
        host.config("threshold", "8");
        host
    }

    #[test]
    fn a_fridge_above_its_threshold_is_an_alert() -> tawi::Result {
        let host = host();
        let event = host.event("reading.fridge1.temp", 9.5).measured_at("2018-05-14T15:49:28Z");
        host.run(alert, event)?;
        let alert = &host.published()[0];
        assert_eq!(alert.subject, "alerts.fridge1.temp");
        assert_eq!(
            alert.json(),
            json!({
                "device": "fridge1", "sensor": "temp", "value": 9.5, "threshold": 8.0, "measured": "2018-05-14T15:49:28Z"
            })
        );
        Ok(())
    }

    #[test]
    fn at_the_threshold_all_is_well() -> tawi::Result {
        let host = host();
        host.run(alert, host.event("reading.fridge1.temp", 8.0))?;
        assert!(host.published().is_empty());
        Ok(())
    }

    #[test]
    fn a_sensor_may_have_a_threshold_of_its_own_and_quote_its_numbers() -> tawi::Result {
        let host = host();
        host.config("threshold.hum", "60");
        host.run(alert, host.event("reading.UNB%2ESensor12.hum", "59.80"))?;
        host.run(alert, host.event("reading.UNB%2ESensor12.hum", "61.10"))?;
        assert_eq!(host.published().len(), 1);
        assert_eq!(host.published()[0].subject, "alerts.UNB%2ESensor12.hum");
        Ok(())
    }

    #[test]
    fn a_word_is_no_alert_and_a_message_no_reading() {
        let host = host();
        assert!(host.run(alert, host.event("reading.door.state", "open")).is_ok());
        assert!(host.run(alert, host.event("alerts.fridge1.temp", 9.5)).is_err_and(|e| !e.is_retry()));
        assert!(host.published().is_empty());
    }

    #[test]
    fn a_threshold_that_is_no_number_waits_for_the_operator() {
        let host = host();
        host.config("threshold", "warm");
        assert!(host.run(alert, host.event("reading.fridge1.temp", 9.5)).is_err_and(|e| e.is_retry()));
    }

    /// Four hours of two fridges. The door of the first was left open for half an hour; the clock of the second is two hours ahead, it
    /// quotes its numbers, and for an hour it was offline.
    #[test]
    fn of_a_recorded_morning_each_warm_reading_of_the_open_fridge_is_an_alert() -> tawi::Result {
        let host = host();
        let steps = host.play(alert, &Trace::read("tests/fridges.ndjson")?)?;
        let warm: Vec<_> = steps.iter().filter(|step| !step.published.is_empty()).collect();
        assert!(warm.iter().all(|step| step.event.device() == Some("fridge1") && step.published.len() == 1));
        let alerts: Vec<_> = warm.iter().map(|step| (step.event.payload().json(), step.published[0].json()["measured"].clone())).collect();
        assert_eq!((steps.len(), alerts.len()), (100, 6));
        assert_eq!(alerts.first(), Some(&(Some("9.25"), json!("2026-03-02T09:50:02Z"))));
        assert_eq!(alerts.last(), Some(&(Some("8.39"), json!("2026-03-02T10:15:02Z"))));
        Ok(())
    }
}
