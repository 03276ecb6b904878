//! What was measured, out of the history: of one sensor, or of several at once.
//!
//! By *measured* time. The cloud filters by the time of receipt, so that what was filled in later can't be found by when it was.

use super::{
    super::{AppState, Problem, auth::Asker, request::Params},
    answer::{Answer, end, json, read, short, switch, wants_csv, window},
    csv,
    devices::since,
    shape::{DatapointShape, ValueShape},
    table::{LIMIT, Looks, OFFSET, Param, Routes, Says},
};
use crate::{
    devices,
    history::{Hit, Query, Sort, Source},
    identity::{Deed, Principal},
    model::{
        Device, Id, Kind, Micros,
        calibration::Linear,
        limit::{ANSWER_BYTES_MAX, DATA_DEVICES_MAX, DATA_SENSORS_MAX, HISTORY_OFFSET_MAX},
    },
};
use axum::extract::State;
use http::HeaderMap;
use std::{collections::HashMap, sync::Arc};

pub const SORT: Param = Param("sort", "`asc`: oldest first; `dsc`, unless said: newest first", Looks::OneOf(&["asc", "dsc"]));
pub const FROM: Param = Param("date_from", "measured then or later", Looks::Time);
pub const TO: Param = Param("date_to", "measured then or earlier", Looks::Time);
pub const CALIBRATED: Param = Param("calibrated", "what the sensors' calibrations make of the values; each says so", Looks::Yes);
const DEVICES: Param = Param("device_id", "ids with commas between them", Looks::Text);
const SENSORS: Param = Param("sensor_id", "ids with commas between them", Looks::Text);

pub fn routes() -> Routes {
    Routes::of("Values").get(
        "/sensors_data",
        several,
        Says::new("What several sensors said, those that who asks may know of")
            .query(&[DEVICES, SENSORS, LIMIT, OFFSET, SORT, FROM, TO, CALIBRATED])
            .list_or_csv::<DatapointShape>(),
    )
}

/// Which values are asked for.
pub struct Wanted {
    limit: usize,
    offset: usize,
    sort: Sort,
    from: Option<Micros>,
    to: Option<Micros>,
    calibrated: bool,
}

impl Wanted {
    pub fn of(mut params: Params) -> Result<Wanted, Problem> {
        let (limit, offset) = window(&mut params)?;
        if offset > HISTORY_OFFSET_MAX {
            let why = format!(
                "at most {HISTORY_OFFSET_MAX} values are passed over; let `date_to` or `date_from` be the time of the last one seen"
            );
            return Err(Problem::bad_request(why).field("offset"));
        }
        let sort = match params.text("sort").as_deref() {
            Some("asc") => Sort::OldestFirst,
            None | Some("" | "dsc" | "desc") => Sort::NewestFirst,
            Some(other) => return Err(Problem::bad_request(format!("`sort` is `asc` or `dsc`, not `{}`", short(other))).field("sort")),
        };
        // Both ends belong to what is asked for; a history's window does not have its end.
        let (from, to) = (date(&mut params, "date_from")?, date(&mut params, "date_to")?.map(|to| Micros(to.0.saturating_add(1))));
        let calibrated = switch(&mut params, "calibrated")?;
        end(params)?;
        Ok(Wanted { limit, offset, sort, from, to, calibrated })
    }

    fn query(&self, who: &Principal, sources: Option<Vec<Source>>, sensors: Option<Vec<Id>>) -> Query {
        Query {
            from: self.from,
            to: self.to,
            limit: self.limit,
            offset: self.offset,
            sort: self.sort,
            kinds: Some(vec![Kind::Reading]),
            sources,
            sensors,
            bytes_max: ANSWER_BYTES_MAX,
            ..Query::new(who.tenant().clone(), "")
        }
    }
}

