//! An alert for each reading above the threshold that the operator set for its sensor.

use tawi::{Event, config, json, log, publish};

#[tawi::event]
fn watch(event: Event) -> tawi::Result {
    let reading = event.reading()?;
    // `tawi config set machine-watch threshold.memory=80`; a sensor without a threshold never alerts.
    let Some(threshold) = config::get::<f64>(&format!("threshold.{}", reading.sensor))? else { return Ok(()) };
    let Some(value) = event.number().filter(|value| *value > threshold) else { return Ok(()) };
    log::warn!("{} of {} is {value}, above {threshold}", reading.sensor, reading.device);
    publish(
        &format!("alerts.{}.{}", publish::token(reading.device), publish::token(reading.sensor)),
        &json!({ "value": value, "threshold": threshold }),
    )
}
