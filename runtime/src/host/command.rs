use super::{Call, HostError, HostValue, bindings::tawi::app::command::Host, value_in};
use crate::model::{Command, Id};

impl Host for Call {
    fn send(&mut self, device: String, actuator: String, value: HostValue) -> Result<String, HostError> {
        let device = Id::new(&device).map_err(|e| HostError::Invalid(format!("device: {e}")))?;
        let actuator = Id::new(&actuator).map_err(|e| HostError::Invalid(format!("actuator: {e}")))?;
        let granted = &self.release.manifest.grant.command;
        if !granted.iter().any(|name| name == "*" || name == device.as_str()) {
            return Err(HostError::Denied(format!(
                "commands to `{device}` are not granted: add it to `command` under [grant] in tawi.toml"
            )));
        }
        if !self.world.may_command(&device) {
            return Err(HostError::Denied(format!(
                "the owner of this app may not command `{device}`: it has to be the owner's own, or public"
            )));
        }
        let value = value_in(value)?;
        let mut collected = self.collected.lock();
        collected.admit(value.len_bytes())?;
        collected.commands += 1;
        let id = format!("{}-c{}", self.id, collected.commands);
        collected.effects.commands.push(Command { device, actuator, value, id: id.clone() });
        Ok(id)
    }
}
