//! Selectors as a person types them, and as a manifest has them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tawi_runtime::model::{limit::SELECTOR_TAGS_MAX, selector::Selector};

fuzz_target!(|text: &str| {
    let typed = Selector::parse(text).ok();
    let written = text.parse().ok().and_then(|table| Selector::from_toml(&table).ok());
    for selector in [typed, written].into_iter().flatten() {
        assert!(selector.tags.len() <= SELECTOR_TAGS_MAX);
        assert!(selector.within.is_none_or(|within| within.lat.is_finite() && within.lon.is_finite() && within.km.is_finite()));
    }
});
