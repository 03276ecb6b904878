//! Values as a table.

use super::{super::Problem, answer::Answer, shape::DatapointShape};
use axum::response::IntoResponse;
use http::header;

const HEADER: [&str; 5] = ["device_id", "sensor_id", "value", "timestamp", "date_received"];
/// Only in a table of calibrated values: whether this one is.
const CALIBRATED: &str = "calibrated";

pub fn answer(points: &[DatapointShape<'_>], calibrated: bool) -> Answer {
    let table = table(points, calibrated).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/csv;charset=utf-8")], table).into_response())
}

fn table(points: &[DatapointShape<'_>], calibrated: bool) -> Result<Vec<u8>, csv::Error> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(HEADER.into_iter().chain(calibrated.then_some(CALIBRATED)))?;
    for point in points {
        let (value, times) = (&point.value, [point.value.timestamp.to_string(), point.value.date_received.to_string()]);
        let text = plain(value.value.get());
        let cells = [point.device_id.as_str(), point.sensor_id.as_str(), &text, &times[0], &times[1]];
        let is_calibrated = if value.calibrated { "true" } else { "false" };
        table.write_record(cells.into_iter().chain(calibrated.then_some(is_calibrated)))?;
    }
    table.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// A text as it is, everything else as its JSON.
fn plain(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        model::{Id, Micros, Value},
        server::v2::shape::ValueShape,
    };

    #[test]
    fn a_table_has_a_header_and_quotes_what_needs_them() {
        let (device, sensor) = (Id::new("pond,1").unwrap(), Id::new("t\"c").unwrap());
        let at = Micros::parse("2016-06-08T18:20:27.873Z").unwrap();
        let point = |json: &str| DatapointShape {
            device_id: &device,
            sensor_id: &sensor,
            value: ValueShape::new(&Value::json(json).unwrap(), at, at),
        };
        let points = [point("25.60"), point("\"quite\\nwarm\""), point("{\"a\":1}")];
        assert_eq!(
            String::from_utf8(table(&points, false).unwrap()).unwrap(),
            "device_id,sensor_id,value,timestamp,date_received\n\
             \"pond,1\",\"t\"\"c\",25.60,2016-06-08T18:20:27.873Z,2016-06-08T18:20:27.873Z\n\
             \"pond,1\",\"t\"\"c\",\"quite\nwarm\",2016-06-08T18:20:27.873Z,2016-06-08T18:20:27.873Z\n\
             \"pond,1\",\"t\"\"c\",\"{\"\"a\"\":1}\",2016-06-08T18:20:27.873Z,2016-06-08T18:20:27.873Z\n"
        );
        let last = String::from_utf8(table(&points[..1], true).unwrap()).unwrap();
        assert!(
            last.starts_with("device_id,sensor_id,value,timestamp,date_received,calibrated\n") && last.ends_with("Z,false\n"),
            "{last}"
        );
    }
}
