//! Which node the commands talk to, and with which token: `TAWI_URL` and `TAWI_TOKEN`, or what `tawi login` saved.

use crate::failure::{Done, Failure};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Where `tawi up` listens unless told otherwise.
pub const URL_DEFAULT: &str = "http://127.0.0.1:8294";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub url: String,
    pub token: Option<String>,
}

/// The saved logins; one is current.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Logins {
    current: Option<String>,
    tokens: BTreeMap<String, String>,
    #[serde(skip)]
    path: PathBuf,
}

/// `TAWI_CONFIG_DIR`, or `tawi` in the user's config folder.
fn folder() -> Done<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("TAWI_CONFIG_DIR")
        .or_else(|| var("XDG_CONFIG_HOME").map(|dir| dir.join("tawi")))
        .or_else(|| var("HOME").map(|home| home.join(".config/tawi")))
        .ok_or_else(|| {
            Failure::new("can't tell where to keep the login: `HOME` is not set").hint("set TAWI_CONFIG_DIR, or TAWI_URL and TAWI_TOKEN")
        })
}

/// A URL as it is compared: without a slash at its end.
pub fn plain(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

impl Logins {
    pub fn load() -> Done<Logins> {
        Logins::load_from(folder()?.join("logins.json"))
    }

    fn load_from(path: PathBuf) -> Done<Logins> {
        let wrong =
            |e: &(dyn std::error::Error + 'static)| Failure::because(format!("can't read the saved logins in `{}`", path.display()), e);
        let mut logins: Logins = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| wrong(&e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Logins::default(),
            Err(e) => return Err(wrong(&e)),
        };
        logins.path = path;
        Ok(logins)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn token(&self, url: &str) -> Option<&str> {
        self.tokens.get(&plain(url)).map(String::as_str)
    }

    /// Remembers a token and makes its node the current one.
    pub fn save(&mut self, url: &str, token: &str) -> Done {
        self.tokens.insert(plain(url), token.to_owned());
        self.current = Some(plain(url));
        self.write().map_err(|e| Failure::because(format!("can't save the login in `{}`", self.path.display()), &e))
    }

    /// Makes a node whose token is known the current one again. False: its token is not known.
    pub fn turn_to(&mut self, url: &str) -> Done<bool> {
        let Some(token) = self.token(url).map(str::to_owned) else { return Ok(false) };
        if self.current.as_deref() != Some(&plain(url)) {
            self.save(url, &token)?;
        }
        Ok(true)
    }

    fn write(&self) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut file = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o600)).tempfile_in(dir)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|e| e.error)?;
        File::open(dir)?.sync_all()
    }

    /// The node to talk to: what the environment says, then what is saved.
    pub fn choose(&self, url: Option<&str>, token: Option<&str>) -> Login {
        let url = url.map(plain).or_else(|| self.current.clone()).unwrap_or_else(|| URL_DEFAULT.to_owned());
        let token = token.map(|t| t.trim().to_owned()).or_else(|| self.token(&url).map(str::to_owned));
        Login { url, token }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_before_what_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tawi/logins.json");
        let mut logins = Logins::load_from(path.clone()).unwrap();
        assert_eq!(logins.choose(None, None), Login { url: URL_DEFAULT.into(), token: None });
        logins.save("http://one/", "t1").unwrap();
        logins.save("http://two", "t2").unwrap();

        let mut logins = Logins::load_from(path.clone()).unwrap();
        assert_eq!(logins.choose(None, None), Login { url: "http://two".into(), token: Some("t2".into()) });
        assert!(logins.turn_to("http://one").unwrap() && !logins.turn_to("http://three").unwrap());
        assert_eq!(logins.choose(None, None).token.as_deref(), Some("t1"));
        logins.turn_to("http://two").unwrap();
        assert_eq!(logins.choose(Some("http://one/"), None), Login { url: "http://one".into(), token: Some("t1".into()) });
        assert_eq!(logins.choose(Some("http://three"), Some("t3 ")), Login { url: "http://three".into(), token: Some("t3".into()) });
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(dir.path().join("tawi")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn damaged_logins_are_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logins.json");
        std::fs::write(&path, "no").unwrap();
        assert!(Logins::load_from(path).unwrap_err().to_string().contains("logins.json"));
    }
}
