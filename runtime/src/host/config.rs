use super::{
    Call,
    bindings::wasi::config::store::{Error, Host},
};

impl Host for Call {
    fn get(&mut self, key: String) -> Result<Option<String>, Error> {
        let set = self.world.config();
        Ok(set.get(&key).or_else(|| self.release.manifest.config.get(&key)).cloned())
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, Error> {
        let mut all = self.release.manifest.config.clone();
        all.extend(self.world.config().iter().map(|(k, v)| (k.clone(), v.clone())));
        Ok(all.into_iter().collect())
    }
}
