//! Decodes the frames of a weather station that nobody else knows.
//!
//! Port 1: temperature in hundredths of a degree (two bytes, signed), humidity in half percents. Port 2: hours of the same, newest
//! first, each with one hour between. Port 3: a heartbeat, which holds nothing.

use tawi::{Error, Result, Sample, Uplink, config, log};

const FRAME: usize = 3;
const HOUR: i64 = 3_600_000_000;

#[tawi::codec]
fn decode(uplink: Uplink) -> Result<Vec<Sample>> {
    match uplink.port {
        Some(1) => frame(&uplink.payload),
        Some(2) => series(&uplink),
        Some(3) => Ok(Vec::new()),
        port => Err(Error::reject(format!("a weather station has no port {}", port.map_or("at all".to_owned(), |port| port.to_string())))),
    }
}

fn frame(bytes: &[u8]) -> Result<Vec<Sample>> {
    let &[high, low, humidity] = bytes else {
        return Err(Error::reject(format!("a frame has {FRAME} bytes, this one has {}", bytes.len())));
    };
    let offset = config::get::<f64>("offset")?.unwrap_or(0.0);
    let temperature = f64::from(i16::from_be_bytes([high, low])) / 100.0 + offset;
    if temperature < -60.0 {
        log::warn!("{temperature} degrees: is the sensor there?");
    }
    Ok(vec![Sample::new("temperature", temperature)?, Sample::new("humidity", f64::from(humidity) / 2.0)?])
}

fn series(uplink: &Uplink) -> Result<Vec<Sample>> {
    let newest = uplink.measured.unwrap_or(uplink.received).micros();
    let mut samples = Vec::new();
    for (hours, bytes) in (0..).zip(uplink.payload.chunks(FRAME)) {
        let measured = tawi::Timestamp::from_micros(newest - hours * HOUR);
        samples.extend(frame(bytes)?.into_iter().map(|sample| sample.at(measured)));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tawi::testing::Host;

    #[test]
    fn a_frame_is_a_temperature_and_a_humidity() {
        let host = Host::new();
        let samples = host.decode(decode, Uplink::new("d1", [0xff, 0x38, 121]).on_port(1)).unwrap_or_default();
        assert_eq!(samples.iter().map(|sample| sample.value.number()).collect::<Vec<_>>(), [Some(-2.0), Some(60.5)]);
        host.config("offset", "0.5");
        let samples = host.decode(decode, Uplink::new("d1", [0xff, 0x38, 121]).on_port(1)).unwrap_or_default();
        assert_eq!(samples[0].value.number(), Some(-1.5));
    }

    #[test]
    fn a_series_goes_back_in_time() {
        let host = Host::new();
        let uplink = Uplink::new("d1", [0, 100, 2, 0, 200, 4]).on_port(2);
        let received = uplink.received.micros();
        let samples = host.decode(decode, uplink).unwrap_or_default();
        let times: Vec<_> = samples.iter().filter_map(|sample| sample.measured).map(|time| received - time.micros()).collect();
        assert_eq!(times, [0, 0, HOUR, HOUR]);
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        let host = Host::new();
        for uplink in [Uplink::new("d1", [1]).on_port(1), Uplink::new("d1", [1, 2, 3]), Uplink::new("d1", [1, 2, 3, 4]).on_port(2)] {
            assert!(host.decode(decode, uplink).is_err());
        }
    }
}
