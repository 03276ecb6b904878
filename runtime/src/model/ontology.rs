//! Kinds of things that measure and act, what is measured, and in what: words that devices of different makers share.
//!
//! Ids are those of the WAZIUP cloud, which has them of the M3-lite taxonomy, as far as it has the thing; codes of units are those of UCUM. Nobody is
//! held to these words: a kind or a unit may be any text.

/// Something that measures, and what it can measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SensorKind {
    pub id: &'static str,
    pub label: &'static str,
    pub quantity_kinds: &'static [&'static str],
}

/// Something that acts, and what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActuatorKind {
    pub id: &'static str,
    pub label: &'static str,
    pub value_type: &'static str,
}

/// What can be measured, and in which units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantityKind {
    pub id: &'static str,
    pub label: &'static str,
    pub units: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    pub id: &'static str,
    /// As it stands behind a number.
    pub label: &'static str,
    /// <https://ucum.org>, case sensitive.
    pub ucum: &'static str,
}

pub fn unit(id: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| unit.id == id)
}

const fn sensor(id: &'static str, label: &'static str, quantity_kinds: &'static [&'static str]) -> SensorKind {
    SensorKind { id, label, quantity_kinds }
}

const fn actuator(id: &'static str, label: &'static str, value_type: &'static str) -> ActuatorKind {
    ActuatorKind { id, label, value_type }
}

const fn quantity(id: &'static str, label: &'static str, units: &'static [&'static str]) -> QuantityKind {
    QuantityKind { id, label, units }
}

const fn named(id: &'static str, label: &'static str, ucum: &'static str) -> Unit {
    Unit { id, label, ucum }
}

pub const SENSOR_KINDS: &[SensorKind] = &[
    sensor("Accelerometer", "Accelerometer", &["Acceleration"]),
    sensor("AirThermometer", "Air thermometer", &["AirTemperature"]),
    sensor("Anemometer", "Anemometer", &["WindSpeed"]),
    sensor("AtmosphericPressureSensor", "Atmospheric pressure sensor", &["AtmosphericPressure"]),
    sensor("BatterySensor", "Battery sensor", &["BatteryLevel", "Voltage"]),
    sensor("CO2Sensor", "CO2 sensor", &["CO2"]),
    sensor("ConductivitySensor", "Conductivity sensor", &["ElectricalConductivity", "Salinity"]),
    sensor("Counter", "Counter", &["Count"]),
    sensor("CurrentSensor", "Current sensor", &["ElectricCurrent"]),
    sensor("DissolvedOxygenSensor", "Dissolved oxygen sensor", &["DissolvedOxygen", "OxygenSaturation"]),
    sensor("DistanceSensor", "Distance sensor", &["Distance"]),
    sensor("DoorStateDetector", "Door state detector", &["DoorState"]),
    sensor("EnergyMeter", "Energy meter", &["Energy", "Power"]),
    sensor("FlowMeter", "Flow meter", &["FlowRate", "Volume"]),
    sensor("GPSSensor", "GPS receiver", &["Location", "Speed", "Altitude"]),
    sensor("Gyroscope", "Gyroscope", &["AngularSpeed"]),
    sensor("HumanPresenceDetector", "Presence detector", &["Presence"]),
    sensor("HumiditySensor", "Humidity sensor", &["AirHumidity"]),
    sensor("LeafWetnessSensor", "Leaf wetness sensor", &["LeafWetness"]),
    sensor("LevelSensor", "Level sensor", &["WaterLevel", "FillLevel"]),
    sensor("LightSensor", "Light sensor", &["Illuminance"]),
    sensor("LoadCell", "Load cell", &["Weight"]),
    sensor("MotionSensor", "Motion sensor", &["Motion"]),
    sensor("ParticleSensor", "Particle sensor", &["PM1", "PM25", "PM10"]),
    sensor("PHSensor", "pH sensor", &["PH"]),
    sensor("PrecipitationSensor", "Rain gauge", &["Precipitation", "RainfallRate"]),
    sensor("PressureSensor", "Pressure sensor", &["Pressure"]),
    sensor("RedoxSensor", "Redox sensor", &["RedoxPotential"]),
    sensor("SmokeDetector", "Smoke detector", &["Smoke"]),
    sensor("SoilMoistureSensor", "Soil moisture sensor", &["SoilMoisture", "SoilWaterTension"]),
    sensor("SoilThermometer", "Soil thermometer", &["SoilTemperature"]),
    sensor("SolarRadiationSensor", "Solar radiation sensor", &["SolarRadiation"]),
    sensor("SoundSensor", "Sound sensor", &["SoundLevel"]),
    sensor("Thermometer", "Thermometer", &["AirTemperature", "WaterTemperature", "SoilTemperature", "Temperature"]),
    sensor("TurbiditySensor", "Turbidity sensor", &["Turbidity"]),
    sensor("UVSensor", "UV sensor", &["UVIndex"]),
    sensor("VOCSensor", "VOC sensor", &["VOC"]),
    sensor("VoltageSensor", "Voltage sensor", &["Voltage"]),
    sensor("WaterThermometer", "Water thermometer", &["WaterTemperature"]),
    sensor("WindDirectionSensor", "Wind vane", &["WindDirection"]),
];

