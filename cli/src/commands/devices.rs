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
    let document = document(&add)?;
    // Of one that was only found, what is said here is a registration; where one is registered already the node says so.
    let is_there = add.claim && !says_more(&add) && client.get::<Value>(&place).is_ok();
    if !is_there {
        client.tell("POST", "/api/v2/devices", Some(&document))?;
        eprintln!("`{}` is registered", add.device);
    }
    if !add.claim {
        return Ok(());
    }
    let claim: Value = client.ask("POST", &format!("{place}/claim"), None)?;
    eprintln!("who shows this code is its owner then: `tawi devices claim CODE`");
    Ok(out::line(claim["code"].as_str().unwrap_or_default())?)
}

/// Whether there is more to store than an id.
fn says_more(add: &AddDevice) -> bool {
    let lists = [&add.sensors, &add.actuators, &add.tags];
    add.private || add.name.is_some() || add.location.is_some() || lists.iter().any(|list| !list.is_empty())
}

/// `ID:KIND:QUANTITY:UNIT`, each at its place: what is not known is left empty.
fn sensor(text: &String) -> Done<Value> {
    const NAMES: [&str; 4] = ["id", "sensor_kind", "quantity_kind", "unit"];
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > NAMES.len() || parts.first().is_none_or(|id| id.is_empty()) {
        let hint =
            "write it as `ID:KIND:QUANTITY:UNIT`, as in `t:Thermometer:AirTemperature:DegreeCelsius` or `t:Thermometer::DegreeCelsius`";
        return Err(Failure::new(format!("`{text}` is no sensor")).hint(hint));
    }
    let known = NAMES.into_iter().zip(parts).filter(|(_, part)| !part.is_empty());
    Ok(Value::Object(known.map(|(name, part)| (name.to_owned(), Value::from(part))).collect()))
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
fn document(add: &AddDevice) -> Done<Value> {
    let mut device = json!({
        "id": add.device,
        "sensors": add.sensors.iter().map(sensor).collect::<Done<Vec<_>>>()?,
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

/// The id of a command, in the answer to who gives it.
const COMMAND: &str = "tawi-command";

/// Gives a command, or shows those that were given, the newest first.
pub fn command(context: &Context, device: &str, give: Option<(String, String)>) -> Done {
    let place = format!("/api/v2/devices/{}", segment(device));
    match give {
        Some((actuator, value)) => give_one(context, &place, &actuator, &value),
        None => show_commands(context, context.client()?.get(&path(&format!("{place}/commands"), &[("limit", Some("20".to_owned()))]))?),
    }
}

/// It is given, whatever may be known of it afterwards: a failure here would have it given twice.
fn give_one(context: &Context, place: &str, actuator: &str, value: &str) -> Done {
    let client = context.client()?;
    let value: Value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    let to = format!("{place}/actuators/{}/value", segment(actuator));
    let answer = client.call("PUT", &to, &[("content-type", "application/json")], value.to_string().as_bytes())?;
    let id = answer.headers().get(COMMAND).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let newest: Done<Vec<Value>> = client.get(&path(&format!("{place}/commands"), &[("limit", Some("100".to_owned()))]));
    match newest.map(|all| all.into_iter().find(|one| one["id"] == id)) {
        Ok(Some(one)) => show_commands(context, json!([one])),
        Ok(None) => given(context, id, actuator, &value, "its state is not known yet"),
        Err(why) => given(context, id, actuator, &value, &format!("what becomes of it is not shown to who asks: {why}")),
    }
}

fn given(context: &Context, id: &str, actuator: &str, value: &Value, why: &str) -> Done {
    if context.global.json {
        return Ok(out::json(&json!([{ "id": id, "actuator_id": actuator, "value": value }]))?);
    }
    eprintln!("the command is given; {}", out::clean(why));
    Ok(out::line(id)?)
}

fn show_commands(context: &Context, told: Value) -> Done {
    context.show(told, |told: Vec<Told>| {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_sensor_stand_at_their_places() {
        let of = |text: &str| sensor(&text.to_owned());
        assert_eq!(of("t").unwrap(), json!({ "id": "t" }));
        assert_eq!(
            of("t:Thermometer::DegreeCelsius").unwrap(),
            json!({ "id": "t", "sensor_kind": "Thermometer", "unit": "DegreeCelsius" })
        );
        assert_eq!(of("t::AirTemperature").unwrap(), json!({ "id": "t", "quantity_kind": "AirTemperature" }));
        for wrong in ["", ":Thermometer", "t:a:b:c:d", "t:a:b:c:"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
