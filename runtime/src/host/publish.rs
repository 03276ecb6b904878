use super::{Call, HostError, HostValue, bindings::tawi::app::publish::Host, value_in};
use crate::model::{Subject, effect::Message};

impl Host for Call {
    fn publish(&mut self, subject: String, value: HostValue) -> Result<(), HostError> {
        let subject = Subject::new(&subject).map_err(|e| HostError::Invalid(e.to_string()))?;
        if subject.is_reserved() {
            return Err(HostError::Denied(format!("`{subject}` is the node's own: publish under a first token of your own")));
        }
        if !self.release.manifest.grant.publish.iter().any(|pattern| pattern.matches(subject.as_str())) {
            return Err(HostError::Denied(format!("`{subject}` is not granted: add it to `publish` under [grant] in tawi.toml")));
        }
        let value = value_in(value)?;
        let mut collected = self.collected.lock();
        collected.admit(subject.as_str().len() + value.len_bytes())?;
        collected.effects.messages.push(Message { subject, value });
        Ok(())
    }
}