pub const ACTUATOR_KINDS: &[ActuatorKind] = &[
    actuator("Buzzer", "Buzzer", "bool"),
    actuator("Dimmer", "Dimmer", "number"),
    actuator("Display", "Display", "string"),
    actuator("Fan", "Fan", "number"),
    actuator("Heater", "Heater", "bool"),
    actuator("Lamp", "Lamp", "bool"),
    actuator("Led", "LED", "bool"),
    actuator("Lock", "Lock", "bool"),
    actuator("Motor", "Motor", "number"),
    actuator("Pump", "Pump", "bool"),
    actuator("Relay", "Relay", "bool"),
    actuator("Servo", "Servo", "number"),
    actuator("Siren", "Siren", "bool"),
    actuator("Switch", "Switch", "bool"),
    actuator("Valve", "Valve", "bool"),
];

pub const QUANTITY_KINDS: &[QuantityKind] = &[
    quantity("Acceleration", "Acceleration", &["MetrePerSecondSquared"]),
    quantity("AirHumidity", "Relative humidity of the air", &["Percent"]),
    quantity("AirTemperature", "Air temperature", TEMPERATURES),
    quantity("Altitude", "Altitude", &["Metre"]),
    quantity("AngularSpeed", "Angular speed", &["DegreePerSecond"]),
    quantity("AtmosphericPressure", "Atmospheric pressure", &["Hectopascal", "Pascal", "Millibar"]),
    quantity("BatteryLevel", "Battery level", &["Percent", "Volt"]),
    quantity("CO2", "CO2 concentration", &["PartsPerMillion"]),
    quantity("Count", "Count", &["One"]),
    quantity("DissolvedOxygen", "Dissolved oxygen", &["MilligramPerLitre"]),
    quantity("Distance", "Distance", &["Metre", "Centimetre", "Millimetre"]),
    quantity("DoorState", "Door open or closed", &[]),
    quantity("ElectricalConductivity", "Electrical conductivity", &["MicrosiemensPerCentimetre", "MillisiemensPerCentimetre"]),
    quantity("ElectricCurrent", "Electric current", &["Ampere", "Milliampere"]),
    quantity("Energy", "Energy", &["KilowattHour", "WattHour", "Joule"]),
    quantity("FillLevel", "Fill level", &["Percent"]),
    quantity("FlowRate", "Flow", &["LitrePerMinute", "CubicMetrePerHour"]),
    quantity("Illuminance", "Illuminance", &["Lux"]),
    quantity("LeafWetness", "Leaf wetness", &["Percent"]),
    quantity("Location", "Location", &["Degree"]),
    quantity("Motion", "Motion", &[]),
    quantity("OxygenSaturation", "Oxygen saturation", &["Percent"]),
    quantity("PH", "pH", &["PHUnit"]),
    quantity("PM1", "Fine dust up to 1 µm", &["MicrogramPerCubicMetre"]),
    quantity("PM10", "Fine dust up to 10 µm", &["MicrogramPerCubicMetre"]),
    quantity("PM25", "Fine dust up to 2.5 µm", &["MicrogramPerCubicMetre"]),
    quantity("Power", "Power", &["Watt", "Kilowatt"]),
    quantity("Precipitation", "Precipitation", &["Millimetre"]),
    quantity("Presence", "Presence", &[]),
    quantity("Pressure", "Pressure", &["Pascal", "Kilopascal", "Bar"]),
    quantity("RainfallRate", "Rain", &["MillimetrePerHour"]),
    quantity("RedoxPotential", "Redox potential", &["Millivolt"]),
    quantity("Salinity", "Salinity", &["GramPerLitre"]),
    quantity("Smoke", "Smoke", &[]),
    quantity("SoilMoisture", "Soil moisture", &["Percent"]),
    quantity("SoilTemperature", "Soil temperature", TEMPERATURES),
    quantity("SoilWaterTension", "Soil water tension", &["Centibar", "Kilopascal"]),
    quantity("SolarRadiation", "Solar radiation", &["WattPerSquareMetre"]),
    quantity("SoundLevel", "Sound level", &["Decibel"]),
    quantity("Speed", "Speed", &["MetrePerSecond", "KilometrePerHour"]),
    quantity("Temperature", "Temperature", TEMPERATURES),
    quantity("Turbidity", "Turbidity", &["NephelometricTurbidityUnit"]),
    quantity("UVIndex", "UV index", &["One"]),
    quantity("VOC", "Volatile organic compounds", &["PartsPerBillion"]),
    quantity("Voltage", "Voltage", &["Volt", "Millivolt"]),
    quantity("Volume", "Volume", &["Litre", "CubicMetre"]),
    quantity("WaterLevel", "Water level", &["Metre", "Centimetre", "Millimetre"]),
    quantity("WaterTemperature", "Water temperature", TEMPERATURES),
    quantity("Weight", "Weight", &["Kilogram", "Gram"]),
    quantity("WindDirection", "Wind direction", &["Degree"]),
    quantity("WindSpeed", "Wind speed", &["MetrePerSecond", "KilometrePerHour"]),
];

