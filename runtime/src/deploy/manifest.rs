//! A manifest as somebody pushes it, with all that it says checked: also the rules of pre-processing, which the nouns know nothing of. Pure.

use crate::{
    model::{Manifest, manifest::ManifestError},
    preprocess,
};

/// Reads and checks `tawi.toml`.
///
/// # Errors
/// Every mistake, with line, column and where possible a hint.
pub fn read_manifest(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse_checking(text, &preprocess::check)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const APP: &str = "[app]\nname = \"pond\"\n[[on]]\nname = \"f\"\nsubject = \"reading.>\"\n";

    #[test]
    fn rules_that_can_not_be_are_refused_with_line_reason_and_hint() {
        let of = "[[clean]]\nname = \"a\"\ndevice = \"pond1\"\nsensor = \"t\"\n";
        for (steps, line, said) in [
            ("steps = [{ unit = { from = \"mg/dL\", to = \"mmol/L\" } }]", 5, "they measure different things"),
            ("steps = [{ unit = { from = \"degF\", to = \"Cel\" } }]", 5, "`degF` is no unit of UCUM"),
            ("steps = [\n{ calibrate = { table = [] } }]", 6, "2 to 64 are wanted"),
            ("steps = [\n\n{ range = { min = 40, max = -5 } }]", 7, "it has to be above `min`, which is 40"),
            ("steps = [{ spikes = {} }]", 5, "there is no such field"),
            ("steps = []", 5, "1 to 16 are wanted"),
            ("", 1, "`steps`: it is missing"),
        ] {
            let error = read_manifest(&format!("{APP}{of}{steps}\n")).unwrap_err();
            let problem = &error.problems[0];
            assert_eq!((error.problems.len(), problem.line), (1, line + 5), "{steps}: {problem}");
            assert!(problem.message.contains(said), "{steps}: {problem}");
        }
        let error = read_manifest(&format!("{APP}{of}steps = [{{ unit = {{ from = \"DegreeCelsius\", to = \"K\" }} }}]\n")).unwrap_err();
        assert!(error.problems[0].hint.as_ref().unwrap().contains("Cel"), "{error}");
        let fits = read_manifest(&format!("{APP}{of}steps = [{{ duplicate = {{}} }}]\n")).unwrap();
        assert_eq!(fits.clean[0].rule["steps"][0]["duplicate"], serde_json::json!({}));
    }
}
