//! Devices, and a value sent by hand.

use super::{Context, text};
use crate::{
    args::Devices,
    client::{path, segment},
    failure::Done,
    out::{self, Table},
    when,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tawi_runtime::model::Micros;

#[derive(Deserialize)]
struct Device {
    id: String,
    #[serde(default)]
    sensors: Vec<Sensor>,
}

#[derive(Deserialize)]
struct Sensor {
    id: String,
    value: Option<Current>,
}

#[derive(Deserialize)]
struct Current {
    value: Value,
    timestamp: String,
    date_received: Option<String>,
}

pub fn run(context: &Context, command: Devices) -> Done {
    let client = context.client()?;
    match command {
        Devices::List { limit, offset } => {
            let query = [("limit", Some(limit.to_string())), ("offset", Some(offset.to_string()))];
            context.show(client.get(&path("/api/v2/devices", &query))?, |devices: Vec<Device>| {
                let mut table = Table::new(["DEVICE", "LAST SEEN", "SENSORS"]);
                for device in devices {
                    let sensors: Vec<&str> = device.sensors.iter().map(|s| s.id.as_str()).collect();
                    let received = device.sensors.iter().filter_map(|s| s.value.as_ref()?.date_received.as_deref()).max();
                    let seen = received.map(when::short).unwrap_or_default();
                    table.row([device.id.clone(), seen, sensors.join(", ")]);
                }
                Ok(table.print("no devices yet: they register themselves with their first reading")?)
            })
        }
        Devices::Show { device } => {
            let answer = client.get(&format!("/api/v2/devices/{}", segment(&device)))?;
            context.show(answer, |device: Device| {
                let mut table = Table::new(["SENSOR", "VALUE", "MEASURED", "RECEIVED"]);
                for sensor in device.sensors {
                    let Some(now) = sensor.value else {
                        table.row([sensor.id, String::new(), String::new(), String::new()]);
                        continue;
                    };
                    let received = text(now.date_received.as_deref().map(when::short).as_deref());
                    table.row([sensor.id, now.value.to_string(), when::short(&now.timestamp), received]);
                }
                Ok(table.print("no sensors")?)
            })
        }
    }
}

pub fn send(context: &Context, device: &str, sensor: &str, value: &str, at: Option<Micros>) -> Done {
    let value: Value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    let mut body = json!({ "value": value });
    if let Some(at) = at {
        body["timestamp"] = Value::from(at.to_string());
    }
    let path = format!("/api/v2/devices/{}/sensors/{}/value", segment(device), segment(sensor));
    context.client()?.tell("POST", &path, Some(&body))?;
    if context.global.json { Ok(()) } else { Ok(out::line("stored")?) }
}