fn date(params: &mut Params, name: &'static str) -> Result<Option<Micros>, Problem> {
    let Some(text) = params.text(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    // A `+` of an offset that nobody encoded has become a space.
    let text = text.replace(' ', "+");
    Micros::parse(&text).map(Some).map_err(|error| Problem::bad_request(error.to_string()).field(name))
}

/// `GET …/values`
pub async fn of_sensor(state: &AppState, who: &Principal, device: Arc<Device>, sensor: Id, wanted: Wanted, headers: &HeaderMap) -> Answer {
    let sources = vec![Source { device: device.id.clone(), since: since(who, &device) }];
    let query = wanted.query(who, Some(sources), Some(vec![sensor]));
    let share = state.answers.share().await?;
    let hits = ask(state, query).await?;
    let mut lines = Lines::new(vec![device], wanted.calibrated);
    let answer = match wants_csv(headers) {
        true => csv::answer(&lines.all(&hits), wanted.calibrated),
        false => json(&lines.all(&hits).into_iter().map(|point| point.value).collect::<Vec<_>>()),
    };
    Ok(share.keep(answer?))
}

/// `GET /sensors_data?device_id&sensor_id&limit&offset&sort&date_from&date_to&calibrated`
async fn several(State(state): State<AppState>, Asker(who): Asker, mut params: Params, headers: HeaderMap) -> Answer {
    let named = ids(&mut params, "device_id", DATA_DEVICES_MAX)?;
    let sensors = ids(&mut params, "sensor_id", DATA_SENSORS_MAX)?;
    let wanted = Wanted::of(params)?;
    let devices = {
        let who = who.clone();
        read(&state, move |state| visible(state, &who, named)).await?
    };
    let sources = devices
        .as_ref()
        .map(|devices| devices.iter().map(|device| Source { device: device.id.clone(), since: since(&who, device) }).collect::<Vec<_>>());
    let share = state.answers.share().await?;
    let hits = ask(&state, wanted.query(&who, sources, sensors)).await?;
    let devices = match devices {
        Some(devices) => devices,
        None => hits.iter().filter_map(|hit| state.registry.device(hit.device.as_ref()?)).collect(),
    };
    let mut lines = Lines::new(devices, wanted.calibrated);
    let answer = match wants_csv(&headers) {
        true => csv::answer(&lines.all(&hits), wanted.calibrated),
        false => json(&lines.all(&hits)),
    };
    Ok(share.keep(answer?))
}

/// The devices whose values somebody may know, of those that are named; none: of all of them.
fn visible(state: &AppState, who: &Principal, named: Option<Vec<Id>>) -> Result<Option<Vec<Arc<Device>>>, Problem> {
    if let Some(named) = named {
        return Ok(Some(named.iter().filter_map(|id| state.registry.device_for(who, Deed::ViewData, id).ok()).collect()));
    }
    if since_ever(who) {
        return Ok(None);
    }
    let (devices, total) = state.registry.list(who, &devices::Query::all(), DATA_DEVICES_MAX, 0)?;
    if total > DATA_DEVICES_MAX {
        let why = format!("you may see {total} devices, more than the {DATA_DEVICES_MAX} of one question: name those that you mean");
        return Err(Problem::bad_request(why).field("device_id"));
    }
    Ok(Some(devices))
}

/// Who may know all that there is.
fn since_ever(who: &Principal) -> bool {
    use crate::identity::{Resource, ResourceKind, may};
    let (id, owned) = (who.tenant(), crate::model::Owned { owner: None, visibility: crate::model::Visibility::Private });
    may(who, Deed::ViewData, Resource { kind: ResourceKind::Device, id, owned: &owned }) && !matches!(who, Principal::Device { .. })
}

/// Ids with commas between them, the parameter as often as somebody likes.
fn ids(params: &mut Params, name: &'static str, most: usize) -> Result<Option<Vec<Id>>, Problem> {
    let (mut ids, mut is_there) = (Vec::new(), false);
    while let Some(text) = params.text(name) {
        for id in text.split(',').filter(|id| !id.is_empty()) {
            is_there = true;
            ids.push(Id::new(id).map_err(|error| Problem::bad_request(error.to_string()).field(name))?);
        }
    }
    if ids.len() > most {
        return Err(Problem::bad_request(format!("`{name}` has at most {most} ids, not {}", ids.len())).field(name));
    }
    Ok(is_there.then_some(ids))
}

async fn ask(state: &AppState, query: Query) -> Result<Vec<Hit>, Problem> {
    if query.sources.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Vec::new());
    }
    state.history.reach(&state.ledger, &query).await?;
    Ok(state.history.ask(query).await?.hits)
}

/// Hits as the API shows them, each sensor's calibration read once.
struct Lines {
    devices: HashMap<Id, Arc<Device>>,
    calibrated: bool,
    linear: HashMap<(Id, Id), Option<Linear>>,
}

impl Lines {
    fn new(devices: Vec<Arc<Device>>, calibrated: bool) -> Lines {
        Lines { devices: devices.into_iter().map(|device| (device.id.clone(), device)).collect(), calibrated, linear: HashMap::new() }
    }

    fn all<'a>(&mut self, hits: &'a [Hit]) -> Vec<DatapointShape<'a>> {
        hits.iter().filter_map(|hit| self.one(hit)).collect()
    }

    fn one<'a>(&mut self, hit: &'a Hit) -> Option<DatapointShape<'a>> {
        let (device_id, sensor_id) = (hit.device.as_ref()?, hit.sensor.as_ref()?);
        let mut value = ValueShape::new(&hit.value, hit.measured, hit.received);
        if let Some(real) = self.linear(device_id, sensor_id).and_then(|linear| linear.apply(&hit.value)) {
            value = ValueShape { calibrated: true, ..ValueShape::new(&real, hit.measured, hit.received) };
        }
        Some(DatapointShape { device_id, sensor_id, value })
    }

    fn linear(&mut self, device: &Id, sensor: &Id) -> Option<Linear> {
        if !self.calibrated {
            return None;
        }
        let devices = &self.devices;
        let of = || devices.get(device)?.sensors.iter().find(|known| known.id == *sensor)?.calib.as_deref();
        // What is stored was looked at when it came; one that an older node took and that is no line changes nothing.
        *self.linear.entry((device.clone(), sensor.clone())).or_insert_with(|| of().and_then(|calib| Linear::of(calib).ok().flatten()))
    }
}
