//! What ChirpStack 4 sends of an uplink, by HTTP and MQTT alike: Protobuf's JSON, where a field that has its default is left out.

use super::{NetworkUplink, base64, body, dev_eui, object, time};
use crate::model::{
    Micros, Uplink,
    payload::{BodyError, fits},
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    deduplication_id: Option<String>,
    time: Option<String>,
    device_info: Option<DeviceInfo>,
    f_port: Option<u64>,
    data: Option<String>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceInfo {
    dev_eui: Option<String>,
}

/// The event that an uplink is, in the query of a request or the topic of a message.
const UP: &str = "up";

/// None: the event is another than an uplink, or one with nothing in it.
pub fn uplink(event: Option<&str>, bytes: &[u8], received: Micros) -> Result<Option<NetworkUplink>, BodyError> {
    if event.is_some_and(|event| event != UP) {
        return Ok(None);
    }
    let Event { deduplication_id, time: sent, device_info, f_port, data, object } = body(bytes)?;
    if data.is_none() && object.is_none() {
        return Ok(None);
    }
    let eui = device_info.and_then(|info| info.dev_eui).ok_or_else(|| BodyError::missing("deviceInfo.devEui"))?;
    let (eui, device) = dev_eui("deviceInfo.devEui", &eui)?;
    let payload = data.map_or(Ok(Vec::new()), |data| base64("data", &data))?;
    fits(payload.len())?;
    let port = f_port.map(|port| u8::try_from(port).map_err(|_| BodyError::field("fPort", format!("`{port}` is not a port: 0 to 255"))));
    let measured = sent.map(|sent| time("time", &sent)).transpose()?;
    let uplink = Uplink { device, port: port.transpose()?, payload: payload.into(), measured, received };
    Ok(Some(NetworkUplink { dev_eui: Some(eui), id: deduplication_id, uplink, decoded: object.map(object::of_raw) }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// As the documentation prints it.
    pub const PRINTED: &str = r#"{
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d", "time": "2022-07-18T09:34:15.775023242+00:00",
        "deviceInfo": {"tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242", "tenantName": "ChirpStack",
            "applicationId": "17c82e96-be03-4f38-aef3-f83d48582d97", "applicationName": "Test application",
            "deviceProfileId": "14855bf7-d10d-4aee-b618-ebfcb64dc7ad", "deviceProfileName": "Test device-profile",
            "deviceName": "Test device", "devEui": "0101010101010101", "tags": {"key": "value"}},
        "devAddr": "00189440", "dr": 1, "fPort": 1, "data": "qg==",
        "rxInfo": [{"gatewayId": "0016c001f153a14c", "uplinkId": 4217106255, "rssi": -36, "snr": 10.5, "context": "E3OWOQ==",
            "metadata": {"region_name": "eu868", "region_common_name": "EU868"}}],
        "txInfo": {"frequency": 867100000, "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 11, "codeRate": "CR_4_5"}}}}"#;

    const JOIN: &str = r#"{"deduplicationId": "c9dbe358-2578-4fb7-b295-66b44edc45a6", "time": "2022-07-18T09:33:28.823500726+00:00",
        "deviceInfo": {"deviceName": "Test device", "devEui": "0101010101010101"}, "devAddr": "00189440"}"#;

    #[test]
    fn the_uplink_that_the_documentation_prints_is_understood() {
        let up = uplink(Some("up"), PRINTED.as_bytes(), Micros(7)).unwrap().unwrap();
        assert_eq!(up.dev_eui.as_deref(), Some("0101010101010101"));
        assert_eq!(up.id.as_deref(), Some("3ac7e3c4-4401-4b8d-9386-a5c902f9202d"));
        assert_eq!((up.uplink.port, &up.uplink.payload[..]), (Some(1), &[0xaa_u8][..]));
        assert_eq!(up.uplink.measured, Some(Micros::parse("2022-07-18T09:34:15.775023Z").unwrap()));
        assert!(up.decoded.is_none());
    }

    #[test]
    fn what_its_own_codec_decoded_comes_along() {
        let body = PRINTED.replace(r#""data": "qg==""#, r#""data": "qg==", "object": {"temperatureSensor": {"1": 23.5}}"#);
        let up = uplink(None, body.as_bytes(), Micros(7)).unwrap().unwrap();
        assert_eq!(up.decoded.unwrap().unwrap()[0].sensor.as_str(), "temperatureSensor_1");
    }

    #[test]
    fn other_events_are_let_pass_and_broken_ones_refused_by_their_member() {
        assert_eq!(uplink(Some("join"), JOIN.as_bytes(), Micros(7)), Ok(None));
        assert_eq!(uplink(None, JOIN.as_bytes(), Micros(7)), Ok(None));
        for (from, to, field) in [
            (r#""devEui": "0101010101010101""#, r#""devEui": "01""#, "deviceInfo.devEui"),
            (r#""devEui": "0101010101010101""#, r#""eui": 1"#, "deviceInfo.devEui"),
            (r#""data": "qg==""#, r#""data": "?""#, "data"),
            (r#""fPort": 1"#, r#""fPort": 256"#, "fPort"),
            ("2022-07-18T09:34:15.775023242+00:00", "yesterday", "time"),
        ] {
            let error = uplink(None, PRINTED.replace(from, to).as_bytes(), Micros(7)).unwrap_err();
            assert_eq!(error.field.as_deref(), Some(field), "{error}");
        }
        assert!(uplink(None, b"\x0a\x24", Micros(7)).is_err());
    }
}
