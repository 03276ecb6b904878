//! The words that devices share: kinds, quantities, units.

use super::{
    answer::{Answer, json},
    table::{Routes, Says},
};
use crate::model::ontology::{ACTUATOR_KINDS, QUANTITY_KINDS, SENSOR_KINDS, UNITS};
use serde::Serialize;
use utoipa::ToSchema;

pub fn routes() -> Routes {
    Routes::of("Ontologies")
        .get("/ontologies/sensor_kinds", sensor_kinds, Says::new("Things that measure").list::<SensorKind>())
        .get("/ontologies/actuator_kinds", actuator_kinds, Says::new("Things that act").list::<ActuatorKind>())
        .get("/ontologies/quantity_kinds", quantity_kinds, Says::new("What can be measured").list::<QuantityKind>())
        .get("/ontologies/units", units, Says::new("In what it is measured").list::<Unit>())
}

#[derive(Serialize, ToSchema)]
struct SensorKind {
    id: &'static str,
    label: &'static str,
    quantity_kinds: Vec<&'static str>,
}

#[derive(Serialize, ToSchema)]
struct ActuatorKind {
    id: &'static str,
    label: &'static str,
    value_type: &'static str,
}

#[derive(Serialize, ToSchema)]
struct QuantityKind {
    id: &'static str,
    label: &'static str,
    units: Vec<&'static str>,
}

#[derive(Serialize, ToSchema)]
struct Unit {
    id: &'static str,
    /// As it stands behind a number.
    label: &'static str,
    /// Its code in UCUM.
    ucum: &'static str,
}

async fn sensor_kinds() -> Answer {
    let all = SENSOR_KINDS.iter().map(|kind| SensorKind { id: kind.id, label: kind.label, quantity_kinds: kind.quantity_kinds.to_vec() });
    json(&all.collect::<Vec<_>>())
}

async fn actuator_kinds() -> Answer {
    let all = ACTUATOR_KINDS.iter().map(|kind| ActuatorKind { id: kind.id, label: kind.label, value_type: kind.value_type });
    json(&all.collect::<Vec<_>>())
}

async fn quantity_kinds() -> Answer {
    let all = QUANTITY_KINDS.iter().map(|kind| QuantityKind { id: kind.id, label: kind.label, units: kind.units.to_vec() });
    json(&all.collect::<Vec<_>>())
}

async fn units() -> Answer {
    json(&UNITS.iter().map(|unit| Unit { id: unit.id, label: unit.label, ucum: unit.ucum }).collect::<Vec<_>>())
}
