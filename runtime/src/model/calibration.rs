//! What a sensor says and what is meant by it: two points of a line, as the WAZIUP API has them.

use super::Value;
use serde::Deserialize;
use serde_json::Value as Json;

/// A line through two points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linear {
    min: Point,
    max: Point,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct Point {
    sensor_value: f64,
    real_value: f64,
}

#[derive(Deserialize)]
struct Calib {
    linear: Option<Line>,
}

#[derive(Deserialize)]
struct Line {
    enabled: Option<bool>,
    value_min: Point,
    value_max: Point,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    #[error(
        "a calibration is `{{\"linear\": {{\"enabled\", \"value_min\": {{\"sensor_value\", \"real_value\"}}, \"value_max\": {{…}}}}}}`: {0}"
    )]
    Shape(String),
    #[error("both points of a calibration have the same `sensor_value`: no line goes through them")]
    Vertical,
}

impl Linear {
    /// The line that a sensor's `calib` says; none: it says none, or that it is not to be used.
    pub fn of(calib: &Json) -> Result<Option<Linear>, CalibrationError> {
        if calib.is_null() {
            return Ok(None);
        }
        let calib = Calib::deserialize(calib).map_err(|error| CalibrationError::Shape(error.to_string()))?;
        let Some(Line { enabled, value_min, value_max }) = calib.linear else { return Ok(None) };
        let at = |point: Point| (point.sensor_value, point.real_value);
        let linear = Linear::through(at(value_min), at(value_max))?;
        Ok(Some(linear).filter(|_| enabled.unwrap_or(true)))
    }

    /// Through two points, each what the sensor says and what is meant.
    pub fn through(min: (f64, f64), max: (f64, f64)) -> Result<Linear, CalibrationError> {
        if min.0 == max.0 {
            return Err(CalibrationError::Vertical);
        }
        let point = |(sensor_value, real_value)| Point { sensor_value, real_value };
        Ok(Linear { min: point(min), max: point(max) })
    }

    /// What is meant by a value. None: it is no number, or none that comes out.
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let (min, max) = (self.min, self.max);
        let part = (value.as_f64()? - min.sensor_value) / (max.sensor_value - min.sensor_value);
        Value::number(min.real_value + part * (max.real_value - min.real_value))
    }

    /// What a value is multiplied with, and what is added then: nearly the same as [`Linear::apply`], without a division for each value.
    pub fn gain_and_offset(&self) -> (f64, f64) {
        let gain = (self.max.real_value - self.min.real_value) / (self.max.sensor_value - self.min.sensor_value);
        (gain, self.min.real_value - gain * self.min.sensor_value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn calib(enabled: Option<bool>) -> Json {
        let mut calib = json!({"linear": {
            "value_min": {"sensor_value": 900, "real_value": 100}, "value_max": {"sensor_value": 300, "real_value": 0}}});
        if let Some(enabled) = enabled {
            calib["linear"]["enabled"] = enabled.into();
        }
        calib
    }

    #[test]
    fn a_line_goes_through_both_points_and_beyond_them() {
        let linear = Linear::of(&calib(Some(true))).unwrap().unwrap();
        for (said, meant) in [("900", "100"), ("300", "0"), ("600", "50"), ("\"609\"", "51.5"), ("0", "-50")] {
            assert_eq!(linear.apply(&Value::json(said).unwrap()), Value::json(meant), "{said}");
        }
        let (gain, offset) = linear.gain_and_offset();
        assert!((609.0 * gain + offset - 51.5).abs() < 1e-9, "{gain} {offset}");
        for said in ["true", "\"dry\"", "{\"value\":600}", "null", "1e400"] {
            assert_eq!(Value::json(said).and_then(|said| linear.apply(&said)), None, "{said}");
        }
    }

    #[test]
    fn a_line_is_used_unless_it_says_not_to() {
        assert!(Linear::of(&calib(None)).unwrap().is_some());
        assert_eq!(Linear::of(&calib(Some(false))).unwrap(), None);
        assert_eq!(Linear::of(&json!({})).unwrap(), None);
        assert_eq!(Linear::of(&Json::Null).unwrap(), None);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let mut vertical = calib(Some(true));
        vertical["linear"]["value_max"]["sensor_value"] = 900.into();
        assert_eq!(Linear::of(&vertical), Err(CalibrationError::Vertical));
        for wrong in [json!({"linear": {"enabled": true}}), json!(7), json!({"linear": {"value_min": 1, "value_max": 2}})] {
            assert!(matches!(Linear::of(&wrong), Err(CalibrationError::Shape(_))), "{wrong}");
        }
    }
}
