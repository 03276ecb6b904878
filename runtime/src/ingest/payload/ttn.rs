//! What The Things Stack 3 sends of an uplink, by webhook and MQTT alike. A field that is empty, zero or false is left out.

use super::{NetworkUplink, base64, body, dev_eui, object, time};
use crate::model::{
    Id, Micros, Uplink,
    payload::{BodyError, fits},
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Up<'a> {
    end_device_ids: Option<DeviceIds>,
    #[serde(default)]
    correlation_ids: Vec<String>,
    received_at: Option<String>,
    #[serde(borrow)]
    uplink_message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct DeviceIds {
    device_id: Option<String>,
    dev_eui: Option<String>,
}

#[derive(Deserialize)]
struct Message<'a> {
    f_port: Option<u64>,
    frm_payload: Option<String>,
    #[serde(borrow)]
    decoded_payload: Option<&'a RawValue>,
    /// By the network server: nearer to when it was measured than the application server's.
    received_at: Option<String>,
}

/// Of all the steps on its way, those that an uplink takes once.
const ONCE: [&str; 2] = ["as:up:", "gs:uplink:"];

/// None: the message is another than an uplink, or one with nothing in it.
pub fn uplink(bytes: &[u8], received: Micros) -> Result<Option<NetworkUplink>, BodyError> {
    let Up { end_device_ids, correlation_ids, received_at, uplink_message } = body(bytes)?;
    let Some(Message { f_port, frm_payload, decoded_payload, received_at: by_network }) = uplink_message else { return Ok(None) };
    if frm_payload.is_none() && decoded_payload.is_none() {
        return Ok(None);
    }
    let (eui, device) = device(end_device_ids)?;
    let payload = frm_payload.map_or(Ok(Vec::new()), |data| base64("uplink_message.frm_payload", &data))?;
    fits(payload.len())?;
    let wrong = |port| BodyError::field("uplink_message.f_port", format!("`{port}` is not a port: 0 to 255"));
    let port = f_port.map(|port| u8::try_from(port).map_err(|_| wrong(port))).transpose()?;
    let measured = match (by_network, received_at) {
        (Some(text), _) => Some(time("uplink_message.received_at", &text)?),
        (None, Some(text)) => Some(time("received_at", &text)?),
        (None, None) => None,
    };
    let id = ONCE.iter().find_map(|step| correlation_ids.iter().find(|id| id.starts_with(step))).cloned();
    let uplink = Uplink { device, port, payload: payload.into(), measured, received };
    Ok(Some(NetworkUplink { dev_eui: eui, id, uplink, decoded: decoded_payload.map(object::of_raw) }))
}

/// A device without a DevEUI is known by the name that it has there.
fn device(ids: Option<DeviceIds>) -> Result<(Option<String>, Id), BodyError> {
    let missing = || BodyError::missing("end_device_ids.dev_eui");
    let ids = ids.ok_or_else(missing)?;
    if let Some(eui) = ids.dev_eui {
        return dev_eui("end_device_ids.dev_eui", &eui).map(|(eui, id)| (Some(eui), id));
    }
    let name = ids.device_id.ok_or_else(missing)?;
    Ok((None, Id::new(&name).map_err(|e| BodyError::field("end_device_ids.device_id", e.to_string()))?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// As the documentation prints it, its comments and a part of its metadata left out.
    const PRINTED: &str = r#"{
        "end_device_ids": {"device_id": "dev1", "application_ids": {"application_id": "app1"}, "dev_eui": "0004A30B001C0530",
            "join_eui": "800000000000000C", "dev_addr": "00BCB929"},
        "correlation_ids": ["gs:uplink:01E0WZGSZWT07NE5TS2APTV1Z9", "as:up:01E0WZGTBGNS3JHQD6CFE6S1GV"],
        "received_at": "2020-02-12T15:15:46.014773143Z",
        "uplink_message": {"session_key_id": "AXA50", "f_cnt": 1, "f_port": 1, "frm_payload": "gkHe",
            "decoded_payload": {"temperature": 1.0, "luminosity": 0.64},
            "rx_metadata": [{"gateway_ids": {"gateway_id": "gtw1", "eui": "9C5C8E00001A05C4"}, "time": "2020-02-12T15:15:45.787Z",
                "timestamp": 2463457000, "rssi": -35, "channel_rssi": -35, "snr": 5.2, "uplink_token": "ChIKEA"}],
            "settings": {"data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 7}}, "coding_rate": "4/6", "frequency": "868300000"},
            "received_at": "2020-02-12T15:15:45.806Z", "consumed_airtime": "0.056576s"},
        "simulated": true}"#;

    #[test]
    fn the_uplink_that_the_documentation_prints_is_understood() {
        let up = uplink(PRINTED.as_bytes(), Micros(7)).unwrap().unwrap();
        assert_eq!((up.dev_eui.as_deref(), up.uplink.device.as_str()), (Some("0004a30b001c0530"), "0004a30b001c0530"));
        assert_eq!(up.id.as_deref(), Some("as:up:01E0WZGTBGNS3JHQD6CFE6S1GV"));
        assert_eq!((up.uplink.port, &up.uplink.payload[..]), (Some(1), &[0x82_u8, 0x41, 0xde][..]));
        assert_eq!(up.uplink.measured, Some(Micros::parse("2020-02-12T15:15:45.806Z").unwrap()));
        let decoded = up.decoded.unwrap().unwrap();
        assert_eq!(decoded.iter().map(|one| one.sensor.as_str()).collect::<Vec<_>>(), ["temperature", "luminosity"]);
    }

    #[test]
    fn other_messages_are_let_pass() {
        let join = r#"{"end_device_ids": {"device_id": "dev1"}, "received_at": "2020-02-17T07:49:09.935284891Z",
            "join_accept": {"session_key_id": "AXBSH1Pk6Z0G166RlH16CQ==", "received_at": "2020-02-17T07:49:09.736532315Z"}}"#;
        assert_eq!(uplink(join.as_bytes(), Micros(7)), Ok(None));
        let empty = r#"{"end_device_ids": {"device_id": "dev1"}, "uplink_message": {"f_cnt": 3}}"#;
        assert_eq!(uplink(empty.as_bytes(), Micros(7)), Ok(None), "a frame without a payload says nothing");
    }

    #[test]
    fn a_device_without_an_eui_has_its_name() {
        let up = uplink(PRINTED.replace(r#""dev_eui": "0004A30B001C0530","#, "").as_bytes(), Micros(7)).unwrap().unwrap();
        assert_eq!((up.dev_eui, up.uplink.device.as_str()), (None, "dev1"));
    }

    #[test]
    fn broken_ones_are_refused_by_their_member() {
        for (from, to, field) in [
            ("0004A30B001C0530", "0004A30B001C053", "end_device_ids.dev_eui"),
            ("gkHe", "gk-e", "uplink_message.frm_payload"),
            (r#""f_port": 1"#, r#""f_port": 1000"#, "uplink_message.f_port"),
            ("2020-02-12T15:15:45.806Z", "12:15", "uplink_message.received_at"),
            (r#""end_device_ids""#, r#""ids""#, "end_device_ids.dev_eui"),
        ] {
            let error = uplink(PRINTED.replace(from, to).as_bytes(), Micros(7)).unwrap_err();
            assert_eq!(error.field.as_deref(), Some(field), "{error}");
        }
    }
}