const TEMPERATURES: &[&str] = &["DegreeCelsius", "DegreeFahrenheit", "Kelvin"];

pub const UNITS: &[Unit] = &[
    named("Ampere", "A", "A"),
    named("Bar", "bar", "bar"),
    named("Centibar", "cbar", "cbar"),
    named("Centimetre", "cm", "cm"),
    named("CubicMetre", "m³", "m3"),
    named("CubicMetrePerHour", "m³/h", "m3/h"),
    named("Decibel", "dB", "dB"),
    named("Degree", "°", "deg"),
    named("DegreeCelsius", "°C", "Cel"),
    named("DegreeFahrenheit", "°F", "[degF]"),
    named("DegreePerSecond", "°/s", "deg/s"),
    named("Gram", "g", "g"),
    named("GramPerLitre", "g/L", "g/L"),
    named("Hectopascal", "hPa", "hPa"),
    named("Joule", "J", "J"),
    named("Kelvin", "K", "K"),
    named("Kilogram", "kg", "kg"),
    named("KilometrePerHour", "km/h", "km/h"),
    named("Kilopascal", "kPa", "kPa"),
    named("Kilowatt", "kW", "kW"),
    named("KilowattHour", "kWh", "kW.h"),
    named("Litre", "L", "L"),
    named("LitrePerMinute", "L/min", "L/min"),
    named("Lux", "lx", "lx"),
    named("Metre", "m", "m"),
    named("MetrePerSecond", "m/s", "m/s"),
    named("MetrePerSecondSquared", "m/s²", "m/s2"),
    named("MicrogramPerCubicMetre", "µg/m³", "ug/m3"),
    named("MicrosiemensPerCentimetre", "µS/cm", "uS/cm"),
    named("Milliampere", "mA", "mA"),
    named("Millibar", "mbar", "mbar"),
    named("MilligramPerLitre", "mg/L", "mg/L"),
    named("Millimetre", "mm", "mm"),
    named("MillimetrePerHour", "mm/h", "mm/h"),
    named("MillisiemensPerCentimetre", "mS/cm", "mS/cm"),
    named("Millivolt", "mV", "mV"),
    named("NephelometricTurbidityUnit", "NTU", "{NTU}"),
    named("One", "", "1"),
    named("PHUnit", "pH", "[pH]"),
    named("PartsPerBillion", "ppb", "[ppb]"),
    named("PartsPerMillion", "ppm", "[ppm]"),
    named("Pascal", "Pa", "Pa"),
    named("Percent", "%", "%"),
    named("Volt", "V", "V"),
    named("Watt", "W", "W"),
    named("WattHour", "Wh", "W.h"),
    named("WattPerSquareMetre", "W/m²", "W/m2"),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Id;
    use std::collections::BTreeSet;

    fn ids<'a>(all: impl Iterator<Item = &'a str> + Clone) -> BTreeSet<&'a str> {
        let set: BTreeSet<_> = all.clone().collect();
        assert_eq!(set.len(), all.count(), "one is there twice");
        assert!(set.iter().all(|id| Id::new(id).is_ok()));
        set
    }

    #[test]
    fn every_word_that_another_names_is_there_and_every_unit_and_quantity_is_named() {
        let units = ids(UNITS.iter().map(|unit| unit.id));
        let quantities = ids(QUANTITY_KINDS.iter().map(|kind| kind.id));
        ids(SENSOR_KINDS.iter().map(|kind| kind.id));
        ids(ACTUATOR_KINDS.iter().map(|kind| kind.id));
        let named_units: BTreeSet<_> = QUANTITY_KINDS.iter().flat_map(|kind| kind.units).copied().collect();
        let measured: BTreeSet<_> = SENSOR_KINDS.iter().flat_map(|kind| kind.quantity_kinds).copied().collect();
        assert_eq!(units, named_units);
        assert_eq!(quantities, measured);
        assert_eq!(UNITS.iter().map(|unit| unit.ucum).collect::<BTreeSet<_>>().len(), UNITS.len());
        assert_eq!(unit("DegreeCelsius").unwrap().ucum, "Cel");
    }
}
