use super::{Call, HostError, bindings::tawi::app::secrets::Host};

impl Host for Call {
    fn get(&mut self, name: String) -> Result<Option<String>, HostError> {
        if !self.release.manifest.grant.secrets.contains(&name) {
            return Err(HostError::Denied(format!("secret `{name}` is not granted: add it to `secrets` under [grant] in tawi.toml")));
        }
        Ok(self.world.secrets().get(&name).cloned())
    }
}
