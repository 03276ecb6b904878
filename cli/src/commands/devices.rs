//! Devices, and a value sent by hand.

use super::{Context, ask, import, text};
use crate::{
    args::{AddDevice, Devices},
    client::{path, segment},
    failure::{Done, Failure},
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

#[derive(Deserialize)]
struct Claimed {
    device: String,
}

pub fn run(context: &Context, command: Devices) -> Done {
    let client = context.client()?;
    match command {
        Devices::Add(device) => add(context, device),
        Devices::Import(what) => import::run(context, &what),
        Devices::Claim { code } => claim(context, code),
        Devices::Remove { device } => {
            client.tell("DELETE", &format!("/api/v2/devices/{}", segment(&device)), None)?;
            eprintln!("`{device}` is forgotten");
            Ok(())
        }
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

fn add(context: &Context, add: AddDevice) -> Done {
    let client = context.client()?;
    let place = format!("/api/v2/devices/{}", segment(&add.device));
    let is_there = add.claim && client.get::<Value>(&place).is_ok();
    if !is_there {
        client.tell("POST", "/api/v2/devices", Some(&document(&add)?))?;
        eprintln!("`{}` is registered", add.device);
    }
    if !add.claim {
        return Ok(());
    }
    let claim: Value = client.ask("POST", &format!("{place}/claim"), None)?;
    eprintln!("who shows this code is its owner then: `tawi devices claim CODE`");
    Ok(out::line(claim["code"].as_str().unwrap_or_default())?)
}

/// The device of a code is the user's now. A token is nobody, so nothing can be its own.
fn claim(context: &Context, code: Option<String>) -> Done {
    let client = context.client()?;
    let code = code.map_or_else(|| ask("code: "), Ok)?;
    let claimed = client.ask("POST", "/api/v2/claims", Some(&json!({ "code": code.trim() }))).map_err(|failure| match failure.status {
        Some(403) => failure.hint(format!("`tawi login {} --user NAME` logs in as one", client.login.url)),
        _ => failure,
    })?;
    context.show(claimed, |claimed: Claimed| Ok(out::line(&format!("`{}` is yours", out::clean(&claimed.device)))?))
}

/// A device as the API takes it.
fn document(add: &AddDevice) -> Result<Value, Failure> {
    let sensor = |text: &String| {
        let mut parts = text.split(':').filter(|part| !part.is_empty());
        let names = ["id", "sensor_kind", "quantity_kind", "unit"];
        let known = names.into_iter().zip(parts.by_ref()).map(|(name, part)| (name.to_owned(), Value::from(part)));
        Value::Object(known.collect())
    };
    let mut device = json!({
        "id": add.device,
        "sensors": add.sensors.iter().map(sensor).collect::<Vec<_>>(),
        "actuators": add.actuators.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>(),
        "visibility": if add.private { "private" } else { "public" },
    });
    if let Some(name) = &add.name {
        device["name"] = name.as_str().into();
    }
    if !add.tags.is_empty() {
        device["meta"] = json!({ "tags": add.tags });
    }
    if let Some(text) = &add.location {
        let place = text.split_once(',').and_then(|(lat, lon)| Some((lat.trim().parse::<f64>().ok()?, lon.trim().parse::<f64>().ok()?)));
        let Some((latitude, longitude)) = place else {
            let message = format!("`{text}` is no place");
            return Err(Failure::new(message).hint("write it as `LATITUDE,LONGITUDE`, as in `5.36,-4.0083`"));
        };
        device["location"] = json!({ "latitude": latitude, "longitude": longitude });
    }
    Ok(device)
}

#[derive(Deserialize)]
struct Fits {
    device: String,
    sensor: String,
}

pub fn sensors(context: &Context, select: &str, limit: u32) -> Done {
    let query = [("select", Some(select.to_owned())), ("limit", Some(limit.to_string()))];
    context.show(context.client()?.get(&path("/api/v1/sensors", &query))?, |found: Vec<Fits>| {
        let mut table = Table::new(["DEVICE", "SENSOR"]);
        found.into_iter().for_each(|Fits { device, sensor }| table.row([device, sensor]));
        Ok(table.print("no sensor fits")?)
    })
}

#[derive(Deserialize)]
struct Told {
    id: String,
    actuator_id: String,
    value: Value,
    state: String,
    date_given: String,
    date_changed: String,
}

/// Gives a command, or shows those that were given, the newest first.
pub fn command(context: &Context, device: &str, give: Option<(String, String)>) -> Done {
    let client = context.client()?;
    let place = format!("/api/v2/devices/{}", segment(device));
    let given = give.is_some();
    if let Some((actuator, value)) = give {
        let value: Value = serde_json::from_str(&value).unwrap_or_else(|_| Value::from(value.as_str()));
        client.tell("PUT", &format!("{place}/actuators/{}/value", segment(&actuator)), Some(&value))?;
    }
    let query = [("limit", Some(if given { "1" } else { "20" }.to_owned()))];
    context.show(client.get(&path(&format!("{place}/commands"), &query))?, |told: Vec<Told>| {
        let mut table = Table::new(["ACTUATOR", "VALUE", "STATE", "SINCE", "GIVEN", "ID"]);
        for Told { id, actuator_id, value, state, date_given, date_changed } in told {
            table.row([actuator_id, value.to_string(), state, when::short(&date_changed), when::short(&date_given), id]);
        }
        Ok(table.print("it was told nothing")?)
    })
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
